// The poison queue: search, the list of events with their errors, and the redrive buttons.

import { createCauses } from "./causes_view.js";
import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { asMilliseconds, bytes, clock, count, plural, shortType } from "./format.js";
import { showJob } from "./job_view.js";
import { createPager } from "./pager.js";
import { createTabs } from "./tabs.js";

const SEARCH_PAUSE_MS = 250;
/** The console looks at the queue at most every two seconds, so the page loads again after a change. */
const SETTLED_MS = 2_500;
/** The page loads again while the console compares its index with the queue. */
const COMPARING_MS = 1_000;
/** When the queue has more messages than the index knows, the console compares them after half a
 * minute. The page loads again with growing pauses up to this one and then gives up, because a message
 * that another program holds may stay unknown for long. */
const UNKNOWN_MOST_MS = 90_000;
const LIMIT = 200;
/** Each request looks at a limited number of messages; a search continues so many times by itself. */
const MOST_REQUESTS = 20;
const COLUMNS = ["Key", "Error", "Attempts", "Enqueued", "Partition / seq.", "Size"];
const NUMBERS = new Set([2, 4, 5]);

/** Update the list, its count and the running redrive whenever the model changes. */
export function showPoison({ model, api, actions, dialog }) {
  const body = byId("poison");
  const empty = byId("poison-empty");
  const query = byId("poison-query");
  const all = byId("redrive-all");
  const pager = createPager(byId("poison-pager"), load);
  let request = null;
  let again = null;
  let pause = SETTLED_MS;
  let shown = [];

  const causes = createCauses(byId("poison-causes"), () => {
    pager.reset();
    load();
  });

  async function load() {
    request?.abort();
    request = new AbortController();
    const own = request;
    try {
      const found = await collect(own);
      if (own !== request) return;
      if (!found.messages.length && pager.after) {
        pager.reset(); // a redrive has emptied the page
        load();
        return;
      }
      shown = found.messages;
      render(found);
      retry(found.queue);
    } catch (error) {
      if (error.name !== "AbortError") setText(empty, `Cannot read the poison queue: ${error.message}`);
    }
  }

  /** Return the messages of the page. A search may need several requests until it has found them. */
  async function collect(own) {
    const messages = [];
    let after = pager.after;
    for (let number = 1; ; number += 1) {
      const parameters = new URLSearchParams({ query: query.value.trim(), limit: LIMIT - messages.length });
      for (const [name, value] of Object.entries({ ...causes.chosen, after })) {
        if (value !== null) parameters.set(name, value);
      }
      const found = await api.get(`/api/poison?${parameters}`, own.signal);
      messages.push(...found.messages);
      after = found.after;
      if (!after || messages.length >= LIMIT || number === MOST_REQUESTS || own !== request) return { ...found, messages };
    }
  }

  function retry(queue) {
    const known = queue.total + queue.held + queue.unreadable + sum(queue.of_others);
    if (queue.comparing !== null) loadIn(COMPARING_MS);
    else if (queue.count === null || queue.count <= known) pause = SETTLED_MS;
    else if (pause <= UNKNOWN_MOST_MS) loadIn(pause);
  }

  function loadIn(milliseconds) {
    clearTimeout(again);
    again = setTimeout(() => {
      pause *= 2; // only here: a load by a search must not lengthen the pause
      load();
    }, milliseconds);
  }

  function render({ causes: found, queue, after }) {
    fillRows(body, shown, () => make(open, redrive), fill);
    causes.show(found);
    const searched = Boolean(query.value.trim() || causes.chosen.error !== null);
    pager.show({ shown: shown.length, total: searched ? null : queue.total, after, note: noteOf(queue) });
    setText(empty, shown.length ? "" : emptyText(query.value.trim(), causes.chosen.error !== null, queue, after));
    setAttribute(all, "disabled", !queue.total && !model.operatorKeys);
  }

  const open = (index) => dialog.show(shown[index]);
  const redrive = (index) => actions.redrive({ id: shown[index].id, label: nameOf(shown[index]) });

  createTabs([byId("tab-poison"), byId("tab-parked")]);
  showJob({ model, changed: load });
  all.addEventListener("click", () => actions.redrive({ all: true }));
  let typing = null;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      pager.reset();
      load();
    }, SEARCH_PAUSE_MS);
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
  row.append(...cells, el("td", { class: "end" }, again));
  return row;
}

function fill(row, message) {
  const [key, error, attempts, enqueued, place, size] = row.children;
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
  setAttribute(row, "data-parked", message.parked);
}

function nameOf(message) {
  const key = message.key === null ? "" : ` of key ${message.key}`;
  return `event ${message.partition}/${message.sequence_number}${key}`;
}

function emptyText(query, ofCause, queue, after) {
  if (queue.comparing !== null) return `The console reads the queue: ${plural(queue.comparing, "message")} so far.`;
  if (after) return "Nothing found so far. Show the next page to continue the search.";
  if (query) return `No poison event${ofCause ? " of this cause" : ""} contains “${query}”.`;
  return ofCause ? "No poison event has this cause any more." : "The poison queue is empty.";
}

/** Return what the list does not show: messages of others, and the time of the last comparison. */
function noteOf(queue) {
  const others = Object.entries(queue.of_others);
  const names = others.map(([name, number]) => `${name} (${count(number)})`).join(", ");
  return [
    queue.problem && `The queue cannot be compared: ${queue.problem}`,
    queue.comparing !== null && `reading the queue: ${count(queue.comparing)} of ${count(Math.max(queue.comparing, queue.count ?? 0))}`,
    queue.held && `${plural(queue.held, "message")} held by somebody else`,
    others.length && `${plural(sum(queue.of_others), "message")} of other apps: ${names}`,
    queue.unreadable && `${plural(queue.unreadable, "message")} cannot be read`,
    queue.as_of !== null && queue.total > 0 && `compared with the queue at ${clock(queue.as_of)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function sum(numbers) {
  return Object.values(numbers).reduce((total, number) => total + number, 0);
}
