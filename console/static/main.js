// Composition root: the connection feeds the model, views show the model, actions call the API.

import { createActions } from "./actions.js";
import { Api } from "./api.js";
import { showApp } from "./app_view.js";
import { showCircuit } from "./circuit_view.js";
import { showConnection } from "./connection_view.js";
import { showDependencies } from "./dependencies_view.js";
import { byId, setText } from "./dom.js";
import { createEventDialog } from "./event_dialog.js";
import { showHistory } from "./history_view.js";
import { showLink } from "./link_view.js";
import { Live, pause } from "./live.js";
import { showLog } from "./log_view.js";
import { Model } from "./model.js";
import { showParked } from "./parked_view.js";
import { showPartitions } from "./partitions_view.js";
import { chosenPipeline, showPipelines } from "./pipelines_view.js";
import { showPlots } from "./plots.js";
import { showPoison } from "./poison_view.js";
import { showRewind } from "./rewind_view.js";
import { showStalls } from "./stalls_view.js";
import { showTail } from "./tail_view.js";
import { toast } from "./toast.js";

function signedOut() {
  location.assign(`/login${location.search}`); // the link of a mail or an alert is kept
}

const model = new Model();
const api = new Api(signedOut);
const noteMessage =
  (take) =>
  (...message) => {
    model.noteMessage();
    take(...message);
  };

const live = new Live({
  snapshot: noteMessage((message) => model.snapshot(message)),
  message: noteMessage((kind, data) => model.message(kind, data)),
  circuit: noteMessage((data, history) => model.setCircuit(data, history)),
  dependencies: noteMessage((names, items) => model.setDependencies(names, items)),
  pipelines: noteMessage((items) => model.setPipelines(items)),
  beat: noteMessage((time) => model.beat(time)),
  status: () => connection.status(),
  signedOut,
  checkSession: () => api.session().catch(() => {}),
});

const actions = createActions({ api, model });
const dialog = createEventDialog({ api, actions });
const connection = showConnection({ model, live });
showLink({ model, api });
showCircuit({ model, actions });
showPipelines({ model });
showDependencies({ model, actions });
showApp({ model, actions });
showPlots({ model });
showHistory({ model });
showPartitions({ model });
showRewind({ model, api });
showStalls({ model });
showPoison({ model, api, actions, dialog });
showParked({ model, api, actions });
showTail({ model, live });

byId("theme").addEventListener("click", () => globalThis.breakwaterTheme.toggle());
byId("logout").addEventListener("click", async () => {
  try {
    location.assign((await api.post("/logout")).next);
  } catch (error) {
    toast(`You are still signed in: ${error.message}.`);
  }
});

/** Retry until the console returns the session: it may be restarting while the page loads. */
async function begin() {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await api.session();
    } catch (error) {
      live.showDown(error.message);
      await new Promise((resolve) => setTimeout(resolve, pause(attempt)));
    }
  }
}

const session = await begin();
const chosen = chosenPipeline(session, location.search);
model.pipeline = chosen.name;
api.use(chosen.base);
setText(byId("operator"), session.operator);
setText(byId("circuit-name"), chosen.circuit);
actions.setSession({ ...session, circuit: chosen.circuit });
if (chosen.unknown) toast(`There is no pipeline ${chosen.unknown}; this page shows ${chosen.name}.`);
showLog({ model, api, operator: session.operator });
live.begin(chosen.base);
