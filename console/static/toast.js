// A short notice about a finished action; the notice disappears after a few seconds.

import { byId, el } from "./dom.js";

const SHOWN_MS = 6_000;

/** Show a notice. */
export function toast(text) {
  const note = el("p", { class: "toast" }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
}
