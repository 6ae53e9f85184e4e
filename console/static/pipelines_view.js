// The list of the app's pipelines: state, age, what waits, and what an opening does. A row's name
// opens the page of that pipeline.

import { byId, el, fillRows, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, count, duration, figure, instant, plural, stateName } from "./format.js";

const COLUMNS = ["Pipeline", "State", "Since", "Waiting", "Poison", "Handled per second", "What happens"];
const NUMBERS = new Set([3, 4, 5]);
/** What an opening would do. */
const EFFECTS = { pipeline: "An opening holds; the app keeps running", app: "An opening stops the app" };
/** Separates the name of a pipeline's circuit from that of a dependency. */
const SEPARATOR = "/";

/**
 * Return the pipeline that an address asks for: {name, circuit, base, unknown}. The circuit of a link
 * decides, then `?pipeline=NAME`; without both it is the first. `base` begins the API's paths, and
 * `unknown` is the name of a pipeline that does not exist.
 */
export function chosenPipeline({ circuit, pipelines = [] }, search) {
  if (!pipelines.length) return { name: null, circuit, base: "", unknown: "" };
  const query = new URLSearchParams(search);
  const linked = query.get("circuit")?.split(SEPARATOR)[0];
  const asked = query.get("pipeline");
  const found =
    pipelines.find((each) => each.circuit === linked) ?? pipelines.find((each) => each.name === asked);
  const { name, circuit: its } = found ?? pipelines[0];
  return { name, circuit: its, base: `/pipelines/${name}`, unknown: found ? "" : (asked ?? "") };
}

/** Update the list; it is hidden unless the app has several pipelines. */
export function showPipelines({ model }) {
  const panel = byId("pipelines-panel");
  const body = byId("pipelines");
  const note = byId("pipelines-note");
  const announce = byId("announce");
  const announced = new Map();

  const render = oncePerFrame(() => {
    const { pipelines } = model;
    setAttribute(panel, "hidden", pipelines.length < 2);
    setText(note, noteOf(pipelines));
    fillRows(body, pipelines, make, (row, each) => fill(row, each, model));
    for (const each of pipelines) {
      const now = `${each.state}/${each.generation}`;
      const before = announced.get(each.name);
      // The circuit panel announces the pipeline of this page.
      if (before !== undefined && before !== now && each.name !== model.pipeline) {
        setText(announce, `The circuit of pipeline ${each.name} is ${stateName(each.state).toLowerCase()}.`);
      }
      announced.set(each.name, now);
    }
  });
  model.addEventListener("pipelines", render);
  setInterval(render, 1000);
}

function make() {
  const row = el(
    "tr",
    {},
    ...COLUMNS.map((label, column) =>
      column === 0
        ? el("th", { scope: "row", class: "clip", "data-label": label })
        : el("td", { class: NUMBERS.has(column) ? "number" : "", "data-label": label }),
    ),
  );
  row.children[0].append(el("a"));
  for (const cell of [...row.children].slice(1)) cell.append(el("b"), el("small"));
  return row;
}

function fill(row, each, model) {
  const [name, state, since, waiting, poison, rate, next] = row.children;
  const link = name.firstElementChild;
  setAttribute(row, "data-pipeline", each.name);
  setAttribute(row, "data-state", each.state);
  setText(link, each.name);
  setAttribute(link, "href", `/?pipeline=${encodeURIComponent(each.name)}`);
  setAttribute(link, "aria-current", each.name === model.pipeline ? "page" : null);
  setAttribute(name, "title", each.circuit);
  put(state, stateName(each.state), each.mode === "observe" ? "observe" : dependenciesOf(each));
  setAttribute(state, "title", dependenciesOf(each) || null);
  const from = sinceOf(each);
  put(since, from ? clock(from * 1000) : "never", from ? duration(model.now() / 1000 - from) : "");
  setAttribute(since, "title", from ? instant(from * 1000) : null);
  put(waiting, count(each.waiting), "");
  put(poison, count(each.poison_count), each.parked_keys ? `${plural(each.parked_keys, "key")} parked` : "");
  put(rate, figure(each.per_second), "");
  put(next, nextOf(each), each.state === "closed" ? EFFECTS[each.kind] : each.reason);
  setAttribute(next, "title", each.reason || null);
}

function put(cell, text, detail) {
  setText(cell.firstElementChild, text);
  setText(cell.lastElementChild, detail);
}

/** Return when the state began; an open or isolated state counts from the opening. */
function sinceOf(circuit) {
  return circuit.state === "open" || circuit.state === "isolated"
    ? (circuit.opened_at ?? circuit.changed_at)
    : circuit.changed_at;
}

function dependenciesOf({ dependencies }) {
  return dependencies.map(({ name, state }) => `${name} ${stateName(state).toLowerCase()}`).join(", ");
}

/** Return what the circuit does to its events now, and to the app. */
export function nextOf({ state, kind, resume_at: at, degraded, problem, instances }) {
  if (degraded) return `${problem || "Redis does not answer"}; this is the last known state`;
  const own = kind === "pipeline";
  if (state === "half_open") return "Probe events decide";
  if (state === "closed") return instances === 0 ? "No instance reports" : "Lets events through";
  const holds = own ? "Holds, the app keeps running" : "Holds, and asks to stop the app";
  if (at) return `${holds}; ends at ${clock(at * 1000)}`;
  if (state === "open") return `${holds}; waits for an approval`;
  return `${holds}; isolated until an operator closes it`;
}

/** Return the headline: the circuits that are not closed, those of dependencies as `audit/bank`. */
export function noteOf(pipelines) {
  const circuits = pipelines.flatMap(({ name, state, dependencies }) => [
    { name, state },
    ...dependencies.map((each) => ({ name: `${name}${SEPARATOR}${each.name}`, state: each.state })),
  ]);
  const down = circuits.filter(({ state }) => state !== "closed");
  if (!down.length) return `${plural(pipelines.length, "circuit")}, all closed`;
  return down.map((each) => `${each.name} ${stateName(each.state).toLowerCase()}`).join(", ");
}
