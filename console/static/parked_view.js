// The parked and the deferred keys: why each key waits, and when it continues.

import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { asMilliseconds, clock, count, duration, stateName } from "./format.js";
import { createPager } from "./pager.js";

const COLUMNS = ["Key", "State", "Since", "Why", "Attempts", "Next try", "Behind", "Partition"];
const NUMBERS = new Set([4, 6, 7]);
const LIMIT = 200;
const TICK_MS = 1_000;
/** Shortest time between two reads; a read follows a replay, which may have changed a key. */
const READ_AGAIN_MS = 5_000;

/** Update the list and its count; the times of the next tries count down while the tab is shown. */
export function showParked({ model, api, actions }) {
  const body = byId("parked");
  const empty = byId("parked-empty");
  const pane = byId("pane-parked");
  let shown = [];
  let readAt = 0;
  let reading = false;
  let again = false;
  const pager = createPager(byId("parked-pager"), load);

  async function load() {
    setText(byId("parked-count"), count(model.parkedKeys));
    again = reading; // another page may be wanted by now
    if (reading) return;
    reading = true;
    try {
      const found = await read();
      if (again) return;
      shown = found.keys;
      readAt = Date.now();
      render();
      pager.show({ shown: shown.length, total: found.total, after: found.after });
      setText(empty, shown.length ? "" : "No key is parked or deferred.");
    } catch (error) {
      setText(empty, `Cannot read the parked keys: ${error.message}`);
    } finally {
      reading = false;
      if (again) load();
    }
  }

  async function read() {
    const parameters = new URLSearchParams({ limit: LIMIT });
    if (pager.after) parameters.set("after", pager.after);
    const found = await api.get(`/api/parked?${parameters}`);
    if (found.keys.length || !pager.after) return found;
    pager.reset(); // a redrive has released the keys of the page
    return read();
  }

  function render() {
    const refused = whyRefused(model);
    fillRows(body, shown, () => make(redrive), (row, parked) => fill(row, parked, left(parked), refused));
  }

  /** Return the seconds until a key's next try; null: the key waits for an operator. */
  function left({ next_try_seconds: seconds }) {
    return seconds === null ? null : seconds - (Date.now() - readAt) / 1000;
  }

  function redrive(index) {
    const { selection, state, event } = shown[index];
    actions.redrive({ ...selection, label: `event ${shortId(event)}`, deferred: state === "deferred" });
  }

  function tick() {
    if (pane.hidden || document.hidden || !shown.length) return;
    render();
    const replayed = shown.some((parked) => left(parked) !== null && left(parked) < -1);
    if (replayed && Date.now() - readAt >= READ_AGAIN_MS) load();
  }

  model.addEventListener("poison", load);
  model.addEventListener("circuit", render);
  model.addEventListener("redrive", () => (model.redrive?.done ? load() : render()));
  setInterval(tick, TICK_MS);
}

/** Return why no redrive can start now, or "". */
function whyRefused(model) {
  if (model.redrive && !model.redrive.done) return "a redrive is running";
  const state = model.circuit?.state;
  return !state || state === "closed" ? "" : `circuit is ${stateName(state).toLowerCase()}`;
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
      el("td", { "data-label": label, class: NUMBERS.has(column) ? "number" : "clip" }),
    ),
    el("td", { class: "end" }, again, el("small")),
  );
  row.children[0].append(el("span"), el("small", { class: "clip mono" }));
  row.children[1].append(el("b"));
  row.children[3].append(el("b"), el("small", { class: "clip" }));
  return row;
}

function fill(row, parked, seconds, refused) {
  const [key, state, since, why, attempts, next, behind, partition, end] = row.children;
  const name = parked.key ?? `(no key) ${shortId(parked.event)}`;
  setText(key.firstElementChild, parked.key ?? "(no key)");
  setText(key.lastElementChild, shortId(parked.event));
  setAttribute(key, "title", `${name}; first event: ${parked.event}`);
  setAttribute(row, "data-state", parked.state);
  setText(state.firstElementChild, parked.state);
  setText(since, clock(asMilliseconds(parked.since)));
  const [reason, error] = why.children;
  setText(reason, parked.dependency ? `${parked.reason}: ${parked.dependency}` : parked.reason);
  setText(error, parked.error);
  setAttribute(why, "title", parked.error || null);
  setText(attempts, count(parked.attempts) + (parked.redrives ? ` + ${parked.redrives}` : ""));
  setAttribute(attempts, "title", parked.redrives ? `redriven ${parked.redrives} times without success` : null);
  setText(next, nextText(seconds));
  setText(behind, count(parked.behind));
  setText(partition, parked.partition);
  const reasonAgainst = parked.selection ? refused : whyNotHere(parked);
  const [button, note] = end.children;
  setAttribute(button, "disabled", Boolean(reasonAgainst));
  setAttribute(button, "aria-label", `Redrive ${parked.state} ${parked.key === null ? "event" : "key"} ${name}`);
  setText(note, reasonAgainst);
}

/** Return why no button can redrive a key; the command line can. */
function whyNotHere({ key }) {
  const redrive = "breakwater redrive";
  if (key !== null) return `the key is too long for the page: use ${redrive} --key`;
  // Without a key, only the id of its first event names the list.
  return `the id of the first event is lost: use ${redrive}`;
}

function nextText(seconds) {
  if (seconds === null) return "waits for an operator";
  return seconds < 1 ? "now" : `in ${duration(seconds)}`;
}

function shortId(event) {
  return event.split("/").slice(-3).join("/");
}
