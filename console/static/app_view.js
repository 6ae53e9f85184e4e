// The App panel: what was seen of the function app, and the buttons that stop and start it.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";

const HOLDING = new Set(["open", "isolated"]);

/** Update the panel whenever the app, the circuit or the time changes. */
export function showApp({ model, actions }) {
  const list = byId("app-lines");
  const note = byId("app-note");
  const start = [byId("app-start"), byId("app-start-hint")];
  const stop = [byId("app-stop"), byId("app-stop-hint")];
  const holds = byId("app-holds");
  start[0].addEventListener("click", () => actions.startApp());
  stop[0].addEventListener("click", () => actions.stopApp());

  const render = oncePerFrame(() => {
    const { app } = model;
    const old = !app || model.isOld(app);
    setText(note, noteOf(app, old));
    fillRows(list, app?.lines ?? [], make, fill);
    setAttribute(list, "data-old", old);
    // A stop would stop the other pipelines, too. A stopped app can be started from each page.
    const offersStart = model.stopsApp || app?.state.toLowerCase() === "stopped";
    setAttribute(holds, "hidden", model.stopsApp);
    setAttribute(stop[0].parentElement, "hidden", !model.stopsApp);
    setAttribute(start[0].parentElement, "hidden", !offersStart);
    setButton(start, app?.start_refusal, startHint(model), list);
    setButton(stop, app?.stop_refusal, "Asks for a stop; the circuit stays as it is", list);
    setAttribute(start[0], "data-first", !old && app.lines.some(isUrgentStart));
  });
  for (const topic of ["app", "circuit"]) model.addEventListener(topic, render);
  setInterval(render, 1000);
}

function make() {
  return el("li", {}, el("span", { class: "unseen" }), el("span"));
}

function fill(item, line) {
  setAttribute(item, "data-level", line.level);
  setText(item.children[0], line.level === "warning" ? "Warning: " : "");
  setText(item.children[1], line.text);
}

function setButton([button, hint], refusal, what, list) {
  // A disabled button loses the keyboard focus, so the panel's list takes the focus.
  if (refusal && button === document.activeElement) list.focus({ preventScroll: true });
  setAttribute(button, "disabled", Boolean(refusal));
  setText(hint, refusal || what);
  setAttribute(hint, "title", refusal || what);
}

function startHint(model) {
  const state = model.circuit?.state;
  return HOLDING.has(state) ? `Asks for a start; the circuit holds ${model.heldEvents}` : "Asks for a start";
}

function isUrgentStart({ level, topic }) {
  return level === "warning" && topic === "start";
}

function noteOf(app, old) {
  if (!app) return "nothing was read yet";
  return old ? `not read since ${clock(app.time)}` : `as of ${clock(app.time)}`;
}
