// The openings, newest first: time, cause, duration, and the operator who ended each. Expired events
// and changes of the hub stand among them.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, duration, instant, plural, timeOfDay } from "./format.js";
import { timeline } from "./model.js";

/** Update the list whenever the history or the circuit changes. */
export function showHistory({ model }) {
  const list = byId("history");
  const total = byId("history-count");
  const empty = el("li", { class: "empty" }, "No circuit has opened yet.");

  const render = oncePerFrame(() => {
    const found = timeline(model);
    const openings = found.filter(({ hub }) => !hub).length;
    setText(total, openings ? plural(openings, "generation") : "");
    empty.remove();
    fillRows(list, found, make, (item, each) => (each.hub ? fillHub(item, each.hub) : fill(item, each, model)));
    if (!found.length) list.append(empty);
  });
  for (const topic of ["history", "circuit", "dependencies", "partitions"]) model.addEventListener(topic, render);
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
  setAttribute(item, "data-kind", kindOf(opening));
  setText(number, nameOf(opening));
  setText(time, from ? clock(from * 1000) : "");
  setAttribute(time, "datetime", instant((from ?? 0) * 1000));
  const to = opening.closed?.at ?? (isCurrent(opening) ? model.now() / 1000 : null);
  setText(length, from && to ? duration(to - from) : "");
  setText(cause, causeOf(opening));
  setAttribute(cause, "title", causeOf(opening));
  fillRows(chain, opening.chain, makeStep, fillStep);
  setText(ending, opening.generation ? endingOf(opening) : "");
}

/** Show expired events, or a change of the hub, which have a time and no end. */
function fillHub(item, { at, kind, text }) {
  const [head, cause, chain, ending] = item.children;
  const [name, time, length] = head.children;
  setAttribute(item, "data-kind", kind);
  setText(name, "Hub");
  setText(time, clock(at));
  setAttribute(time, "datetime", instant(at));
  setText(length, "");
  setText(cause, text);
  setAttribute(cause, "title", text);
  fillRows(chain, [], makeStep, fillStep);
  setText(ending, "");
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

function nameOf({ generation, circuit: { dependency } }) {
  const number = generation ? `#${generation}` : "Before the first opening";
  return dependency ? `${dependency} ${number}` : number;
}

function isCurrent({ generation, circuit }) {
  return circuit.generation === generation && circuit.state !== "closed";
}

function kindOf(opening) {
  return isCurrent(opening) ? opening.circuit.state : "closed";
}

function causeOf(opening) {
  const { opened } = opening;
  if (!opened) return "";
  const who = opened.event === "isolated" ? `isolated by ${opened.by}` : "";
  if (who && (!opened.reason || opened.reason === who)) return who;
  return [who, opened.reason].filter(Boolean).join(": ");
}

function endingOf(opening) {
  const parts = [];
  if (opening.approved) {
    parts.push(`approved by ${opening.approved.by} at ${timeOfDay(opening.approved.at * 1000)}`);
  } else if (opening.halfOpened) {
    parts.push(`half-open${opening.halfOpened.by ? ` by ${opening.halfOpened.by}` : ""}`);
  }
  if (opening.closed) {
    const by = opening.closed.by && !opening.approved ? ` by ${opening.closed.by}` : "";
    parts.push(`closed${by} at ${timeOfDay(opening.closed.at * 1000)}`);
  } else if (!isCurrent(opening)) {
    parts.push("opened again");
  }
  if (parts.length) return parts.join(", ");
  return opening.circuit.recovery === "automatic" ? "" : "not approved yet";
}
