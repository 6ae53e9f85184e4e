// The stalled partitions: event, time, reason and the operator's response, whatever the page shows.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, duration, plural } from "./format.js";

/** Show one entry for each stalled partition while the table of partitions is current. */
export function showStalls({ model }) {
  const dock = byId("stalls");
  const title = byId("stalls-title");
  const list = byId("stalls-list");

  const render = oncePerFrame(() => {
    const partitions = model.partitions;
    const stalled = partitions && !model.isOld(partitions) ? (partitions.stalled ?? []) : [];
    setAttribute(dock, "hidden", !stalled.length);
    setText(title, titleOf(stalled));
    fillRows(list, stalled, make, (line, each) => {
      const [what, why, todo] = line.children;
      setText(what.firstElementChild, nameOf(each));
      const seconds = (model.now() - each.since) / 1000;
      setText(what.lastElementChild, `${each.event}, since ${clock(each.since)} (${duration(seconds)})`);
      setText(why.lastElementChild, each.why);
      setCommands(todo.lastElementChild, each.todo);
    });
  });
  model.addEventListener("partitions", render);
  setInterval(render, 1000);
}

/** Return the headline, which counts the partitions and names them. */
export function titleOf(stalled) {
  const names = [...new Set(stalled.map((each) => each.partition))];
  if (!names.length) return "";
  const are = names.length === 1 ? "is" : "are";
  return `${plural(names.length, "partition")} ${are} stalled: ${names.join(", ")}`;
}

/** Set a text whose commands stand between backticks; an equal text leaves the document untouched. */
function setCommands(node, text) {
  const parts = text.split("`");
  if (node.textContent === parts.join("")) return;
  node.replaceChildren(...parts.map((part, index) => (index % 2 ? el("code", {}, part) : part)));
}

function nameOf({ partition, deferred }) {
  return deferred ? `Partition ${partition}: deferred key` : `Partition ${partition}: first event`;
}

function make() {
  return el(
    "li",
    {},
    el("p", {}, el("b"), el("small")),
    el("p", {}, el("small", {}, "Reason"), el("span")),
    el("p", {}, el("small", {}, "What to do"), el("span")),
  );
}
