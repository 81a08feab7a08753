// The page's state, and how each message from the service changes it. Pure: no clock, no document.

export const MOST_ROWS = 20000; // as the service holds; older frames are in the exports

/** @returns the state before anything was heard. */
export function emptyState() {
  return {
    version: 0, run: null, rows: [], headline: null, agents: [], redis: null, latency: null,
    runs: [], clockOffset: 0, columns: [],
  };
}

/**
 * Give the state after a message.
 * @param state what `emptyState` or this function gave.
 * @param kind 'snapshot', 'frames', 'run', 'runs' or 'health'.
 * @param data the message.
 * @param hereNow this machine's clock at its arrival, s; the service's own is in the message.
 */
export function reduce(state, kind, data, hereNow) {
  const next = { ...state };
  if (typeof data.now === "number") next.clockOffset = data.now - hereNow;
  if (kind === "snapshot") {
    next.columns = data.columns;
    next.rows = data.rows.map((values) => rowOf(data.columns, values));
    next.run = data.run;
  }
  if (kind === "frames") {
    next.rows = merge(state.rows, data.rows.map((values) => rowOf(state.columns, values)));
  }
  if (kind === "run") next.run = data.run;
  if ("headline" in data) next.headline = data.headline;
  if ("agents" in data) next.agents = data.agents;
  if ("redis" in data) next.redis = data.redis;
  if ("latency_ms" in data) next.latency = data.latency_ms;
  if ("runs" in data) next.runs = data.runs;
  return next;
}

/** Make an object of a row's values. */
export function rowOf(columns, values) {
  const row = {};
  for (let i = 0; i < columns.length; i += 1) row[columns[i]] = values[i];
  return row;
}

/** Add rows in the order of their times; one with a known key takes the other's place. */
export function merge(rows, fresh) {
  if (fresh.length === 0) return rows;
  const keys = new Set(fresh.map((row) => row.key));
  const last = rows.length === 0 ? -Infinity : rows[rows.length - 1].time;
  // Nearly always the new ones are the newest, and none is known: then nothing is looked through.
  const simple = fresh.every((row, i) => row.time >= (i === 0 ? last : fresh[i - 1].time));
  const repeated = rows.slice(-5000).some((row) => keys.has(row.key)) || !simple;
  let all = (repeated ? rows.filter((row) => !keys.has(row.key)) : rows).concat(fresh);
  if (!simple) all = all.sort((a, b) => a.time - b.time || a.seq_num - b.seq_num);
  return all.length > MOST_ROWS ? all.slice(-MOST_ROWS) : all;
}
