// The dialog of one poison event: position, error, body and properties, all shown as text.

import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { asMilliseconds, bytes, clock, count, shortType } from "./format.js";

/** Return the dialog; `show(message)` opens the dialog for one row of the list. */
export function createEventDialog({ api, actions }) {
  const dialog = byId("event");
  const nodes = Object.fromEntries(
    ["title", "facts", "error", "body", "body-title", "properties", "system", "refused", "key", "one", "discard"].map(
      (name) => [name, byId(`event-${name}`)],
    ),
  );
  let shown = null;
  let lost = false;

  byId("event-cancel").addEventListener("click", () => dialog.close());
  nodes.one.addEventListener("click", () => {
    dialog.close();
    actions.redrive({ id: shown.id, label: placeOf(shown) });
  });
  nodes.discard.addEventListener("click", () => {
    dialog.close();
    actions.discard({
      id: shown.id,
      label: placeOf(shown),
      key: shown.key,
      error: `${shortType(shown.error?.type)}: ${shown.error?.message}`,
      parked: shown.parked,
      lost,
    });
  });
  nodes.key.addEventListener("click", () => {
    dialog.close();
    actions.redrive({ key: shown.key });
  });

  function fill(message) {
    setText(nodes.title, `${shortType(message.error?.type)} on ${message.key ?? "an event without a key"}`);
    fillRows(
      nodes.facts,
      factsOf(message),
      () => el("div", {}, el("dt"), el("dd")),
      (row, [name, value]) => {
        setText(row.children[0], name);
        setText(row.children[1], value);
      },
    );
    const { error } = message;
    setText(nodes.error, error?.traceback || `${error?.type}: ${error?.message}`);
    nodes.error.scrollTop = nodes.error.scrollHeight; // the last lines of a traceback name the error
    const body = message.body;
    lost = message.body_state === "lost";
    setText(nodes["body-title"], bodyTitle(message, body));
    setText(nodes.body, body?.preview ?? message.preview);
    setAttribute(nodes.body, "hidden", lost || message.whole === false || Boolean(body?.lost));
    // Both come as text: parsed numbers above 2^53 would be rounded.
    setText(nodes.properties, message.properties ?? "{}");
    setText(nodes.system, message.system_properties ?? "{}");
    setText(nodes.key, `Redrive key ${message.key}…`);
    setAttribute(nodes.key, "hidden", message.key === null);
  }

  return {
    async show(message) {
      shown = message;
      setText(nodes.refused, "");
      fill(message);
      dialog.showModal();
      try {
        const whole = await api.get(`/api/poison/${encodeURIComponent(message.id)}`);
        if (shown === message) fill({ ...message, ...whole });
      } catch (error) {
        setText(nodes.refused, `Cannot read the event: ${error.message}`);
      }
    },
  };
}

function placeOf(message) {
  const key = message.key === null ? "" : ` of key ${message.key}`;
  return `event ${message.partition}/${message.sequence_number}${key}`;
}

function factsOf(message) {
  return [
    ["Id", message.id],
    ["Partition, sequence", `${message.partition} / ${count(message.sequence_number)}`],
    ["Enqueued", clock(asMilliseconds(message.enqueued_time))],
    ["Attempts", `${count(message.attempts)}, redriven ${count(message.redrives ?? 0)} times`],
    ["Raised at", message.error?.frames?.join(", ") || "–"],
    ["Key state", message.parked ? "parked: later events wait behind this event" : "not parked"],
  ];
}

function bodyTitle(message, body) {
  if (body?.lost) return `Body lost: ${body.lost}`;
  if (message.body_state === "lost") return "Body lost";
  if (message.whole === false) return "Long event: the body is only in the queue; read it with “breakwater poison show” and the id";
  const size = bytes(body?.bytes ?? message.size);
  const form = body?.encoding === "hex" ? ", not UTF-8, shown in hex" : "";
  return `Body (${size}${form}${body?.truncated ? ", beginning only" : ""})`;
}
