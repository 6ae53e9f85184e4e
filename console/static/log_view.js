// The incident log: the operators' messages and actions.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { asMilliseconds, clock, instant } from "./format.js";

const NEAR_THE_END = 40;

/** Show the log, and send the messages that the operator writes. */
export function showLog({ model, api, operator }) {
  const list = byId("log");
  const form = byId("say");
  const input = byId("say-text");
  const button = form.querySelector("button");
  const empty = el("p", { class: "empty" }, "The incident log is empty.");

  const render = oncePerFrame(() => {
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_THE_END;
    empty.remove();
    fillRows(list, model.log, make, (line, entry) => fill(line, entry, operator));
    if (!model.log.length) list.append(empty);
    if (atEnd) list.scrollTop = list.scrollHeight;
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text) return;
    button.disabled = true;
    try {
      await api.post("/api/log", { text });
      input.value = "";
      list.scrollTop = list.scrollHeight;
      input.setCustomValidity("");
    } catch (error) {
      input.setCustomValidity(`Not sent: ${error.message}`);
      input.reportValidity();
    } finally {
      button.disabled = false;
      input.focus();
    }
  });
  input.addEventListener("input", () => input.setCustomValidity(""));
  model.addEventListener("log", render);
}

function make() {
  return el("p", { class: "line" }, el("time"), " ", el("b"), " ", el("span"));
}

function fill(line, entry, operator) {
  const [time, who, text] = line.children;
  const at = asMilliseconds(entry.time);
  setText(time, clock(at));
  setAttribute(time, "datetime", instant(at));
  setText(who, entry.by);
  setText(text, entry.text);
  setAttribute(line, "data-kind", entry.kind);
  setAttribute(line, "data-own", entry.by === operator && entry.kind === "said");
}
