// The live tail: a sample of the newest events, read once for all consoles and only when watched.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { asMilliseconds, bytes, clock, count } from "./format.js";

const ROWS = 10;
const COLUMNS = [
  ["Time", "", (row) => clock(asMilliseconds(row.time))],
  ["Key", "clip mono", (row) => row.key ?? "no key"],
  ["Partition", "number", (row) => row.partition],
  ["Sequence", "number", (row) => count(row.sequence_number)],
  ["Size", "number", (row) => bytes(row.size)],
  ["Body", "clip mono", (row) => row.preview],
];

/** Show the tail's rows, and request the tail while the switch is on. */
export function showTail({ model, live }) {
  const body = byId("tail");
  const toggle = byId("tail-on");
  const note = byId("tail-note");

  const render = oncePerFrame(() => {
    const newest = model.tail.slice(-ROWS).reverse();
    const rows = Array.from({ length: ROWS }, (_, index) => newest[index] ?? null);
    fillRows(body, rows, make, (line, row) => {
      setAttribute(line, "data-empty", !row);
      COLUMNS.forEach(([, , read], index) => setText(line.children[index], row ? read(row) : ""));
      setAttribute(line.children[5], "title", row?.preview);
    });
    setText(note, noteOf(toggle.checked, newest.length, model.tailProblem));
  });

  toggle.addEventListener("change", () => {
    live.tail(toggle.checked);
    render();
  });
  model.addEventListener("tail", render);
  render();
}

function make() {
  return el(
    "tr",
    {},
    ...COLUMNS.map(([label, kind]) => el("td", { class: kind, "data-label": label })),
  );
}

function noteOf(on, some, problem) {
  if (!on) return some ? "paused" : "a sample of the hub's events";
  if (problem) return `cannot be read: ${problem}`;
  return some ? "a sample, newest first" : "waiting for events";
}
