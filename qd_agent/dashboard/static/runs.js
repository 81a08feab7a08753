// The list of runs: search, look at one, compare with one. Everything is written as text.

import { dayAndClock, say } from "./format.js";

/** Give the runs that a search finds: every word must be somewhere in them. */
export function found(runs, text) {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word);
  return runs.filter((run) => {
    const all = [run.sample, run.plan, run.uid, run.scan_id, run.state, dayAndClock(run.start_time)].join(" ").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/**
 * Show runs as rows of a table. A run keeps its row: in one put there anew between the press and the
 * release of a button, there would be no click.
 * @param body the <tbody>.
 * @param runs as the service gives them.
 * @param marks `shown`, `compared` and `live`: uids, or null.
 * @param act called with 'show' or 'compare', and a run.
 */
export function showRuns(body, runs, marks, act) {
  const focused = document.activeElement;
  const known = new Map([...body.children].map((row) => [row.run.uid, row]));
  const rows = runs.map((run) => {
    const row = known.get(run.uid) || newRow(act);
    known.delete(run.uid);
    write(row, run, marks);
    return row;
  });
  for (const row of known.values()) row.remove();
  rows.forEach((row, i) => {
    if (body.children[i] !== row) body.insertBefore(row, body.children[i] || null);
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
  if (document.activeElement !== focused && body.contains(focused)) focused.focus(); // it was moved
}

function newRow(act) {
  const row = document.createElement("tr");
  for (let i = 0; i < 8; i += 1) row.append(document.createElement("td"));
  row.children[1].className = "sample";
  for (const what of ["show", "compare"]) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", className: "small" });
    made.dataset.what = what;
    made.addEventListener("click", () => act(what, row.run));
    row.lastElementChild.append(made);
  }
  return row;
}

function write(row, run, marks) {
  row.run = run;
  const ended = run.state === "open" ? "running" : run.exit_status || "ended";
  const state = run.source === "tiled" ? `${ended}, in Tiled` : ended;
  const frames = run.counts.predictions || 0;
  const texts = [dayAndClock(run.start_time), run.sample || "unnamed", run.plan, String(frames), String(run.counts.sized || 0), state, run.uid.slice(0, 8)];
  texts.forEach((text, i) => say(row.children[i], text));
  row.children[6].title = run.uid;
  const [show, compare] = row.lastElementChild.children;
  label(show, run.uid === marks.live ? "Live" : "Show", run, run.uid === marks.shown);
  label(compare, "Compare", run, run.uid === marks.compared);
  row.className = run.uid === marks.shown ? "shown" : "";
}

function label(button, text, run, pressed) {
  say(button, text);
  button.dataset.uid = run.uid;
  button.setAttribute("aria-pressed", String(pressed));
  button.setAttribute("aria-label", `${text} ${run.sample || "unnamed"} of ${dayAndClock(run.start_time)}`);
}
