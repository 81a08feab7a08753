// What this viewer likes: theme, big numbers, target. Kept in this browser only.

const NAME = "qd-dashboard";

function all() {
  try {
    return JSON.parse(localStorage.getItem(NAME)) || {};
  } catch {
    return {}; // storage forbidden, or not ours
  }
}

/** Give what was kept under a name, or `otherwise`. */
export function kept(name, otherwise) {
  const found = all()[name];
  return found === undefined ? otherwise : found;
}

/** Keep a value. */
export function keep(name, value) {
  try {
    localStorage.setItem(NAME, JSON.stringify({ ...all(), [name]: value }));
  } catch {
    // storage forbidden: it holds for this visit
  }
}
