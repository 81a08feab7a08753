// The chosen frame's pattern: measured, the Debye pattern that explains it, and what is left.

import { CONFIG, colours, layout } from "./colours.js";

/** Draw curves (or, with null, a note) into an element; `log` for a logarithmic axis. */
export function drawPattern(element, curves, log, note) {
  const c = colours();
  const traces = [];
  const annotations = [];
  if (curves) {
    if (curves.model) {
      traces.push(line(curves.q, curves.model, c.orange, 4, "explained"));
      traces.push({ ...line(curves.q, curves.residual, c.blue, 1, "residual"), yaxis: "y2" });
    }
    traces.push(line(curves.q, covered(curves), c.ink, 1, "measured"));
  }
  if (!curves || !curves.model) {
    annotations.push({
      xref: "paper", yref: "paper", x: 0.5, y: curves ? 0.1 : 0.5, showarrow: false, text: note,
      font: { color: c.dim },
    });
  }
  if (curves) annotations.push(...legend(c, curves.model !== undefined));
  Plotly.react(element, traces, layout({
    margin: { l: 60, r: 10, t: 6, b: 48 },
    xaxis: { title: { text: "Q, Å⁻¹" }, range: [0.99, 15], anchor: "y2" },
    yaxis: { title: { text: "I(Q), relative" }, domain: [0.3, 1], type: log ? "log" : "linear" },
    yaxis2: { title: { text: "residual" }, domain: [0, 0.22], nticks: 3, zeroline: true, zerolinecolor: c.dim },
    annotations, hovermode: false, uirevision: log ? "log" : "linear",
  }), CONFIG);
}

function covered(curves) {
  return curves.intensity.map((value) => (value === 0 ? null : value));
}

function line(x, y, color, width, name) {
  return { x, y, mode: "lines", line: { color, width }, name };
}

function legend(c, explained) {
  const at = { xref: "paper", yref: "paper", showarrow: false, xanchor: "right", x: 1 };
  const found = [{ ...at, y: 1, text: "measured", font: { color: c.ink } }];
  if (explained) found.push({ ...at, y: 0.92, text: "explained by nanocrystals and liquid", font: { color: c.orange } });
  return found;
}
