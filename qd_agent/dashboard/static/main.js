// The page put together: messages change the state, and what has changed is drawn.

import { showFreshness, showHeadline } from "./headline.js";
import { dayAndClock, say } from "./format.js";
import { SizePlot } from "./size_plot.js";
import { emptyState, reduce } from "./state.js";
import { listen } from "./stream.js";

const at = (id) => document.getElementById(id);
const here = () => Date.now() / 1000;

let state = emptyState();
let lineUp = false;
let dirty = false;
const redraws = []; // how long the last redraws took, ms

const sizePlot = new SizePlot(at("size-plot"), () => {});

function onMessage(kind, data) {
  state = reduce(state, kind, data, here());
  if (!dirty) {
    dirty = true;
    requestAnimationFrame(redraw);
  }
}

function redraw() {
  dirty = false;
  const begin = performance.now();
  showHeadline(state.headline);
  showRun();
  sizePlot.draw(state.rows, state.headline && state.headline.target ? state.headline.target.nm : null);
  tick();
  redraws.push(performance.now() - begin);
  if (redraws.length > 500) redraws.shift();
}

function showRun() {
  const run = state.run;
  if (!run) {
    say(at("run-line"), "no run yet");
    return;
  }
  const parts = [run.sample || "unnamed sample", run.plan, run.uid.slice(0, 8), dayAndClock(run.start_time)];
  say(at("run-line"), parts.filter((part) => part).join(" · "));
}

function tick() {
  const ended = state.run !== null && state.run.state === "closed";
  showFreshness(state.headline, here() + state.clockOffset, trouble(), ended);
}

function trouble() {
  if (!lineUp) return "no line to the dashboard, trying again";
  if (state.redis && !state.redis.up) return "Redis is away, trying again";
  if (state.redis && state.agents.length === 0) return "no agent reports";
  return "";
}

listen(
  (last) => `api/events?last=${encodeURIComponent(last)}`,
  onMessage,
  (up) => {
    lineUp = up;
    tick();
  },
);
setInterval(tick, 500);

// For tests and the curious: nothing here changes anything.
window.dashboard = { get state() { return state; }, redraws };
