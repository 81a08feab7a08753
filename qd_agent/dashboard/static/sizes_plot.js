// The chosen frame's distribution of sizes, and the probabilities of the published classes.

import { CONFIG, colours, layout } from "./colours.js";
import { fixed } from "./format.js";

const FIRST_CLASS = 2.0, CLASS_STEP = 0.5, POINTS = 160;

/** Give the density of a lognormal with this number average and relative standard deviation. */
export function lognormal(diameter, dispersion, x) {
  const variance = Math.log(1 + dispersion * dispersion);
  const middle = Math.log(diameter) - variance / 2;
  const off = Math.log(x) - middle;
  return Math.exp((-off * off) / (2 * variance)) / (x * Math.sqrt(2 * Math.PI * variance));
}

/** Draw a prediction. */
export function drawSizes(element, prediction) {
  const c = colours();
  const traces = [], annotations = [], shapes = [];
  const { diameter_nm: diameter, dispersion, class_probabilities: classes } = prediction;
  const sized = diameter !== null && diameter !== undefined;
  const high = sized ? Math.max(10.5, diameter * 1.8) : 10.5;
  if (sized && dispersion > 0) {
    const x = Array.from({ length: POINTS }, (_, i) => 0.5 + ((high - 0.5) * i) / (POINTS - 1));
    const y = x.map((value) => lognormal(diameter, dispersion, value));
    const top = Math.max(...y);
    traces.push({
      x, y: y.map((value) => value / top), mode: "lines", fill: "tozeroy", fillcolor: c.band90,
      line: { color: c.blue, width: 2 }, hoverinfo: "skip",
    });
    shapes.push({ type: "line", x0: diameter, x1: diameter, y0: 0, y1: 1, line: { color: c.blue, width: 2, dash: "dot" } });
  }
  if (sized && classes.length > 0) {
    traces.push({
      type: "bar", x: classes.map((_, i) => FIRST_CLASS + CLASS_STEP * i), y: classes, width: 0.2,
      marker: { color: c.orange }, hovertemplate: "class %{x:.1f} nm: %{y:.0%}<extra></extra>",
    });
  }
  if (!sized) {
    annotations.push({ xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, text: "no size for this frame", font: { color: c.dim } });
  }
  Plotly.react(element, traces, layout({
    margin: { l: 56, r: 8, t: 6, b: 48 }, shapes, annotations, bargap: 0,
    xaxis: { title: { text: "diameter, nm" }, range: [1, high] },
    yaxis: { title: { text: "number / probability" }, range: [0, 1.08], nticks: 3 },
  }), CONFIG);
}

/** Say the distribution in words. */
export function sizesLine(prediction) {
  if (prediction.diameter_nm === null || prediction.diameter_nm === undefined) return "";
  const parts = [];
  if (prediction.dispersion) parts.push(`spread ${fixed(prediction.dispersion * 100, 0)} %`);
  if (prediction.diameter_volume_nm) parts.push(`by volume ${fixed(prediction.diameter_volume_nm, 2)} nm`);
  return [...parts, "curve: sizes, bars: class probability"].join(" · ");
}
