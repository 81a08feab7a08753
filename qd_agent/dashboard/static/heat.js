// I(Q) against time: columns that come as frames do, and are thinned where they become too many.

import { CONFIG, colours, layout } from "./colours.js";

export const MOST_COLUMNS = 360;
const PAUSE_MS = 2000;
const TICKS = [1, 3, 10, 30, 100, 300, 1000, 3000];

/** Holds the columns of one run. Pure but for `draw` and `fetchMore`. */
export class HeatMap {
  constructor(element, onPoint, onLeave, onKeep) {
    this.element = element;
    this.handlers = { onPoint, onLeave, onKeep };
    this.turn = 0;
    this.clear("");
    this.listening = false;
  }

  /** Forget all columns, those that are on their way too; what is drawn of them is drawn no more. */
  clear(uid) {
    Object.assign(this, { uid, q: [], times: [], entries: [], columns: [], last: "0-0", busy: false, next: 0, drawn: false });
    this.turn += 1;
  }

  /** Take in an answer of the service. */
  add(answer) {
    if (answer.q.length > 0) this.q = answer.q;
    this.times.push(...answer.times);
    this.entries.push(...answer.entries);
    this.columns.push(...answer.columns);
    this.last = answer.last;
    while (this.times.length > MOST_COLUMNS) {
      const keep = (_, i) => i % 2 === 0 || i === this.times.length - 1;
      const [times, entries, columns] = [this.times, this.entries, this.columns].map((list) => list.filter(keep));
      Object.assign(this, { times, entries, columns });
    }
  }

  /** Ask for what came since the last time, not more often than every two seconds. */
  async fetchMore(uid, address) {
    if (uid !== this.uid) this.clear(uid);
    if (this.busy || performance.now() < this.next) return false;
    this.busy = true;
    const mine = this.turn;
    try {
      const answer = await fetch(`${address}&after=${this.last}`);
      if (!answer.ok) return false;
      const found = await answer.json();
      if (mine !== this.turn) return false;
      this.add(found);
      return found.times.length > 0;
    } catch (error) {
      if (error instanceof TypeError) return false; // cut off: the next turn asks again
      throw error;
    } finally {
      if (mine === this.turn) Object.assign(this, { busy: false, next: performance.now() + PAUSE_MS });
    }
  }

  /** Draw; `axis` as of the size plot, `cursor` a time (s) or null. */
  draw(axis, cursor) {
    const c = colours();
    const x = this.times.map((time) => (time - axis.begin) / axis.unit);
    const z = this.q.map((_, i) => this.columns.map((column) => (column[i] > 0 ? Math.log10(column[i]) : null)));
    const shapes = cursor === null ? [] : [{
      type: "line", yref: "paper", y0: 0, y1: 1, x0: (cursor - axis.begin) / axis.unit,
      x1: (cursor - axis.begin) / axis.unit, line: { color: "#ffffff", width: 2 },
    }];
    const annotations = this.times.length > 0 ? [] : [{
      xref: "paper", yref: "paper", x: 0.5, y: 0.5, showarrow: false, font: { color: c.dim },
      text: "no patterns are kept of this run",
    }];
    const trace = {
      type: "heatmap", x, y: this.q, z, colorscale: "Cividis", zsmooth: "fast", hoverongaps: false,
      colorbar: {
        thickness: 10, len: 1, title: { text: "I(Q), relative", side: "right" }, outlinewidth: 0,
        tickvals: TICKS.map(Math.log10), ticktext: TICKS.map(String),
      },
      hovertemplate: "%{x:.1f} " + axis.name + ", Q %{y:.2f}<extra></extra>",
    };
    Plotly.react(this.element, this.times.length > 0 ? [trace] : [], layout({
      margin: { l: 54, r: 6, t: 6, b: 48 }, shapes, annotations, uirevision: this.uid,
      xaxis: { title: { text: `time since the first frame, ${axis.name}` }, showgrid: false },
      yaxis: { title: { text: "Q, Å⁻¹" }, showgrid: false },
    }), CONFIG);
    this.drawn = true;
    if (!this.listening) this.#listen();
  }

  /** Move the cursor without drawing the map anew. */
  moveCursor(axis, cursor) {
    if (!this.drawn || this.times.length === 0 || cursor === null) return;
    const at = (cursor - axis.begin) / axis.unit;
    const line = { type: "line", yref: "paper", y0: 0, y1: 1, x0: at, x1: at, line: { color: "#ffffff", width: 2 } };
    Plotly.relayout(this.element, { shapes: [line] });
  }

  #listen() {
    this.listening = true;
    const entry = (event) => this.entries[event.points[0].pointIndex[1]];
    this.element.on("plotly_hover", (event) => this.handlers.onPoint(entry(event)));
    this.element.on("plotly_unhover", () => this.handlers.onLeave());
    this.element.on("plotly_click", (event) => this.handlers.onKeep(entry(event)));
  }
}
