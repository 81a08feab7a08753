// The page put together: messages change the state, and only what has changed is drawn.

import { CloseLook } from "./close_look.js";
import { showFacts } from "./facts.js";
import { dayAndClock, fixed, say, span } from "./format.js";
import { showFreshness, showHeadline } from "./headline.js";
import { HeatMap } from "./heat.js";
import { onKeys } from "./keys.js";
import { operationFacts } from "./operations.js";
import { drawPattern } from "./pattern_plot.js";
import { keep, kept } from "./prefs.js";
import { found, showRuns } from "./runs.js";
import { SizePlot, timeAxis } from "./size_plot.js";
import { drawSizes, sizesLine } from "./sizes_plot.js";
import { emptyState, reduce, rowOf } from "./state.js";
import { listen } from "./stream.js";
import { trustFacts } from "./trust.js";

const at = (id) => document.getElementById(id);
const here = () => Date.now() / 1000;

let live = emptyState();
let past = null; // a run that is looked at instead of the live one
let other = null; // a run to compare with
let archived = []; // runs that Tiled alone holds
let frame = null; // the close look: prediction and curves
let lineUp = false;
let line = null;
let target = kept("target", null);
let log = kept("log", false);
let age = "none"; // how the newest frame counts now
const dirty = new Set();
const redraws = []; // how long the last redraws took until they were painted, ms

const shown = () => past || live;
const shownUid = () => (shown().run ? shown().run.uid : "");

const sizePlot = new SizePlot(at("size-plot"), (row) => look.choose(row));
const look = new CloseLook(
  (answer) => { frame = answer; mark("frame"); },
  () => mark("cursor"),
);
const heat = new HeatMap(
  at("heat-plot"),
  (entry) => look.point(entry), () => look.point(null), (entry) => look.chooseEntry(entry),
);

function mark(...what) {
  if (dirty.size === 0) requestAnimationFrame(redraw);
  for (const one of what) dirty.add(one);
}

function onMessage(kind, data) {
  live = reduce(live, kind, data, here());
  if (kind === "snapshot") mark("rows", "runs", "health");
  else mark({ frames: "rows", run: "run", runs: "runs", health: "health" }[kind]);
}

function redraw() {
  const begin = performance.now();
  const what = new Set(dirty);
  dirty.clear();
  const rows = shown().rows;
  if (what.has("rows")) look.offer(shownUid(), rows, past ? past.source : "redis");
  if (what.has("rows") || what.has("run")) showRun();
  if (what.has("rows") || what.has("age")) showHeadline(shown().headline, age === "old");
  if (what.has("rows") || what.has("cursor") || what.has("theme")) drawGrowth(rows);
  if (what.has("frame") || what.has("theme") || what.has("log")) drawFrame();
  if (what.has("cursor") || what.has("rows")) showChosen();
  if (what.has("heat") || what.has("theme")) heat.draw(timeAxis(rows), cursor());
  else if (what.has("cursor")) heat.moveCursor(timeAxis(rows), cursor());
  if (what.has("health") || what.has("rows")) showOperations();
  if (what.has("runs")) showList();
  tick();
  if (what.has("rows")) whenPainted(() => noteRedraw(performance.now() - begin));
}

// A message that is posted while a frame is made arrives after its layout and paint.
function whenPainted(then) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); then(); };
  port2.postMessage(0);
}

function noteRedraw(took) {
  redraws.push(took);
  if (redraws.length > 500) redraws.shift();
}

function cursor() {
  return look.following && !look.pointed ? null : look.row && look.row.time;
}

function drawGrowth(rows) {
  const chosen = cursor() === null ? null : look.row;
  sizePlot.draw(rows, target, chosen, other ? other.rows : null);
  const held = shown().run ? shown().run.counts.predictions || 0 : 0;
  const parts = [`${rows.length} frames`];
  if (held > rows.length + 50) parts.push(`the newest of ${held}`);
  if (other) parts.push(`green: ${other.run.sample || "unnamed"} of ${dayAndClock(other.run.start_time)}, from its own start`);
  say(at("size-sub"), rows.length > 0 ? parts.join(" · ") : "no frame yet");
}

function drawFrame() {
  if (!frame) return;
  const { prediction, curves } = frame;
  drawPattern(at("pattern-plot"), curves, log, curves ? "no Debye pattern explains this frame" : "the pattern of this frame is not kept");
  drawSizes(at("sizes-plot"), prediction);
  say(at("sizes-sub"), sizesLine(prediction));
  showFacts(at("trust"), trustFacts(prediction, curves, usualMisfit()));
  say(at("trust-sub"), `frame ${prediction.key.seq_num}`);
  showChosen();
}

function usualMisfit() {
  const values = shown().rows.slice(-200).filter((row) => row.diameter !== null && row.misfit !== null).map((row) => row.misfit);
  return values.length < 5 ? null : values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function showChosen() {
  const row = look.row;
  const size = row && row.diameter !== null ? `${fixed(row.diameter, 2)} nm` : "no size";
  const which = look.pointed ? "pointed at" : look.following ? "the newest" : "kept";
  say(at("chosen-line"), row ? `frame ${row.seq_num}, ${size} · ${which}` : "");
  at("follow").setAttribute("aria-pressed", String(look.following));
}

function showOperations() {
  const now = here() + live.clockOffset;
  showFacts(at("operations"), operationFacts(live, lineUp, now));
}

function showRun() {
  const run = shown().run;
  const parts = run
    ? [run.sample || "unnamed sample", run.plan, run.scan_id && `scan ${run.scan_id}`, run.uid.slice(0, 8), dayAndClock(run.start_time)]
    : ["no run yet"];
  say(at("run-line"), parts.filter((part) => part).join(" · "));
  at("notice").hidden = past === null;
  if (past) say(at("notice-text"), `You look at a run of the past (${past.source === "tiled" ? "from Tiled" : "from Redis"}). The live page goes on behind it.`);
  const query = `uid=${encodeURIComponent(shownUid())}${past && past.source === "tiled" ? "&source=tiled" : ""}`;
  at("csv").href = `api/export.csv?${query}`;
  at("json").href = `api/export.json?${query}`;
}

function showList() {
  const all = live.runs.concat(archived.filter((run) => !live.runs.some((one) => one.uid === run.uid)));
  const runs = found(all, at("search").value);
  say(at("runs-sub"), `${runs.length} of ${all.length}`);
  const marks = { shown: shownUid(), live: live.run && live.run.uid, compared: other && other.run.uid };
  showRuns(at("runs-body"), runs, marks, onRun);
}

async function onRun(what, run) {
  if (what === "compare" && other && other.run.uid === run.uid) {
    other = null;
  } else if (what === "show" && live.run && run.uid === live.run.uid) {
    past = null;
  } else {
    const answer = await fetch(`api/run?uid=${encodeURIComponent(run.uid)}&source=${run.source}${aim("&")}`);
    if (!answer.ok) {
      say(at("runs-sub"), `that run cannot be had (${answer.status})`);
      return;
    }
    const data = await answer.json();
    const loaded = { ...data, source: run.source, rows: data.rows.map((values) => rowOf(data.columns, values)) };
    if (what === "compare") other = loaded;
    else past = loaded;
  }
  changedRun();
}

function changedRun() {
  frame = null;
  sizePlot.showAll();
  heat.clear(shownUid());
  mark("rows", "runs", "heat", "health");
  moreHeat();
}

function backToLive() {
  past = null;
  changedRun();
}

function tick() {
  const run = shown().run;
  const ended = run !== null && run.state === "closed";
  const now = showFreshness(shown().headline, here() + live.clockOffset, trouble(), ended);
  if (now !== age) {
    age = now;
    mark("age");
  }
}

function trouble() {
  if (past) return "a run of the past";
  if (!lineUp) return "no line to the dashboard, trying again";
  if (live.redis && !live.redis.up) return "Redis is away, trying again";
  if (live.redis && live.agents.length === 0) return "no agent reports";
  return "";
}

async function moreHeat() {
  if (document.body.classList.contains("big") || shownUid() === "") return;
  const source = past && past.source === "tiled" ? "&source=tiled" : "";
  const more = await heat.fetchMore(shownUid(), `api/heat?uid=${encodeURIComponent(shownUid())}${source}`);
  if (more || !heat.drawn) mark("heat");
}

function aim(mark) {
  return target === null ? "" : `${mark}target=${target}`;
}

function connect() {
  if (line) line.close();
  line = listen(
    (last) => `api/events?last=${encodeURIComponent(last)}${aim("&")}`,
    onMessage,
    (up) => { lineUp = up; mark("health"); },
  );
}

// -- what the viewer does -----------------------------------------------------------------

function setTarget(text) {
  const value = Number(text);
  target = text !== "" && value > 0 && value <= 100 ? value : null;
  keep("target", target);
  connect();
  mark("rows");
}

function setBig(on) {
  document.body.classList.toggle("big", on);
  at("big").setAttribute("aria-pressed", String(on));
  keep("big", on);
  requestAnimationFrame(() => window.dispatchEvent(new Event("resize")));
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  say(at("theme"), theme === "dark" ? "Light" : "Dark");
  mark("theme");
}

function turnTheme() {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  keep("theme", theme);
  setTheme(theme);
}

function setLog(on) {
  log = on;
  keep("log", on);
  at("log").setAttribute("aria-pressed", String(on));
  mark("log");
}

function turnDrawer(button, drawer, open = at(drawer).hidden) {
  at(drawer).hidden = !open;
  at(button).setAttribute("aria-expanded", String(open));
  return open;
}

function openRuns(search) {
  const open = turnDrawer("runs-button", "runs-panel", search ? true : undefined);
  if (open && search) at("search").focus();
  if (open) lookIntoTiled();
}

async function lookIntoTiled() {
  const answer = await fetch("api/archive");
  if (answer.ok) archived = (await answer.json()).runs;
  say(at("tiled-line"), answer.ok ? "" : "Tiled is away: runs of Redis only");
  mark("runs");
}

function escape() {
  if (!at("help").hidden) turnDrawer("help-button", "help", false);
  else if (!at("runs-panel").hidden) turnDrawer("runs-button", "runs-panel", false);
  else if (past) backToLive();
  else look.choose(null);
  document.activeElement.blur();
}

async function savePicture() {
  const name = `size-${(shown().run && shown().run.uid.slice(0, 8)) || "none"}`;
  await Plotly.downloadImage(at("size-plot"), { format: "png", width: 1400, height: 700, scale: 2, filename: name });
}

at("target").value = target === null ? "" : String(target);
at("target").addEventListener("change", (event) => setTarget(event.target.value));
at("big").addEventListener("click", () => setBig(!document.body.classList.contains("big")));
at("theme").addEventListener("click", turnTheme);
at("log").addEventListener("click", () => setLog(!log));
at("before").addEventListener("click", () => look.step(-1));
at("after").addEventListener("click", () => look.step(1));
at("follow").addEventListener("click", () => look.choose(null));
at("runs-button").addEventListener("click", () => openRuns(false));
at("help-button").addEventListener("click", () => turnDrawer("help-button", "help"));
at("notice-button").addEventListener("click", backToLive);
at("search").addEventListener("input", () => mark("runs"));
at("png").addEventListener("click", savePicture);
onKeys({
  ArrowLeft: () => look.step(-1), ArrowRight: () => look.step(1), Home: () => look.step(-Infinity),
  End: () => look.choose(null), l: () => setLog(!log), d: turnTheme, r: () => openRuns(false),
  b: () => setBig(!document.body.classList.contains("big")), "/": () => openRuns(true),
  "?": () => turnDrawer("help-button", "help"), Escape: escape,
});

window.addEventListener("resize", () => mark("theme")); // sizes of what is drawn go with the window

const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
setTheme(kept("theme", dark ? "dark" : "light"));
setLog(log);
if (kept("big", false)) setBig(true);
connect();
setInterval(tick, 500);
setInterval(moreHeat, 1000);
setInterval(() => mark("health"), 5000);

// For tests and the curious: nothing here changes anything.
window.dashboard = {
  get state() { return live; }, get frame() { return frame; }, get past() { return past; },
  get other() { return other; }, get drawn() { return dirty.size === 0; }, heat, redraws, span,
};
