// The openings, newest first: time, cause, duration, and the operator who ended each.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, duration, instant, plural, timeOfDay } from "./format.js";
import { openings } from "./model.js";

/** Update the list whenever the history or the circuit changes. */
export function showHistory({ model }) {
  const list = byId("history");
  const total = byId("history-count");
  const empty = el("li", { class: "empty" }, "The circuit has not opened yet.");

  const render = oncePerFrame(() => {
    const found = openings(model.history);
    setText(total, found.length ? plural(found.length, "generation") : "");
    empty.remove();
    fillRows(list, found, make, (item, opening) => fill(item, opening, model));
    if (!found.length) list.append(empty);
  });
  model.addEventListener("history", render);
  model.addEventListener("circuit", render);
  setInterval(render, 1000);
}

function make() {
  return el(
    "li",
    {},
    el("p", { class: "opening" }, el("b"), el("time"), el("span", { class: "length" })),
    el("p", { class: "cause" }),
    el("ul", { class: "chain" }),
    el("p", { class: "ending" }),
  );
}

function fill(item, opening, model) {
  const [head, cause, chain, ending] = item.children;
  const [number, time, length] = head.children;
  const from = opening.opened?.at;
  setAttribute(item, "data-kind", kindOf(opening, model));
  setText(number, opening.generation ? `#${opening.generation}` : "Before the first opening");
  setText(time, from ? clock(from * 1000) : "");
  setAttribute(time, "datetime", instant((from ?? 0) * 1000));
  const to = opening.closed?.at ?? (isCurrent(opening, model) ? model.now() / 1000 : null);
  setText(length, from && to ? duration(to - from) : "");
  setText(cause, causeOf(opening));
  setAttribute(cause, "title", causeOf(opening));
  fillRows(chain, opening.chain, makeStep, fillStep);
  setText(ending, opening.generation ? endingOf(opening, model) : "");
}

const STEPS = {
  stop_accepted: "stop asked, accepted",
  stop_refused: "stop not accepted",
  start_accepted: "start asked, accepted",
  start_refused: "start not accepted",
  approval_requested: "approval asked for",
  would_open: "mode observe prevented an opening",
  alert_repeated: "opening announced again, because nobody had asked for approval",
};

function makeStep() {
  return el("li", {}, el("time"), " ", el("span"));
}

function fillStep(item, entry) {
  const [time, text] = item.children;
  const reason = entry.reason ? ` (${entry.reason})` : "";
  const by = entry.by ? `, by ${shortRun(entry.by)}` : "";
  setText(time, timeOfDay(entry.at * 1000));
  setAttribute(time, "datetime", instant(entry.at * 1000));
  setText(text, `${STEPS[entry.event]}${reason}${by}`);
  setAttribute(item, "title", entry.by);
  setAttribute(item, "data-refused", entry.event.endsWith("_refused"));
}

/** Shorten a long run name: "workflow run 8c5c627dfd94328196e81979" -> "workflow run 8c5c627d…". */
function shortRun(by) {
  return by.replace(/^(workflow run \S{8})\S{4,}$/, "$1…");
}

function isCurrent(opening, model) {
  return model.circuit?.generation === opening.generation && model.circuit.state !== "closed";
}

function kindOf(opening, model) {
  if (isCurrent(opening, model)) return model.circuit.state;
  return "closed";
}

function causeOf(opening) {
  const { opened } = opening;
  if (!opened) return "";
  const who = opened.event === "isolated" ? `isolated by ${opened.by}` : "";
  if (who && (!opened.reason || opened.reason === who)) return who;
  return [who, opened.reason].filter(Boolean).join(": ");
}

function endingOf(opening, model) {
  const parts = [];
  if (opening.approved) {
    parts.push(`approved by ${opening.approved.by} at ${timeOfDay(opening.approved.at * 1000)}`);
  } else if (opening.halfOpened) {
    parts.push(`half-open${opening.halfOpened.by ? ` by ${opening.halfOpened.by}` : ""}`);
  }
  if (opening.closed) {
    const by = opening.closed.by && !opening.approved ? ` by ${opening.closed.by}` : "";
    parts.push(`closed${by} at ${timeOfDay(opening.closed.at * 1000)}`);
  } else if (!isCurrent(opening, model)) {
    parts.push("opened again");
  }
  return parts.join(", ") || "not approved yet";
}
