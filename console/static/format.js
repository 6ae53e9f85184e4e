// Numbers, times and sizes as people read them.

const NONE = "–";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });

/** 12345 -> "12,345". */
export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

/** A rate or a duration in milliseconds: one decimal below 100. */
export function figure(value) {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) < 100 ? tenths.format(value) : whole.format(value);
}

/** A fraction as per cent. */
export function percent(value) {
  return value === null || value === undefined ? NONE : `${Math.round(value * 100)} %`;
}

/** "1 event", "2 events". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Seconds as "4 min 12 s"; two units at most. */
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

/** Milliseconds since 1970 as local "03:12:07", with the day in front when it is not today. */
export function clock(milliseconds) {
  if (!milliseconds) return NONE;
  const date = new Date(milliseconds);
  const time = clockFormat.format(date);
  const today = new Date().toDateString() === date.toDateString();
  return today ? time : `${dayFormat.format(date)}, ${time}`;
}

/** As `clock`, without the day: for what comes right after something of the same day. */
export function timeOfDay(milliseconds) {
  return milliseconds ? clockFormat.format(new Date(milliseconds)) : NONE;
}

/** The exact instant, for tooltips and `datetime`. */
export function instant(milliseconds) {
  return milliseconds ? new Date(milliseconds).toISOString() : "";
}

/** Milliseconds since 1970 of a number (ms) or an ISO text. */
export function asMilliseconds(value) {
  if (typeof value === "number") return value;
  return value ? Date.parse(value) : null;
}

/** 2048 -> "2 KiB". */
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${figure(value / 1024)} KiB`;
  return `${figure(value / 1024 / 1024)} MiB`;
}

/** "processing.errors.PoisonEventError" -> "PoisonEventError". */
export function shortType(dotted) {
  return String(dotted ?? "").split(".").at(-1);
}

const STATES = {
  closed: "Closed",
  open: "Open",
  half_open: "Half-open",
  isolated: "Isolated",
};

/** A circuit state's name. */
export function stateName(state) {
  return STATES[state] ?? "Unknown";
}
