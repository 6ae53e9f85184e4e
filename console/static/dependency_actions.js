// The questions of the dialogs about a dependency's circuit: what each action does to its events.

import { clock, count, plural, stateName } from "./format.js";

/** Return the questions {approve, close, isolate}, each a function of the dependency's name. */
export function dependencyQuestions({ api, model, path, done }) {
  function facts(dependency) {
    const circuit = model.circuitOf(dependency);
    if (!circuit) return [["State", "the circuit is not known any more"]];
    const found = [["State", `${stateName(circuit.state)}, generation ${circuit.generation}`]];
    if (circuit.state !== "closed" && circuit.opened_at) {
      found.push(["Since", clock(circuit.opened_at * 1000)]);
    }
    if (circuit.reason && circuit.state !== "closed") found.push(["Reason", circuit.reason]);
    const { failures, failure_threshold: most } = circuit;
    found.push(["Failures", `${count(failures)} of ${count(most)} in the window`]);
    const keys = model.waitingKeys(dependency);
    found.push(["Keys waiting", keys === null ? "unknown" : plural(keys, "key")]);
    found.push(["Recovery", circuit.recovery === "automatic" ? "by itself" : "by an approval"]);
    return found;
  }

  function fails({ generation, recovery }) {
    const next = `generation ${generation + 1} opens`;
    return recovery === "automatic" ? `${next}, with a longer break` : `${next} and needs a new approval`;
  }

  return {
    approve(dependency) {
      const circuit = model.circuitOf(dependency);
      const { generation, half_open_permits: permits } = circuit;
      const probes = permits ? `up to ${permits} probe events` : "a few probe events";
      return {
        dependency,
        title: `Approve generation ${generation} of ${dependency}?`,
        what:
          `The circuit of ${dependency} goes half-open, and ${probes} that need it run. If they ` +
          "succeed, the circuit closes and the waiting keys continue, each in its order. If three " +
          `probes fail, ${fails(circuit)}. The app is neither stopped nor started.`,
        facts: () => facts(dependency),
        go: `Approve generation ${generation}`,
        act: async () =>
          done(
            await api.post(path("approve", dependency), { generation }),
            `Generation ${generation} of ${dependency} is approved`,
          ),
      };
    },

    close(dependency) {
      const { generation, state } = model.circuitOf(dependency);
      const ends = state === "isolated" ? "The isolation ends" : `The circuit of ${dependency} closes`;
      return {
        dependency,
        title: `Close generation ${generation} of ${dependency}?`,
        what:
          `${ends} without probes. Every key that waits for ${dependency} is due at once and ` +
          "continues in its order, and the failure window is emptied. The app is neither stopped " +
          `nor started. If ${dependency} is still down, the circuit opens again.`,
        facts: () => facts(dependency),
        go: `Close generation ${generation}`,
        act: async () =>
          done(
            await api.post(path("close", dependency), { generation }),
            `Generation ${generation} of ${dependency} is closed`,
          ),
      };
    },

    isolate(dependency) {
      const { state, generation, ends_as: endsAs, recovery } = model.circuitOf(dependency);
      const again = state === "isolated";
      const asks = recovery === "automatic" ? "" : ", and an approval is asked for";
      const end =
        state === "closed" || endsAs === "closed"
          ? "the circuit closes by itself"
          : `the circuit opens as generation ${generation + (again ? 1 : 2)}${asks}`;
      return {
        dependency,
        title: again ? `Change the isolation of ${dependency}?` : `Isolate ${dependency}?`,
        what:
          (again
            ? `Generation ${generation} stays isolated, with a new reason and a new end. `
            : `Events that need ${dependency} wait, in the order of their keys, and ${dependency} is ` +
              `not called. All other events run. The circuit is isolated as generation ${generation + 1}. `) +
          `After the given time ${end}. Without a time the isolation lasts until an operator ` +
          "closes the circuit. An approval does not end it.",
        facts: () => facts(dependency),
        reason: true,
        length: true,
        go: again ? "Change the isolation" : "Isolate",
        danger: true,
        act: async (reason, length) => {
          const circuit = await api.post(path("isolate", dependency), { reason, for: length });
          const until = circuit.resume_at ? ` until ${clock(circuit.resume_at * 1000)}` : "";
          return done(circuit, `${dependency} is isolated${until}`);
        },
      };
    },
  };
}
