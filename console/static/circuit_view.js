// The circuit panel: state, reason, age, waiting events, and the buttons of the actions.

import { byId, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, count, duration, figure, instant, plural, stateName } from "./format.js";

const STOPS_ALL = "Stop all processing";
/** Hint of each action in each state; null: the button is disabled. */
const HINTS = {
  closed: {
    approve: null,
    close: null,
    isolate: STOPS_ALL,
  },
  open: {
    approve: "Half-open: a few probe events decide",
    close: "Resume at once, without probes",
    isolate: "Stop for a time, or until closed",
  },
  half_open: {
    approve: null,
    close: "Resume at once, ignore the probes",
    isolate: STOPS_ALL,
  },
  isolated: {
    approve: null,
    close: "End the isolation and resume",
    isolate: "Change the reason and the end",
  },
};
const DISABLED_HINTS = {
  closed: { approve: "Nothing to approve", close: "Already closed" },
  half_open: { approve: "Approved; probes decide" },
  isolated: { approve: "An approval does not end an isolation" },
};
const FIRST_CHOICE = { open: "approve", isolated: "close" };

/** Update the circuit panel, the page's title and its icon whenever the model changes. */
export function showCircuit({ model, actions }) {
  const nodes = Object.fromEntries(
    ["state", "mode", "since", "since-clock", "reason", "announce", "icon", "waiting", "waiting-note",
      "failures", "failures-note", "rate", "rate-note", "poison-fact", "poison-note"].map(
      (id) => [id, byId(id)],
    ),
  );
  const buttons = Object.fromEntries(
    ["approve", "close", "isolate"].map((id) => [id, [byId(id), byId(`${id}-hint`)]]),
  );
  for (const [name, [button]] of Object.entries(buttons)) {
    button.addEventListener("click", () => actions[name]());
  }
  let announced = null;

  function renderState(circuit) {
    const name = stateName(circuit.state);
    setAttribute(document.body, "data-state", circuit.state);
    setText(nodes.state, name);
    setAttribute(nodes.icon, "href", `/static/icons/${circuit.state}.svg`);
    const title = titleOf(circuit, model);
    if (document.title !== `${title} · ${circuit.name}`) document.title = `${title} · ${circuit.name}`;
    setText(nodes.reason, reasonOf(circuit, model));
    nodes.mode.hidden = circuit.mode !== "observe";
    const now = `${circuit.state}/${circuit.generation}`;
    if (announced !== null && announced !== now) {
      setText(nodes.announce, `The circuit is ${name.toLowerCase()}. ${reasonOf(circuit, model)}`);
    }
    announced = now;
    for (const [action, [button, hint]] of Object.entries(buttons)) {
      const may = hintOf(action, circuit.state, model);
      // A disabled button loses the keyboard focus, so the circuit panel takes the focus.
      if (!may && button === document.activeElement) byId("circuit").focus({ preventScroll: true });
      setAttribute(button, "disabled", !may);
      setAttribute(button, "data-first", FIRST_CHOICE[circuit.state] === action);
      setText(hint, may ?? DISABLED_HINTS[circuit.state]?.[action] ?? "");
    }
  }

  function renderSince(circuit) {
    const since = sinceOf(circuit);
    if (!since) {
      setText(nodes.since, "");
      setText(nodes["since-clock"], "never opened");
      return;
    }
    setText(nodes["since-clock"], `generation ${circuit.generation}, since ${clock(since * 1000)}`);
    setText(nodes.since, duration(model.now() / 1000 - since));
    setAttribute(nodes["since-clock"], "title", instant(since * 1000));
  }

  function renderFacts(circuit) {
    const last = model.vital;
    setText(nodes.waiting, count(model.waiting));
    setText(nodes["waiting-note"], waitingNote(model, last));
    setText(nodes.failures, count(circuit.failures));
    setText(
      nodes["failures-note"],
      `of ${count(circuit.failure_threshold)} in ${figure(circuit.window_seconds)} s`,
    );
    setText(nodes.rate, figure(last?.per_second));
    setText(nodes["rate-note"], last ? instancesNote(model.instances) : oldNote(model.vitals.at(-1)));
    setText(nodes["poison-fact"], count(model.poisonCount));
    setText(nodes["poison-note"], poisonNote(model));
  }

  const render = oncePerFrame(() => {
    if (!model.circuit) return;
    renderState(model.circuit);
    renderSince(model.circuit);
    renderFacts(model.circuit);
  });
  for (const topic of ["circuit", "dependencies", "pipelines", "partitions", "vitals", "poison", "app"]) {
    model.addEventListener(topic, render);
  }
  setInterval(render, 1000);
}

function hintOf(action, state, { allPipelines }) {
  const hint = HINTS[state]?.[action];
  return hint === STOPS_ALL && allPipelines ? "Stop this pipeline, not the others" : hint;
}

function poisonNote({ parkedKeys, poisonOfOthers }) {
  const parts = [parkedKeys && `${plural(parkedKeys, "key")} parked`, poisonOfOthers && `and ${count(poisonOfOthers)} of other apps`];
  return parts.filter(Boolean).join(", ");
}

/** Return when the state began; an open or isolated state counts from the opening. */
function sinceOf(circuit) {
  return circuit.state === "open" || circuit.state === "isolated"
    ? (circuit.opened_at ?? circuit.changed_at)
    : circuit.changed_at;
}

function reasonOf(circuit, model) {
  if (circuit.degraded) {
    const work = circuit.holding ? "No event is started" : "Each instance decides on its own";
    return `${circuit.problem || "Redis does not answer"}. This is the last known state. ${work}.`;
  }
  if (circuit.problem) return `${circuit.problem}.`;
  if (circuit.state === "closed") {
    const parts = [circuit.reason || workOf(model), dependenciesNote(model), circuit.note];
    return parts.filter(Boolean).join(" ");
  }
  const why = whyOf(circuit);
  return circuit.note ? `${why.replace(/\.?$/, ".")} ${circuit.note}` : why;
}

/** Return why a circuit is not closed, and what follows. */
function whyOf(circuit) {
  if (circuit.state === "half_open") {
    const goal = circuit.half_open_permits ? ` of ${circuit.half_open_permits}` : "";
    const by = circuit.by ? `Approved by ${circuit.by}. ` : "";
    const failed = circuit.probe_failures ? `, ${circuit.probe_failures} of 3 failed` : "";
    return `${by}${circuit.probe_successes}${goal} probes succeeded${failed}.`;
  }
  if (circuit.state === "open" && circuit.retry_after) {
    return `${circuit.reason} (half-open automatically in ${duration(circuit.retry_after)})`;
  }
  if (circuit.state === "isolated" && circuit.resume_at) {
    const then = circuit.ends_as === "closed" ? "closes" : "opens again, and an approval is asked for";
    return `${circuit.reason}. At ${clock(circuit.resume_at * 1000)} the circuit ${then}.`;
  }
  return circuit.reason;
}

/** Return which dependencies' circuits are not closed, as a sentence. */
function dependenciesNote({ dependencies }) {
  const down = dependencies.filter(({ state }) => state !== "closed");
  const states = down.map((each) => `${each.dependency} is ${stateName(each.state).toLowerCase()}`);
  return states.length ? `Dependencies: ${states.join(", ")}; their events wait.` : "";
}

/** Return the title's word: the state, or of a closed circuit the first outage elsewhere. */
function titleOf({ state }, { dependencies, pipelines }) {
  if (state !== "closed") return stateName(state).toUpperCase();
  const down = [...dependencies, ...pipelines].find((each) => each.state !== "closed");
  return down ? `${down.dependency ?? down.name} ${stateName(down.state).toUpperCase()}` : stateName(state);
}

/** Return what the last reports say about the work while the circuit is closed. */
function workOf({ vital, instances }) {
  const open = "The circuit lets events through";
  if (!vital) return `${open}; the app's reports are not known.`;
  if (!instances) return `${open}, but no instance reports.`;
  if (vital.problem) return `An instance reports: ${vital.problem}.`;
  if (vital.per_second) return "Events are handled; failures are counted.";
  return `${open}; no event was handled in the last second.`;
}

function instancesNote(instances) {
  return instances ? `on ${plural(instances, "instance")}` : "no instance reports";
}

/** Return since when a value is unknown. */
function oldNote(last) {
  return last ? `unknown since ${clock(last.time)}` : "";
}

function waitingNote(model, last) {
  if (model.waiting === null && model.partitions) {
    if (model.isOld(model.partitions)) return oldNote(model.partitions);
    if (model.partitions.problem) return "unknown at the moment";
  }
  const partitions = model.partitions?.rows.length;
  if (!partitions) return "";
  const where = `on ${plural(partitions, "partition")}`;
  if (!model.waiting || !last?.per_second || last.holding >= 1) return where;
  return `${where} · ${duration(Math.ceil(model.waiting / last.per_second))} at this rate`;
}
