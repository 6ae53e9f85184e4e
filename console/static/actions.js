// The operator's actions. A dialog states the effect of each action and asks for confirmation.

import { Confirm } from "./confirm.js";
import { dependencyQuestions } from "./dependency_actions.js";
import { clock, count, plural, stateName } from "./format.js";
import { toast } from "./toast.js";

/** Return the actions; call `setSession(session)` before the first action. */
export function createActions({ api, model }) {
  const confirm = new Confirm(model);
  let circuitName = "";
  let operator = "";

  /** Return the address of an action on a dependency's circuit, or on the app's without one. */
  function path(action, dependency) {
    const name = dependency ? `${circuitName}/${dependency}` : circuitName;
    return `/api/circuits/${encodeURIComponent(name)}/${action}`;
  }

  /** Return the circuit's current facts; the open dialog shows them again after each change. */
  function circuitFacts() {
    const { state, generation, opened_at: openedAt, failures, failure_threshold: most } =
      model.circuit;
    const facts = [["State", `${stateName(state)}, generation ${generation}`]];
    if (state !== "closed" && openedAt) facts.push(["Since", clock(openedAt * 1000)]);
    if (state === "isolated") facts.push(["Ends", endOf(model.circuit)]);
    facts.push(["Failures", `${count(failures)} of ${count(most)} in the window`]);
    facts.push(["Waiting", model.waiting === null ? "unknown" : plural(model.waiting, "event")]);
    return facts;
  }

  /** Return what was seen of the app and of its stop, for a dialog. */
  function appFacts() {
    const app = model.appNow;
    if (!app) return [["App", "nothing was read in the last seconds"]];
    const of = (topic) => app.lines.filter((line) => line.topic === topic).map(({ text }) => text);
    const facts = [["App", of("app").join(" ")]];
    if (of("stop").length) facts.push(["Stop", of("stop").join(" ")]);
    if (of("start").length) facts.push(["Start", of("start").join(" ")]);
    return facts;
  }

  /** Return what starts the app after the circuit has left its opening. */
  function whatStarts() {
    if (!model.stopsApp) return "The app keeps running.";
    const waiting = model.appNow?.waiting;
    if (waiting) return "The waiting workflow run is called back and starts the app.";
    if (waiting === 0) {
      return "No workflow run waits for it: if the App panel says stopped afterwards, press Start.";
    }
    return "Whether a workflow run waits and starts the app is not known.";
  }

  /** Return the words that limit an effect to this page's pipeline; empty if there is only one. */
  function ofPipeline() {
    return model.allPipelines ? ` of pipeline ${model.pipeline}` : "";
  }

  /** Return that a stop or a start of the app concerns all pipelines; empty if there is only one. */
  function ofAll(verb) {
    return model.allPipelines ? ` It ${verb} all pipelines: ${model.allPipelines}.` : "";
  }

  async function ask(question) {
    const result = await confirm.ask(question);
    if (result) toast(result);
  }

  /** Return the text of a finished action; the text names another operator who acted first. */
  function done({ by }, what) {
    return by && by !== operator ? `${what}; ${by} acted first.` : `${what}.`;
  }

  const aboutDependency = dependencyQuestions({ api, model, path, done });

  return {
    setSession(session) {
      circuitName = session.circuit;
      operator = session.operator;
    },

    approve(dependency) {
      if (dependency) return ask(aboutDependency.approve(dependency));
      const { generation, half_open_permits: permits } = model.circuit;
      const probes = permits ? `up to ${permits} probe events` : "a few probe events";
      return ask({
        title: `Approve generation ${generation}?`,
        what:
          `The circuit goes half-open. ${whatStarts()} Then ${probes} run. If they succeed, the ` +
          `circuit closes and all processing resumes. If three probes fail, generation ${generation + 1} opens and needs a new approval.`,
        facts: () => [...circuitFacts(), ...appFacts()],
        go: `Approve generation ${generation}`,
        act: async () => {
          return done(await api.post(path("approve"), { generation }), `Generation ${generation} is approved`);
        },
      });
    },

    close(dependency) {
      if (dependency) return ask(aboutDependency.close(dependency));
      const { generation, state } = model.circuit;
      const ends = state === "isolated" ? "The isolation ends" : "The circuit closes";
      return ask({
        title: `Close generation ${generation}?`,
        what:
          `${ends} without probes. Every running instance resumes at once with its first ` +
          "unfinished event, and the failure window is emptied. " +
          `${state === "half_open" ? "" : `${whatStarts()} `}` +
          "If the cause is not fixed, the circuit opens again.",
        facts: () => [...circuitFacts(), ...appFacts()],
        go: `Close generation ${generation}`,
        act: async () => {
          return done(await api.post(path("close"), { generation }), `Generation ${generation} is closed`);
        },
      });
    },

    isolate(dependency) {
      if (dependency) return ask(aboutDependency.isolate(dependency));
      const { state, generation, ends_as: endsAs } = model.circuit;
      const again = state === "isolated";
      const closes = state === "closed" || endsAs === "closed";
      const end = closes
        ? "the circuit closes by itself"
        : `the circuit opens as generation ${generation + (again ? 1 : 2)}, and an approval is asked for`;
      return ask({
        title: again ? "Change the isolation?" : "Isolate the circuit?",
        what:
          (again
            ? `Generation ${generation} stays isolated, with a new reason and a new end. `
            : `Every instance stops before its next event${ofPipeline()}, and no checkpoint moves. ` +
              `The circuit is isolated as generation ${generation + 1}. `) +
          `After the given time ${end}. Without a time the isolation lasts until an operator ` +
          "closes the circuit. An approval does not end it.",
        facts: circuitFacts,
        reason: true,
        length: true,
        go: again ? "Change the isolation" : "Isolate",
        danger: true,
        act: async (reason, length) => {
          const circuit = await api.post(path("isolate"), { reason, for: length });
          const until = circuit.resume_at ? ` until ${clock(circuit.resume_at * 1000)}` : "";
          return done(circuit, `The circuit is isolated${until}`);
        },
      });
    },

    startApp() {
      const { state, half_open_permits: permits } = model.circuit;
      const then = {
        closed: "The circuit is closed, so the instances handle events as soon as they run.",
        half_open: `The circuit is half-open, so up to ${permits ?? "a few"} probe events run.`,
        open: `The circuit is open: it holds ${model.heldEvents} until an approval, and nothing is lost.`,
        isolated: `The circuit is isolated: it holds ${model.heldEvents} until the isolation ends.`,
      };
      return ask({
        title: "Start the app?",
        what:
          `The console asks for a start of the function app.${ofAll("starts")} ${then[state] ?? ""} ` +
          "The App panel then shows whether the start was seen.",
        facts: () => [...circuitFacts(), ...appFacts()],
        go: "Start the app",
        act: async () => {
          const answer = await api.post("/api/app/start", {});
          const holds = answer.holds ? ` The circuit holds ${model.heldEvents}.` : "";
          return `Start asked, accepted.${holds}${onRecord(answer)}`;
        },
      });
    },

    stopApp() {
      const { state } = model.circuit;
      const waiting = model.appNow?.waiting;
      const again = waiting
        ? "A waiting workflow run may start the app again."
        : "Nothing starts the app again by itself: press Start.";
      return ask({
        title: "Stop the app?",
        what:
          `The console asks for a stop of the function app; that may take minutes.${ofAll("stops")} ` +
          "Events that run are interrupted and handled again after a start, so nothing is lost, but an " +
          `event may be handled twice. The circuit stays ${stateName(state).toLowerCase()}. ${again}`,
        facts: () => [...circuitFacts(), ...appFacts()],
        reason: true,
        go: "Stop the app",
        danger: true,
        act: async (reason) => {
          const answer = await api.post("/api/app/stop", { reason });
          return `Stop asked, accepted.${onRecord(answer)}`;
        },
      });
    },

    /** @param selection {id, label}, {key} or {all: true}; `deferred`: the key is deferred. */
    redrive({ label, deferred, ...selection }) {
      return ask({
        title: titleOf(selection, label, deferred),
        what: deferred
          ? "The app replays this key by itself. A redrive replays it now: its events run through " +
            "the handler in order, and the key continues after its last event. If its dependency " +
            "fails again, the key stays deferred and keeps the time of its next try. No event " +
            "starts while the circuit blocks events."
          :
          "Each event runs through the handler again, in the order of its key. An event that " +
          "succeeds leaves the queue, together with the events parked behind it. An event that " +
          "fails stays in the queue, and its redrive count rises by one. No event starts while " +
          `the circuit blocks events.${selection.all ? " Deferred keys are left alone: the app replays them by itself." : ""}`,
        facts: () => [
          ["Circuit", `${stateName(model.circuit.state)}, generation ${model.circuit.generation}`],
          ["In the poison queue", model.poisonCount === null ? "unknown" : plural(model.poisonCount, "event")],
          ...(model.poisonOfOthers ? [["Of other apps, left alone", plural(model.poisonOfOthers, "event")]] : []),
          ["Parked keys", count(model.operatorKeys)],
          ["Deferred keys", count(model.deferredKeys)],
        ],
        go: "Redrive",
        act: async () => {
          await api.post("/api/redrive", selection);
          return "The redrive has started.";
        },
      });
    },

    /** @param event {id, label, key, error, parked, lost}; `lost`: whether the body is lost. */
    discard({ id, label, key, error, parked, lost }) {
      return ask({
        title: `Discard ${label}?`,
        what:
          "The handler will never see this event. The event leaves the poison queue. " +
          (lost
            ? "Its body is lost: the record has your name and your reason, but not the body. If a backup " +
              "of the blob exists, restore the blob and redrive the event instead. "
            : "A full copy, with your name and your reason, is stored among the discarded events in the " +
              "same storage account. ") +
          (parked
            ? "Its key is released, and the events parked behind it are handled now, in order. "
            : "Its key is not parked, so no other event changes. ") +
          "No button undoes this.",
        facts: () => [
          ["Event", id],
          ["Key", key ?? "no key"],
          ["Error", error],
          ...(lost ? [["Body", "lost"]] : []),
          ["Circuit", `${stateName(model.circuit.state)}, generation ${model.circuit.generation}`],
        ],
        reason: true,
        go: lost ? "Discard without body" : "Discard",
        danger: true,
        act: async (reason) => {
          await api.post("/api/discard", { id, reason });
          return "The event is being discarded.";
        },
      });
    },
  };
}

function endOf({ resume_at: end }) {
  return end ? clock(end * 1000) : "when an operator closes it";
}

function onRecord({ recorded }) {
  return recorded ? "" : " It is not on record, because Redis does not answer.";
}

function titleOf(selection, label, deferred) {
  if (selection.all) return "Redrive everything?";
  if (deferred && selection.key !== undefined) return `Redrive the deferred key ${selection.key}?`;
  if (selection.key !== undefined) return `Redrive all events of key ${selection.key}?`;
  return `Redrive ${label}?`;
}
