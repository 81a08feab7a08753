// Which frames are drawn, when there are more than the screen can tell apart.

export const MOST_DRAWN = 400;
const NEWEST_WHOLE = 80;
const MOST_KINDS = 64;

/**
 * Choose rows to be drawn: real frames, never averages. The newest are all there; of the older
 * ones, each stretch of time gives its last sized frame and one of each other kind in it.
 * @param rows newest last.
 * @param from, to times (s) between which the plot is shown; all when null.
 */
export function thin(rows, from = null, to = null) {
  const seen = from === null ? rows : rows.filter((row) => row.time >= from && row.time <= to);
  if (seen.length <= MOST_DRAWN) return seen;
  const old = seen.slice(0, -NEWEST_WHOLE);
  const width = stretch((old[old.length - 1].time - old[0].time) / (MOST_DRAWN - NEWEST_WHOLE));
  const chosen = new Map(); // by stretch and kind, as one number: this is done with every frame
  const kinds = new Map();
  for (const row of old) {
    const kind = row.flags.length === 0 && row.diameter !== null ? 0 : kindOf(row, kinds);
    chosen.set(Math.floor(row.time / width) * MOST_KINDS + kind, row);
  }
  let drawn = [...chosen.values()];
  if (drawn.length > 2 * MOST_DRAWN) {
    const step = Math.ceil(drawn.length / (2 * MOST_DRAWN));
    drawn = drawn.filter((_, i) => i % step === 0);
  }
  return drawn.sort((a, b) => a.time - b.time).concat(seen.slice(-NEWEST_WHOLE));
}

// The least step of 1.25, 1.56, 1.95, ... s that holds so much: as frames come the stretches stay what
// they are for a while, and so do the frames that are drawn.
function stretch(seconds) {
  return seconds > 0 ? 1.25 ** Math.ceil(Math.log(seconds) / Math.log(1.25)) : 1;
}

function kindOf(row, kinds) {
  const name = `${row.verdict} ${row.flags[0] || ""}`;
  if (!kinds.has(name)) kinds.set(name, Math.min(kinds.size + 1, MOST_KINDS - 1));
  return kinds.get(name);
}
