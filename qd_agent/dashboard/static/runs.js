// The list of runs: search, look at one, compare with one. Everything is written as text.

import { dayAndClock } from "./format.js";

/** Give the runs that a search finds: every word must be somewhere in them. */
export function found(runs, text) {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word);
  return runs.filter((run) => {
    const all = [run.sample, run.plan, run.uid, run.scan_id, run.state, dayAndClock(run.start_time)].join(" ").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

/**
 * Show runs as rows of a table.
 * @param body the <tbody>.
 * @param runs as the service gives them.
 * @param marks `shown`, `compared` and `live`: uids, or null.
 * @param act called with 'show' or 'compare', and a run.
 */
export function showRuns(body, runs, marks, act) {
  const focused = document.activeElement;
  const place = focused && body.contains(focused) ? [focused.dataset.uid, focused.dataset.what] : null;
  body.replaceChildren(...runs.map((run) => rowOf(run, marks, act)));
  if (place) {
    const again = [...body.querySelectorAll("button")].find((b) => b.dataset.uid === place[0] && b.dataset.what === place[1]);
    if (again) again.focus();
  }
}

function rowOf(run, marks, act) {
  const row = document.createElement("tr");
  const ended = run.state === "open" ? "running" : run.exit_status || "ended";
  const state = run.source === "tiled" ? `${ended}, in Tiled` : ended;
  const frames = run.counts.predictions || 0;
  const texts = [dayAndClock(run.start_time), run.sample || "unnamed", run.plan, String(frames), String(run.counts.sized || 0), state, run.uid.slice(0, 8)];
  for (const text of texts) {
    const cell = document.createElement("td");
    cell.textContent = text;
    row.append(cell);
  }
  row.children[1].className = "sample";
  row.children[6].title = run.uid;
  const cell = document.createElement("td");
  const live = run.uid === marks.live;
  cell.append(
    button(live ? "Live" : "Show", "show", run, run.uid === marks.shown, act),
    button("Compare", "compare", run, run.uid === marks.compared, act),
  );
  row.append(cell);
  if (run.uid === marks.shown) row.className = "shown";
  return row;
}

function button(text, what, run, pressed, act) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: text, className: "small" });
  Object.assign(made.dataset, { uid: run.uid, what });
  made.setAttribute("aria-pressed", String(pressed));
  made.setAttribute("aria-label", `${text} ${run.sample || "unnamed"} of ${dayAndClock(run.start_time)}`);
  made.addEventListener("click", () => act(what, run));
  return made;
}
