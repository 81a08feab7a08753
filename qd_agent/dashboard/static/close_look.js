// The frame that is looked at: the newest, one that was chosen, or one that is pointed at.

const PAUSE_MS = 700; // while the newest is followed, a close look is fetched no more often

/** Follows, chooses and fetches; `onFrame` is called with what was fetched. */
export class CloseLook {
  constructor(onFrame, onMove) {
    this.onFrame = onFrame;
    this.onMove = onMove;
    this.rows = [];
    this.uid = "";
    this.source = "redis";
    this.chosen = null; // key of the row that was chosen; null follows the newest
    this.pointed = null;
    this.wanted = null;
    this.asked = ""; // name of the frame that is being fetched, while `busy`
    this.have = "";
    this.busy = false;
    this.last = -Infinity;
    this.timer = null;
  }

  /** Say which frames there are. */
  offer(uid, rows, source = "redis") {
    const other = uid !== this.uid || source !== this.source;
    if (other) Object.assign(this, { uid, source, chosen: null, pointed: null, have: "" });
    this.rows = rows;
    this.#want();
  }

  get following() {
    return this.chosen === null;
  }

  /** The row that is looked at, or null. */
  get row() {
    const key = this.pointed || this.chosen;
    const found = key === null ? null : this.rows.find((row) => row.key === key);
    return found || (this.rows.length > 0 ? this.rows[this.rows.length - 1] : null);
  }

  choose(row) {
    this.chosen = row ? row.key : null;
    this.pointed = null;
    this.onMove();
    this.#want(true);
  }

  chooseEntry(entry) {
    this.choose(this.rows.find((row) => row.entry === entry) || null);
  }

  point(entry) {
    const row = entry === null ? null : this.rows.find((found) => found.entry === entry);
    const key = row ? row.key : null;
    if (key === this.pointed) return;
    this.pointed = key;
    this.onMove();
    this.#want(true);
  }

  /** Go so many frames on or back. */
  step(by) {
    if (this.rows.length === 0) return;
    const now = this.rows.indexOf(this.row);
    const to = Math.min(this.rows.length - 1, Math.max(0, now + by));
    this.choose(this.rows[to]);
  }

  #want(soon = false) {
    const row = this.row;
    const name = row ? `${this.uid} ${row.entry}` : "";
    // What is on its way takes the place of what is there: then it counts, and what was wanted since does not.
    if (!row || name === (this.busy ? this.asked : this.have)) {
      this.wanted = null;
      return;
    }
    this.wanted = { name, uid: this.uid, entry: row.entry };
    if (soon) this.last = -Infinity;
    this.#go();
  }

  #go() {
    if (this.busy || !this.wanted) return;
    const wait = this.last + PAUSE_MS - performance.now();
    clearTimeout(this.timer);
    if (wait > 0) {
      this.timer = setTimeout(() => this.#go(), wait);
      return;
    }
    this.#fetch(this.wanted);
  }

  async #fetch(wanted) {
    this.busy = true;
    this.asked = wanted.name;
    this.wanted = null;
    this.last = performance.now();
    try {
      const query = `uid=${encodeURIComponent(wanted.uid)}&entry=${wanted.entry}&source=${this.source}`;
      const answer = await fetch(`api/frame?${query}`);
      if (answer.ok && wanted.name.startsWith(`${this.uid} `)) {
        this.have = wanted.name;
        this.onFrame(await answer.json());
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // cut off: the next frame asks again
    } finally {
      this.busy = false;
      if (this.wanted) this.#go();
    }
  }
}
