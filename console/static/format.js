// Formatting of numbers, times and sizes for people.

const NONE = "–";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** Format a count: 12345 -> "12,345". */
export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** Format a rate, or a duration in milliseconds; numbers below 100 get one decimal. */
export function figure(value) {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) < 100 ? tenths.format(value) : whole.format(value);
}

/** Format a fraction as per cent. */
export function percent(value) {
  return value === null || value === undefined ? NONE : `${Math.round(value * 100)} %`;
}

/** Format a number with its noun: "1 event", "2 events". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Format seconds as "4 min 12 s", with two units at most. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return NONE;
  const total = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(" ");
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** Format milliseconds since 1970 as local "03:12:07", after the day if the day is not today. */
export function clock(milliseconds) {
  if (!milliseconds) return NONE;
  const date = new Date(milliseconds);
  const time = clockFormat.format(date);
  const today = new Date().toDateString() === date.toDateString();
  return today ? time : `${dayFormat.format(date)}, ${time}`;
}

/** Format milliseconds since 1970 as a local time without the day. */
export function timeOfDay(milliseconds) {
  return milliseconds ? clockFormat.format(new Date(milliseconds)) : NONE;
}

/** Format milliseconds since 1970 as ISO 8601, for tooltips and `datetime`. */
export function instant(milliseconds) {
  return milliseconds ? new Date(milliseconds).toISOString() : "";
}

/** Return milliseconds since 1970 from a number (ms) or an ISO text. */
export function asMilliseconds(value) {
  if (typeof value === "number") return value;
  return value ? Date.parse(value) : null;
}

/** Format a size: 2048 -> "2 KiB". */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${figure(value / 1024)} KiB`;
  return `${figure(value / 1024 / 1024)} MiB`;
}

/** Shorten a type: "processing.errors.PoisonEventError" -> "PoisonEventError". */
export function shortType(dotted) {
  return String(dotted ?? "").split(".").at(-1);
}

const STATES = {
  closed: "Closed",
  open: "Open",
  half_open: "Half-open",
  isolated: "Isolated",
};

/** Return the display name of a circuit state. */
export function stateName(state) {
  return STATES[state] ?? "Unknown";
}
