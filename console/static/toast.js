// A short word that something was done; it goes by itself.

import { byId, el } from "./dom.js";

const SHOWN_MS = 6_000;

/** Say it. */
export function toast(text) {
  const note = el("p", { class: "toast" }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
}
