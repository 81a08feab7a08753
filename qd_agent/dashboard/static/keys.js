// The keyboard: one letter, one thing; not while somebody types.

/** Call `actions[key]` when a key is pressed outside of fields. */
export function onKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest && event.target.closest("input, select, textarea");
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (typing && key !== "Escape") return;
    if (!(key in actions)) return;
    event.preventDefault();
    actions[key]();
  });
}
