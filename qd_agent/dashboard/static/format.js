// Numbers and times as people read them.

/** Give a number with fixed digits, or a dash. */
export function fixed(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
}

/** Give a span of time in the largest unit that leaves a number above one. */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${fixed(seconds / 3600, 1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** Give minutes likewise. */
export function minutes(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 1.5) return `${Math.round(value * 60)} s`;
  return value < 10 ? `${fixed(value, 1)} min` : span(value * 60);
}

/** Give a moment (UTC epoch s) in this browser's time zone. */
export function clock(seconds) {
  return Number.isFinite(seconds) ? new Date(seconds * 1000).toLocaleTimeString("en-GB") : "–";
}

/** Give a day and a moment. */
export function dayAndClock(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const date = new Date(seconds * 1000);
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Give digits of a rate that say no more than its interval allows. */
export function digitsFor(uncertainty) {
  if (!(uncertainty > 0)) return 2;
  return Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(uncertainty))));
}

/** Make a text safe for Plotly, which reads tags in its labels. */
export function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** Write a text into an element, whatever it holds, where it is not there yet. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function two(number) {
  return String(number).padStart(2, "0");
}
