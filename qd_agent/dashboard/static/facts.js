// Lists of facts, each with a mark that says 'fine' or 'look here' without colour alone.

const MARKS = { ok: "✓", warn: "!", bad: "✗", none: "·" };

/**
 * Write facts into a <dl>; elements are kept, so that nothing flickers.
 * @param list the element.
 * @param facts arrays of mark ('ok', 'warn', 'bad', 'none'), name and text.
 */
export function showFacts(list, facts) {
  while (list.children.length < facts.length) list.append(newFact());
  while (list.children.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([mark, name, text], i) => {
    const [sign, term, value] = list.children[i].children;
    list.children[i].className = mark;
    write(sign, MARKS[mark]);
    write(term, name);
    write(value, text);
  });
}

function newFact() {
  const row = document.createElement("div");
  const sign = document.createElement("span");
  sign.className = "sign";
  row.append(sign, document.createElement("dt"), document.createElement("dd"));
  return row;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
