// Size against time: frames with their 68 and 90 % bands, those without a size with their reason.

import { CONFIG, colours, layout, scale } from "./colours.js";
import { inWords } from "./flags.js";
import { clock, fixed, plain } from "./format.js";
import { MOST_DRAWN, thin } from "./thin.js";

const MOST_DOTS = 250, NEWEST_DOTS = 60;
const WORDS = {
  no_nanocrystals: "no nanocrystals", out_of_domain: "not like PbS in a liquid",
  insufficient_q: "too little of Q", bad_frame: "set aside",
};

/** The panel; `onChoose` is called with the row that is clicked. */
export class SizePlot {
  constructor(element, onChoose) {
    this.element = element;
    this.onChoose = onChoose;
    this.range = null;
    this.zooms = 0;
    this.ready = false;
  }

  /** Draw rows (newest last), the target (nm or null) and a second run to compare with. */
  draw(rows, target, chosen = null, other = null) {
    this.again = () => this.draw(rows, target, chosen, other);
    this.lastRows = rows;
    this.axis = timeAxis(rows);
    const x = (row) => (row.time - this.axis.begin) / this.axis.unit;
    const drawn = thin(rows, ...(this.range || []));
    const traces = sizeTraces(drawn, x, rows.length > 0 ? rows[rows.length - 1].key : null);
    if (other) traces.push(otherTrace(other, this.axis.unit));
    const plan = sizeLayout(drawn, x, target, chosen, this.axis.name);
    plan.uirevision = `zoom ${this.zooms}`;
    if (this.range) plan.xaxis.range = this.range.map((t) => (t - this.axis.begin) / this.axis.unit);
    Plotly.react(this.element, traces.filter((trace) => trace.x.length > 0), plan, { ...CONFIG, doubleClick: false });
    if (!this.ready) this.#listen();
  }

  /** Forget the zoom; what is drawn next is the whole run. */
  showAll() {
    this.range = null;
    this.zooms += 1;
  }

  #listen() {
    this.ready = true;
    this.element.on("plotly_click", (event) => {
      const row = event.points[0].customdata;
      if (row && row.entry) this.onChoose(row);
    });
    this.element.on("plotly_doubleclick", () => {
      // Plotly would go back to what it drew first, when the run was shorter.
      this.showAll();
      this.again();
    });
    this.element.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (Number.isFinite(from) && Number.isFinite(to)) {
        this.range = [from, to].map((x) => this.axis.begin + x * this.axis.unit);
      }
      if (this.lastRows.length > MOST_DRAWN) this.again();
    });
  }
}

/** Give where the time axis begins (UTC epoch s), and its unit in s and in words. */
export function timeAxis(rows) {
  const begin = rows.length > 0 ? rows[0].time : 0;
  const whole = rows.length > 0 ? rows[rows.length - 1].time - begin : 0;
  if (whole < 180) return { begin, unit: 1, name: "s" };
  return whole < 18000 ? { begin, unit: 60, name: "min" } : { begin, unit: 3600, name: "h" };
}

function sizeTraces(rows, x, newestKey) {
  const c = colours();
  const times = scale();
  const sized = rows.filter((row) => row.diameter !== null);
  const clean = sized.filter((row) => row.flags.length === 0);
  const flagged = sized.filter((row) => row.flags.length > 0);
  const without = rows.filter((row) => row.diameter === null);
  const newest = sized.filter((row) => row.key === newestKey);
  const dense = sized.length > MOST_DOTS;
  const heated = heatedRows(rows);
  return [
    ...band(sized, x, (r) => r.low, (r) => r.high, c.band90, "90 %"),
    ...band(sized, x, (r) => r.diameter - r.sd, (r) => r.diameter + r.sd, c.band68, "68 %"),
    {
      x: heated.map(x), y: heated.map((r) => r.temperature), yaxis: "y2", mode: "lines",
      line: { color: c.orange, width: 1.5 * times, dash: "dot" }, name: "temperature", hoverinfo: "skip",
    },
    // Hundreds of dots, each an element of its own, would make the page slow: older ones are a line.
    { ...dots(dense ? clean : [], x, {}, "size"), mode: "lines", line: { color: c.blue, width: 1.5 * times } },
    dots(dense ? clean.slice(-NEWEST_DOTS) : clean, x, { color: c.blue, size: 6 * times }, "size"),
    dots(flagged, x, { color: c.panel, size: 8 * times, symbol: "diamond", line: { color: c.pink, width: 2 * times } }, "flagged"),
    {
      ...dots(without, x, { color: c.panel, size: 8 * times, line: { color: c.dim, width: 1.5 * times } }, "no size"),
      y: without.map(() => 0.03), yaxis: "y3",
    },
    dots(newest, x, { color: c.blue, size: 12 * times, line: { color: c.ink, width: 2 * times } }, "newest"),
  ];
}

// Those with a temperature; of two units only the newest frame's, since one axis has one unit.
function heatedRows(rows) {
  const heated = rows.filter((row) => row.temperature !== null);
  const unit = heated.length > 0 ? heated[heated.length - 1].temperature_unit : "";
  return heated.filter((row) => row.temperature_unit === unit);
}

function heatTitle(heated) {
  if (heated.length === 0) return "";
  return `temperature, ${plain(heated[0].temperature_unit) || "unit not stated"}`;
}

// One shape: up along the upper bounds, back along the lower ones.
function band(rows, x, low, high, colour, name) {
  const along = rows.map(x);
  return [{
    x: along.concat([...along].reverse()), y: rows.map(high).concat(rows.map(low).reverse()),
    mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: colour, hoverinfo: "skip", name,
  }];
}

function dots(rows, x, marker, name) {
  return {
    x: rows.map(x), y: rows.map((r) => r.diameter), mode: "markers", marker, name,
    customdata: rows, text: rows.map(told), hovertemplate: "%{text}<extra></extra>",
  };
}

function otherTrace(other, unit) {
  const c = colours();
  const begin = other.length > 0 ? other[0].time : 0;
  const sized = thin(other).filter((row) => row.diameter !== null);
  return {
    x: sized.map((row) => (row.time - begin) / unit), y: sized.map((row) => row.diameter),
    mode: "lines+markers", line: { color: c.green, width: 2 }, marker: { color: c.green, size: 4, symbol: "square" },
    text: sized.map((row) => `other run, frame ${row.seq_num}<br>${fixed(row.diameter, 2)} nm`),
    hovertemplate: "%{text}<extra></extra>", name: "other run",
  };
}

// A row never changes: what is said of it is made once, not with every redraw.
const said = new WeakMap();

function told(row) {
  if (!said.has(row)) said.set(row, hover(row));
  return said.get(row);
}

function hover(row) {
  const lines = [`frame ${row.seq_num}, ${clock(row.time)}`];
  if (row.diameter !== null) {
    lines.push(`<b>${fixed(row.diameter, 2)} nm</b>  (90 %: ${fixed(row.low, 2)} to ${fixed(row.high, 2)})`);
  } else {
    lines.push(`<b>${WORDS[row.verdict] || plain(row.verdict)}</b>`);
  }
  if (row.reason) lines.push(...wrapped(row.reason));
  if (row.flags.length > 0) lines.push(...wrapped(`warning: ${row.flags.map(inWords).join("; ")}`));
  if (row.temperature !== null) lines.push(`temperature ${fixed(row.temperature, 1)} ${plain(row.temperature_unit)}`);
  return lines.join("<br>");
}

function wrapped(text) {
  const found = text.slice(0, 240).match(/.{1,60}(\s|$)|.{1,60}/g) || [];
  return found.map((part) => plain(part.trim()));
}

function sizeLayout(rows, x, target, chosen, unit) {
  const c = colours();
  const shapes = [], annotations = [];
  if (target !== null) {
    shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: target, y1: target, line: { color: c.green, width: 2, dash: "dash" } });
    annotations.push({ xref: "paper", x: 0.005, y: target, xanchor: "left", yanchor: "bottom", showarrow: false, text: `target ${fixed(target, 2)} nm`, bgcolor: c.panel, font: { color: c.green } });
  }
  if (chosen) {
    shapes.push({ type: "line", yref: "paper", x0: x(chosen), x1: x(chosen), y0: 0, y1: 1, line: { color: c.ink, width: 1 } });
  }
  const sizes = rows.flatMap((row) => (row.diameter === null ? [] : [row.low, row.high]));
  if (target !== null) sizes.push(target);
  const heated = heatedRows(rows);
  const heat = heated.map((row) => row.temperature);
  return layout({
    margin: { l: 54, r: 58, t: 8, b: 48 },
    xaxis: { title: { text: `time since the first frame, ${unit}` }, range: timeRange(rows, x) },
    yaxis: { title: { text: "diameter, nm" }, range: roomy(sizes, 0.5, [0, 8]) },
    yaxis2: { title: { text: heatTitle(heated), font: { color: c.orange } }, overlaying: "y", side: "right", showgrid: false, nticks: 5, tickmode: "auto", tickformat: "~g", range: roomy(heat, 5, [0, 100]), tickfont: { color: c.orange } },
    yaxis3: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    shapes, annotations,
  });
}

// Ranges grow in steps: axes that stay as they are need not be drawn anew with every frame.

function timeRange(rows, x) {
  const end = rows.length > 0 ? Math.max(x(rows[rows.length - 1]), 1) : 1;
  const step = 10 ** Math.floor(Math.log10(end)) / 4;
  const last = Math.ceil((end * 1.01) / step) * step;
  return [rows.length > 0 ? x(rows[0]) - 0.02 * last : 0, last + 0.01 * last];
}

function roomy(values, step, otherwise) {
  if (values.length === 0) return otherwise;
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const coarse = step * Math.max(1, Math.round((high - low) / (10 * step)));
  return [Math.max(0, Math.floor(low / coarse - 0.4) * coarse), Math.ceil(high / coarse + 0.2) * coarse];
}
