// What an operator may do: each confirmed in a dialog that names what will happen.

import { Confirm } from "./confirm.js";
import { clock, count, plural, stateName } from "./format.js";
import { toast } from "./toast.js";

/** The actions; `sessionIs(session)` has to be called before the first. */
export function createActions({ api, model }) {
  const confirm = new Confirm(model);
  let circuitName = "";
  let operator = "";

  function path(action) {
    return `/api/circuits/${encodeURIComponent(circuitName)}/${action}`;
  }

  /** Facts of the circuit as it is while the dialog is open. */
  function circuitFacts() {
    const { state, generation, opened_at: openedAt, failures, failure_threshold: most } =
      model.circuit;
    const facts = [["State", `${stateName(state)}, generation ${generation}`]];
    if (state !== "closed" && openedAt) facts.push(["Since", clock(openedAt * 1000)]);
    facts.push(["Failures", `${count(failures)} of ${count(most)} in the window`]);
    facts.push(["Waiting", model.waiting === null ? "not known" : plural(model.waiting, "event")]);
    return facts;
  }

  async function ask(question) {
    const said = await confirm.ask(question);
    if (said) toast(said);
  }

  /** What was done, and by whom if somebody else was quicker. */
  function done({ by }, what) {
    return by && by !== operator ? `${what}; ${by} was quicker.` : `${what}.`;
  }

  return {
    sessionIs(session) {
      circuitName = session.circuit;
      operator = session.operator;
    },

    approve() {
      const { generation, half_open_permits: permits } = model.circuit;
      const probes = permits ? `up to ${permits} probe events` : "a few probe events";
      return ask({
        title: `Approve generation ${generation}?`,
        what:
          `The circuit goes half-open, the workflow starts the app again, and ${probes} run. ` +
          `If they succeed the circuit closes and all work goes on; if one fails, generation ` +
          `${generation + 1} opens and you are asked again.`,
        facts: circuitFacts,
        go: `Approve generation ${generation}`,
        act: async () => {
          return done(await api.post(path("approve"), { generation }), `Generation ${generation} is approved`);
        },
      });
    },

    close() {
      const { generation, state } = model.circuit;
      const ends = state === "isolated" ? "The isolation ends" : "The circuit closes";
      return ask({
        title: `Close generation ${generation}?`,
        what:
          `${ends} without probes: every instance goes on at once with the first unfinished ` +
          "event, and the failure window is emptied. If the cause is not mended it opens again.",
        facts: circuitFacts,
        go: `Close generation ${generation}`,
        act: async () => {
          return done(await api.post(path("close"), { generation }), `Generation ${generation} is closed`);
        },
      });
    },

    isolate() {
      return ask({
        title: "Isolate the circuit?",
        what:
          "Every instance stops before its next event and no checkpoint moves. It stays so, " +
          `as generation ${model.circuit.generation + 1}, until somebody closes it by hand; ` +
          "approving does not end it.",
        facts: circuitFacts,
        reason: true,
        go: "Isolate",
        danger: true,
        act: async (reason) => {
          return done(await api.post(path("isolate"), { reason }), "The circuit is isolated");
        },
      });
    },

    /** @param selection {id, label}, {key} or {all: true}. */
    redrive({ label, ...selection }) {
      return ask({
        title: titleOf(selection, label),
        what:
          "Each event goes through the handler again, in the order of its key. What succeeds " +
          "leaves the queue together with what is parked behind it; what fails stays, with one " +
          "more redrive counted. Nothing starts while the circuit does not let events through.",
        facts: () => [
          ["Circuit", `${stateName(model.circuit.state)}, generation ${model.circuit.generation}`],
          ["In the poison queue", model.poisonCount === null ? "not known" : plural(model.poisonCount, "event")],
          ["Parked keys", count(model.parkedKeys)],
        ],
        go: "Redrive",
        act: async () => {
          await api.post("/api/redrive", selection);
          return "The redrive has started.";
        },
      });
    },

    /** @param event {id, label, key, error, parked}. */
    discard({ id, label, key, error, parked }) {
      return ask({
        title: `Discard ${label}?`,
        what:
          "The handler will never see this event. It leaves the poison queue and is kept whole, " +
          "with your name and your reason, among the discarded ones next to it in the storage. " +
          (parked
            ? "Its key is released: what is parked behind it is handled now, in order. "
            : "Its key goes on. ") +
          "There is no button that brings it back.",
        facts: () => [
          ["Event", id],
          ["Key", key ?? "no key"],
          ["Error", error],
          ["Circuit", `${stateName(model.circuit.state)}, generation ${model.circuit.generation}`],
        ],
        reason: true,
        go: "Discard",
        danger: true,
        act: async (reason) => {
          await api.post("/api/discard", { id, reason });
          return "The event is being discarded.";
        },
      });
    },
  };
}

function titleOf(selection, label) {
  if (selection.all) return "Redrive everything?";
  if (selection.key !== undefined) return `Redrive all events of key ${selection.key}?`;
  return `Redrive ${label}?`;
}
