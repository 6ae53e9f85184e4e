// The partitions: state, lag, owner, lease and position of each.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, count, figure, plural } from "./format.js";

const COLUMNS = [
  ["Partition", "", (row) => row.partition],
  ["State", "state-cell", (row) => (row.recreated ? "recreated" : (row.state ?? "–"))],
  ["Lag", "number", (row) => count(row.lag)],
  ["Parked", "number", (row) => count(row.parked)],
  ["Owner", "clip", (row) => row.owner || "none"],
  ["Lease", "number", (row) => lease(row.lease_seconds)],
  ["Checkpoint", "number", (row) => count(row.checkpoint)],
  ["Watermark", "number", (row) => count(row.watermark)],
  ["Last in hub", "number", (row) => count(row.last_enqueued)],
];

/** Update the table whenever the partitions change. */
export function showPartitions({ model }) {
  const body = byId("partitions");
  const note = byId("partitions-note");

  const render = oncePerFrame(() => {
    const partitions = model.partitions;
    setText(note, noteOf(partitions, model));
    const rows = partitions?.rows ?? [];
    const most = Math.max(1, ...rows.map((row) => row.lag ?? 0));
    fillRows(body, rows, make, (line, row) => {
      COLUMNS.forEach(([, , read], index) => setText(line.children[index], read(row)));
      setAttribute(line.children[2], "data-expired", row.expired ? `${count(row.expired)} expired` : null);
      setAttribute(line.children[4], "title", row.owner);
      setAttribute(line, "data-standing", row.state);
      setAttribute(line, "data-orphan", !row.owner);
      line.style.setProperty("--share", `${Math.round(((row.lag ?? 0) / most) * 100)}%`);
    });
  });
  model.addEventListener("partitions", render);
  setInterval(render, 1000);
}

function make() {
  return el(
    "tr",
    {},
    ...COLUMNS.map(([label, kind], index) =>
      index === 0
        ? el("th", { scope: "row", "data-label": label })
        : el("td", { class: kind, "data-label": label }),
    ),
  );
}

function lease(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds > 0 ? `${figure(Math.round(seconds))} s` : "expired";
}

function noteOf(partitions, model) {
  if (!partitions) return "reading…";
  if (partitions.problem) return partitions.problem;
  if (model.isOld(partitions)) return `not read since ${clock(partitions.time)}`;
  const expired = partitions.rows.reduce((sum, row) => sum + (row.expired ?? 0), 0);
  const lost = expired ? `${plural(expired, "event")} expired unhandled in 24 h; ` : "";
  return `${lost}as of ${clock(partitions.time)}`;
}
