// The dependencies: state, age, failures, waiting keys, and what happens next to each circuit.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, count, duration, figure, instant, plural, stateName } from "./format.js";

const COLUMNS = ["Dependency", "State", "Since", "Failures", "Keys waiting", "What happens next"];
const NUMBERS = new Set([3, 4]);
const ACTIONS = [
  ["approve", "Approve…"],
  ["close", "Close…"],
  ["isolate", "Isolate…"],
];
/** What a button does in each state; a state without an entry disables the button. */
const HINTS = {
  approve: { open: "Half-open: a few probe events decide" },
  close: {
    open: "Let events use the dependency again, without probes",
    half_open: "Let events use the dependency again, ignore the probes",
    isolated: "End the isolation",
  },
  isolate: {
    closed: "Hold all events that need the dependency",
    open: "Hold the events for a time, or until closed",
    half_open: "Hold all events that need the dependency",
    isolated: "Change the reason and the end",
  },
};
const RECOVERY = { automatic: "recovers by itself", manual: "asks for approval" };
const DISABLED_HINTS = {
  approve: {
    closed: "Nothing to approve",
    half_open: "Approved; probes decide",
    isolated: "An approval does not end an isolation",
  },
  close: { closed: "Already closed" },
};

/** Update the panel; it is hidden while no dependency is known. */
export function showDependencies({ model, actions }) {
  const panel = byId("dependencies-panel");
  const body = byId("dependencies");
  const note = byId("dependencies-note");
  const announce = byId("announce");
  const announced = new Map();

  function act(button, action) {
    const row = button.closest("tr");
    actions[action](model.dependencies[[...body.children].indexOf(row)].dependency);
  }

  const render = oncePerFrame(() => {
    const { dependencies } = model;
    setAttribute(panel, "hidden", !dependencies.length);
    setText(note, noteOf(dependencies));
    fillRows(body, dependencies, () => make(act), (row, each) => fill(row, each, model));
    for (const each of dependencies) {
      const now = `${each.state}/${each.generation}`;
      const before = announced.get(each.dependency);
      if (before !== undefined && before !== now) {
        setText(announce, `The circuit of ${each.dependency} is ${stateName(each.state).toLowerCase()}.`);
      }
      announced.set(each.dependency, now);
    }
  });
  for (const topic of ["dependencies", "partitions"]) model.addEventListener(topic, render);
  setInterval(render, 1000);
}

function make(act) {
  const buttons = ACTIONS.map(([action, text]) =>
    el("button", { type: "button", class: "small", onclick: ({ currentTarget }) => act(currentTarget, action) }, text),
  );
  const row = el(
    "tr",
    {},
    ...COLUMNS.map((label, column) =>
      column === 0
        ? el("th", { scope: "row", class: "clip", "data-label": label })
        : el("td", { class: NUMBERS.has(column) ? "number" : "", "data-label": label }),
    ),
    el("td", { class: "end buttons" }, ...buttons),
  );
  row.children[1].append(el("b"), el("small"));
  row.children[2].append(el("b"), el("small"));
  row.children[3].append(el("b"), el("small"));
  row.children[4].append(el("b"), el("small"));
  row.children[5].append(el("span"), el("small"));
  return row;
}

function fill(row, each, model) {
  const [name, state, since, failures, keys, next, buttons] = row.children;
  setAttribute(row, "data-circuit", each.name);
  setAttribute(row, "data-state", each.state);
  const linked = each.name === model.linked;
  if (linked && !row.hasAttribute("data-linked")) row.scrollIntoView({ block: "nearest" });
  setAttribute(row, "data-linked", linked);
  setText(name, each.dependency);
  setAttribute(name, "title", each.name);
  setText(state.firstElementChild, stateName(each.state));
  setText(state.lastElementChild, each.mode === "observe" ? "observe" : RECOVERY[each.recovery]);
  const from = sinceOf(each);
  setText(since.firstElementChild, from ? clock(from * 1000) : "never");
  setText(since.lastElementChild, from ? duration(model.now() / 1000 - from) : "");
  setAttribute(since, "title", from ? instant(from * 1000) : null);
  setText(failures.firstElementChild, `${count(each.failures)} of ${count(each.failure_threshold)}`);
  setText(failures.lastElementChild, `in ${figure(each.window_seconds)} s`);
  setText(keys.firstElementChild, count(model.waitingKeys(each.dependency)));
  setText(keys.lastElementChild, keysNote(model));
  setText(next.firstElementChild, nextOf(each, model));
  setText(next.lastElementChild, each.state === "closed" ? "" : each.reason);
  setAttribute(next, "title", each.reason || null);
  ACTIONS.forEach(([action], index) => {
    const button = buttons.children[index];
    const hint = HINTS[action][each.state];
    // A disabled button loses the keyboard focus, so the table takes the focus.
    if (!hint && button === document.activeElement) {
      button.closest("[tabindex='0']")?.focus({ preventScroll: true });
    }
    setAttribute(button, "disabled", !hint);
    setAttribute(button, "title", hint ?? DISABLED_HINTS[action]?.[each.state] ?? "The state is not known");
    setAttribute(button, "aria-label", `${ACTIONS[index][1].replace("…", "")} ${each.dependency}`);
    const asked = each.state === "open" && !each.resume_at;
    setAttribute(button, "data-first", asked && action === "approve");
  });
}

/** Return when the state began; an open or isolated state counts from the opening. */
function sinceOf(circuit) {
  return circuit.state === "open" || circuit.state === "isolated"
    ? (circuit.opened_at ?? circuit.changed_at)
    : circuit.changed_at;
}

/** Return what the circuit waits for, and what ends the wait. */
export function nextOf(circuit, model) {
  const { state, resume_at: at } = circuit;
  if (circuit.degraded) return `${circuit.problem || "Redis does not answer"}; this is the last known state`;
  if (state === "closed") return "Calls are admitted; failures are counted";
  if (state === "half_open") {
    const goal = circuit.half_open_permits ? ` of ${circuit.half_open_permits}` : "";
    const failed = circuit.probe_failures ? `, ${circuit.probe_failures} of 3 failed` : "";
    return `${circuit.probe_successes}${goal} probes succeeded${failed}`;
  }
  if (state === "open") {
    if (!at) return "Waits for an approval";
    const left = at - model.now() / 1000;
    return left > 0 ? `Half-open by itself in ${duration(Math.ceil(left))}, at ${clock(at * 1000)}` : "Half-open by itself now";
  }
  if (state === "isolated") {
    if (!at) return "Isolated until an operator closes it";
    const ends = circuit.ends_as === "closed" ? "closes" : "opens again";
    return `At ${clock(at * 1000)} it ${ends} by itself`;
  }
  return "";
}

function keysNote(model) {
  if (!model.partitions) return "not read yet";
  return model.isOld(model.partitions) ? `unknown since ${clock(model.partitions.time)}` : "";
}

/** Return the headline: the dependencies whose circuit is not closed. */
export function noteOf(dependencies) {
  const down = dependencies.filter(({ state }) => state !== "closed");
  if (!down.length) return `${plural(dependencies.length, "circuit")}, all closed`;
  const states = down.map((each) => `${each.dependency} ${stateName(each.state).toLowerCase()}`);
  return `${states.join(", ")}: events that need ${down.length === 1 ? "it" : "them"} wait`;
}
