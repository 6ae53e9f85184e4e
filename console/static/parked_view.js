// The parked keys: events that wait, in order, behind a poisoned event of the same key.

import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { asMilliseconds, clock, count } from "./format.js";

const COLUMNS = ["Key", "Events", "Partition", "Since", "Error"];

/** Update the list and its count whenever the counters change. */
export function showParked({ model, api, actions }) {
  const body = byId("parked");
  const empty = byId("parked-empty");
  let shown = [];

  async function load() {
    setText(byId("parked-count"), count(model.parkedKeys));
    try {
      shown = (await api.get("/api/parked")).keys;
    } catch (error) {
      setText(empty, `Cannot read the parked keys: ${error.message}`);
      return;
    }
    fillRows(body, shown, () => make((index) => actions.redrive({ key: shown[index].key })), fill);
    setText(empty, shown.length ? "" : "No key is parked.");
  }

  model.addEventListener("poison", load);
}

function make(redrive) {
  const row = el("tr");
  const again = el(
    "button",
    {
      type: "button",
      class: "small",
      onclick: () => redrive([...row.parentElement.children].indexOf(row)),
    },
    "Redrive…",
  );
  row.append(
    ...COLUMNS.map((label, column) =>
      el("td", { "data-label": label, class: column === 1 || column === 2 ? "number" : "clip" }),
    ),
    el("td", { class: "end" }, again),
  );
  return row;
}

function fill(row, parked) {
  const [key, events, partition, since, error, end] = row.children;
  setText(key, parked.key ?? "no key");
  setText(events, count(parked.count));
  setText(partition, parked.partition);
  setText(since, clock(asMilliseconds(parked.since)));
  setText(error, parked.error);
  setAttribute(end.firstElementChild, "disabled", parked.key === null);
}
