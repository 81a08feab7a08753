// The top of the page: how big, how sure, how fast, when to stop, and whether it is still so.

import { digitsFor, fixed, minutes, say, span } from "./format.js";

const at = (id) => document.getElementById(id);

/** Show a headline; everything is written as text. `old`: its newest frame is, as things are now. */
export function showHeadline(headline, old) {
  showSize(headline);
  showState(headline);
  showGrowth(headline);
  showTarget(headline, old);
}

function showSize(headline) {
  const now = headline && headline.newest && headline.newest.diameter !== null ? headline.newest : null;
  const last = headline ? headline.sized : null;
  at("diameter").classList.toggle("absent", now === null);
  if (now) {
    say(at("diameter"), fixed(now.diameter, 2));
    say(at("diameter-unit"), "nm");
    say(at("interval"), `90 % sure: ${fixed(now.low, 2)} to ${fixed(now.high, 2)} nm`);
  } else {
    say(at("diameter"), "no size");
    say(at("diameter-unit"), "");
    const before = last
      ? `last size ${fixed(last.diameter, 2)} nm, ${span(headline.newest.time - last.time)} before the newest frame`
      : "";
    say(at("interval"), before);
  }
}

function showState(headline) {
  const state = headline ? headline.state : "waiting";
  at("headline").dataset.state = state;
  say(at("state"), headline ? headline.words : "waiting for frames");
  say(at("reason"), headline ? stateHint(headline) : "");
}

function stateHint(headline) {
  if (headline.reason) return headline.reason;
  const share = headline.newest ? headline.newest.share : null;
  if (share !== null && share !== undefined) {
    return `nanocrystals make ${fixed(share * 100, 0)} % of the scattering`;
  }
  return "";
}

function showGrowth(headline) {
  const growth = headline ? headline.growth : null;
  const moving = growth && (growth.trend === "growing" || growth.trend === "shrinking");
  if (!growth) {
    say(at("rate"), "–");
    say(at("rate-unit"), "");
    const sized = headline && headline.newest && headline.newest.diameter !== null;
    say(at("rate-hint"), sized ? "too few sized frames yet" : "no size, no rate");
    return;
  }
  const half = (growth.high - growth.low) / 2;
  const digits = digitsFor(half);
  const range = `${fixed(growth.low, digits)} to ${fixed(growth.high, digits)} nm/min (90 %)`;
  say(at("rate"), moving ? `${fixed(growth.rate, digits)} ± ${fixed(half, digits)}` : "none seen");
  say(at("rate-unit"), moving ? "nm/min" : "");
  const basis = `last ${growth.frames} sized frames, ${span(growth.span_s)}`;
  say(at("rate-hint"), moving ? `90 %, ${basis}` : `${range}, ${basis}`);
}

function showTarget(headline, old) {
  const target = headline ? headline.target : null;
  at("target-cell").classList.toggle("unused", !target);
  say(at("target-label"), target ? `Time to ${fixed(target.nm, 2)} nm` : "Time to target");
  if (!target) {
    say(at("target-time"), "–");
    const wanted = at("target").value !== "";
    say(at("target-hint"), wanted ? "no size now, so no time" : "set a target above");
    return;
  }
  const words = {
    ahead: [`≈ ${minutes(target.minutes)}`, `${minutes(target.low)} to ${minutes(target.high)} at the present rate`],
    old: ["–", "the newest frame is old: no time can be given"],
    near: ["now", "the target lies inside the interval"],
    reached: ["reached", "the whole interval is above the target"],
    "not growing": ["–", "not growing: no time can be given"],
    far: ["–", "further ahead than these frames can tell"],
  }[old && target.status === "ahead" ? "old" : target.status];
  say(at("target-time"), words[0]);
  say(at("target-hint"), words[1]);
}

/**
 * Show how old the newest frame is.
 * @param headline as the service gives it.
 * @param now the service's clock, s.
 * @param trouble why nothing comes ('' when the line and Redis are up).
 * @param ended whether the run has ended.
 */
export function showFreshness(headline, now, trouble, ended) {
  const pill = at("pill");
  const newest = headline ? headline.newest : null;
  const age = newest ? Math.max(0, now - newest.time) : NaN;
  const kind = freshness(headline, now);
  const words = { none: "no frame yet", fresh: "fresh", stale: "stale", old: "old" }[kind];
  pill.className = `pill ${kind}`;
  say(pill, newest ? `${words} · ${span(age)}` : words);
  say(at("pill-hint"), trouble || (newest ? (ended ? "the run has ended" : "age of the newest frame") : ""));
  document.body.dataset.fresh = kind;
  document.body.dataset.ended = String(ended);
  const aged = kind === "stale" || kind === "old";
  say(at("size-label"), aged ? `Diameter ${span(age)} ago` : "Diameter now");
  say(at("state-label"), aged ? "The sample was then" : "The sample is");
  say(at("rate-label"), aged ? "Growth rate then" : "Growth rate");
  return kind;
}

/** Give 'none', 'fresh', 'stale' or 'old'. */
export function freshness(headline, now) {
  if (!headline || !headline.newest) return "none";
  const age = now - headline.newest.time;
  if (age <= headline.stale_after_s) return "fresh";
  return age <= headline.old_after_s ? "stale" : "old";
}
