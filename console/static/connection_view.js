// Whether what is shown is true now: live, stale or disconnected, and since when.

import { byId, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";

/** Show the connection's status; returns {status} to be called when it changes. */
export function showConnection({ model, live }) {
  const text = byId("connection");
  const trouble = byId("trouble");

  function status() {
    setAttribute(document.body, "data-connection", live.status);
    setText(text, label(live, model));
    setText(trouble, warning(live, model));
  }

  setInterval(status, 1000);
  return { status };
}

function label(live, model) {
  switch (live.status) {
    case "live":
      return model.instance ? `Live · ${model.instance}` : "Live";
    case "stale":
      return "Stale";
    case "down":
      return "Disconnected";
    case "refused":
      return "Refused";
    default:
      return "Connecting";
  }
}

/** One sentence for the bar across the page; empty while all is well. */
function warning(live, model) {
  const since = model.heardAt ? `What you see is from ${clock(model.heardAt)}.` : "";
  switch (live.status) {
    case "stale":
      return `Stale: the console has sent nothing for some seconds. ${since}`;
    case "down": {
      const why = live.why ? ` (${live.why})` : "";
      return `Disconnected${why}: trying again. ${since}`;
    }
    case "refused":
      return `Disconnected: ${live.why}. ${since}`;
    default:
      return "";
  }
}
