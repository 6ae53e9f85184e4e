// The poison queue: search, the list of events with their errors, and the redrive buttons.

import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { asMilliseconds, bytes, clock, count, shortType } from "./format.js";
import { showJob } from "./job_view.js";
import { createTabs } from "./tabs.js";

const SEARCH_PAUSE_MS = 250;
/** The console may return a list up to two seconds old, so the page loads again after a change. */
const SETTLED_MS = 2_500;
/** When the queue counts more messages than the list shows, another reader holds some of them, for
 * two minutes at most. The page loads again with growing pauses up to this one and then gives up,
 * because a message that is no poison message never enters the list. */
const HIDDEN_MOST_MS = 90_000;
/** An older list means that a redrive or another reader holds the messages. */
const HELD_MS = 10_000;
const LIMIT = 200;
const COLUMNS = ["Key", "Error", "Attempts", "Enqueued", "Partition / seq.", "Size", "App"];
const NUMBERS = new Set([2, 4, 5]);

/** Update the list, its count and the running redrive whenever the model changes. */
export function showPoison({ model, api, actions, dialog }) {
  const body = byId("poison");
  const empty = byId("poison-empty");
  const query = byId("poison-query");
  const all = byId("redrive-all");
  let request = null;
  let again = null;
  let pause = SETTLED_MS;
  let shown = [];

  async function load() {
    request?.abort();
    request = new AbortController();
    const own = request;
    const parameters = new URLSearchParams({ query: query.value.trim(), limit: LIMIT });
    try {
      const found = await api.get(`/api/poison?${parameters}`, own.signal);
      if (own !== request) return;
      shown = found.messages;
      render(found.more, found.as_of);
      retryForHidden(!found.more && found.seen < model.poisonCount + (model.poisonOfOthers ?? 0));
    } catch (error) {
      if (error.name !== "AbortError") setText(empty, `Cannot read the poison queue: ${error.message}`);
    }
  }

  function retryForHidden(some) {
    if (!some) pause = SETTLED_MS;
    else if (pause <= HIDDEN_MOST_MS) loadIn(pause);
  }

  function loadIn(milliseconds) {
    clearTimeout(again);
    again = setTimeout(() => {
      pause *= 2; // only here: a load by a search must not lengthen the pause
      load();
    }, milliseconds);
  }

  function render(more, asOf) {
    const several = shown.some(isOthers);
    setAttribute(byId("poison-app"), "hidden", !several);
    fillRows(body, shown, () => make(open, redrive), (row, message) => fill(row, message, several));
    const held = model.now() - asOf > HELD_MS ? `State of ${clock(asOf)}: another reader or a redrive holds the queue.` : "";
    setText(empty, [held, emptyText(shown.length, query.value.trim(), more)].filter(Boolean).join(" "));
    setAttribute(all, "disabled", shown.every(isOthers) && !model.operatorKeys);
  }

  const open = (index) => dialog.show(shown[index]);
  const redrive = (index) => actions.redrive({ id: shown[index].id, label: nameOf(shown[index]) });

  createTabs([byId("tab-poison"), byId("tab-parked")]);
  showJob({ model, changed: load });
  all.addEventListener("click", () => actions.redrive({ all: true }));
  let typing = null;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(load, SEARCH_PAUSE_MS);
  });
  model.addEventListener("poison", () => {
    setText(byId("poison-count"), count(model.poisonCount));
    pause = SETTLED_MS;
    load();
    loadIn(SETTLED_MS);
  });
}

function make(open, redrive) {
  const row = el("tr");
  const index = () => [...row.parentElement.children].indexOf(row);
  const key = el("button", { type: "button", class: "link mono clip", onclick: () => open(index()) });
  const again = el("button", { type: "button", class: "small", onclick: () => redrive(index()) }, "Redrive…");
  const cells = COLUMNS.map((label, column) =>
    el("td", { "data-label": label, class: NUMBERS.has(column) ? "number" : "clip" }),
  );
  cells[0].append(key);
  cells[1].append(el("b"), " ", el("span"), el("small", { class: "mono" }));
  row.append(...cells, el("td", { class: "end" }, again, el("small")));
  return row;
}

/** @param several whether the queue has events of more than one app. */
function fill(row, message, several) {
  const [key, error, attempts, enqueued, place, size, app, end] = row.children;
  setText(key.firstElementChild, message.key ?? "no key");
  setAttribute(key.firstElementChild, "aria-label", `Show ${nameOf(message)}`);
  const [type, text, preview] = error.children;
  setText(type, shortType(message.error?.type));
  setText(text, message.error?.message);
  setText(preview, message.preview);
  setAttribute(error, "title", message.error?.message);
  setText(attempts, count(message.attempts) + (message.redrives ? ` + ${message.redrives}` : ""));
  setAttribute(attempts, "title", message.redrives ? `redriven ${message.redrives} times without success` : null);
  setText(enqueued, clock(asMilliseconds(message.enqueued_time)));
  setText(place, `${message.partition} / ${count(message.sequence_number)}`);
  const lost = message.body_state === "lost";
  setText(size, lost ? "body lost" : bytes(message.size));
  setAttribute(size, "title", lost ? "The event cannot be replayed: restore its blob, or discard the event." : null);
  setText(app, message.app);
  setAttribute(app, "title", message.app);
  setAttribute(app, "hidden", !several);
  setAttribute(end.firstElementChild, "disabled", isOthers(message));
  setText(end.lastElementChild, isOthers(message) ? "of another app" : "");
  setAttribute(row, "data-parked", message.parked);
}

function isOthers(message) {
  return message.own === false;
}

function nameOf(message) {
  const key = message.key === null ? "" : ` of key ${message.key}`;
  return `event ${message.partition}/${message.sequence_number}${key}`;
}

function emptyText(number, query, more) {
  if (more) return `Only the first ${number} are shown. Search to find others.`;
  if (number) return "";
  return query ? `No poison event contains “${query}”.` : "The poison queue is empty.";
}
