// The connection's status: live, stale or disconnected, and the age of the data.

import { byId, setAttribute, setText } from "./dom.js";
import { clock } from "./format.js";

/** Show the connection's status; the caller calls the returned `status` on each change. */
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

/** Return the text of the warning bar; empty while the connection is live. */
function warning(live, model) {
  const since = model.heardAt ? `The data shown is from ${clock(model.heardAt)}.` : "";
  switch (live.status) {
    case "stale":
      return `Stale: no message from the console for some seconds. ${since}`;
    case "down": {
      const why = live.why ? ` (${live.why})` : "";
      return `Disconnected${why}, reconnecting. ${since}`;
    }
    case "refused":
      return `Disconnected: ${live.why}. ${since}`;
    default:
      return "";
  }
}
