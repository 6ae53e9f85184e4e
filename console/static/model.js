// The page's data: a snapshot replaces the data, each message adds to the data.

const VITALS = 600;
const LOG = 500;
const TAIL = 40;
/** Data that was not updated for this long is not shown as current. */
const OLD_MS = 15_000;

const STATE_AFTER = {
  opened: "open",
  approved: "half_open",
  half_opened: "half_open",
  closed: "closed",
  isolated: "isolated",
};

export class Model extends EventTarget {
  constructor() {
    super();
    this.circuit = null;
    this.history = [];
    this.dependencies = []; // the dependencies' circuits
    this.histories = new Map(); // their histories, by the dependency's name
    this.pipelines = []; // a row for each declared pipeline
    this.pipeline = null; // the name of the page's own; null if none is declared
    this.linked = null; // the name of the circuit that the page's link is about
    this.partitions = null;
    this.vitals = [];
    this.log = [];
    this.tail = [];
    this.tailProblem = "";
    this.redrive = null;
    this.rewind = null;
    this.app = null;
    this.poisonCount = null;
    this.poisonOfOthers = null; // other apps' events in the same queue
    this.parkedKeys = null;
    this.deferredKeys = null;
    this.instance = "";
    this.heardAt = null; // Date.now() of the last message
    this.skew = 0;
  }

  /** Return milliseconds since 1970 by the server's clock. */
  now() {
    return Date.now() + this.skew;
  }

  /** Return the number of waiting events over all partitions; null when unknown. */
  get waiting() {
    if (!this.partitions?.rows.length || this.isOld(this.partitions)) return null;
    const known = this.partitions.rows.filter((row) => row.lag !== null && row.lag !== undefined);
    return known.length ? known.reduce((sum, row) => sum + row.lag, 0) : null;
  }

  /** Return the number of keys that wait for a dependency; null when unknown. */
  waitingKeys(dependency) {
    const known = this.partitions && !this.partitions.problem && !this.isOld(this.partitions);
    return known ? (this.partitions.waiting_keys?.[dependency] ?? 0) : null;
  }

  /** Return the circuit with a full name, such as breakwater/bank; undefined if there is none. */
  circuitNamed(name) {
    if (this.circuit?.name === name) return this.circuit;
    return this.dependencies.find((each) => each.name === name);
  }

  /** Return the circuit of a dependency, or the app's without a dependency. */
  circuitOf(dependency) {
    return dependency ? this.dependencies.find((each) => each.dependency === dependency) : this.circuit;
  }

  /** Return whether an opening stops the app; else it only holds the pipeline's events. */
  get stopsApp() {
    return this.circuit?.stops_app !== false;
  }

  /** Return which events the page's circuit holds: of several pipelines only those of one. */
  get heldEvents() {
    return this.allPipelines ? `the events of pipeline ${this.pipeline}` : "all events";
  }

  /** Return the names of all pipelines as a text; empty unless there are several. */
  get allPipelines() {
    return this.pipelines.length > 1 ? this.pipelines.map(({ name }) => name).join(", ") : "";
  }

  /** Return the history of a circuit, oldest first. */
  historyOf({ dependency }) {
    return dependency ? (this.histories.get(dependency) ?? []) : this.history;
  }

  /** Return the number of keys that wait for an operator; null when unknown. */
  get operatorKeys() {
    return this.parkedKeys === null ? null : this.parkedKeys - this.deferredKeys;
  }

  /** Return whether a table or a row is too old to be shown as current. */
  isOld({ time }) {
    return this.now() - time > OLD_MS;
  }

  /** Return what is seen of the app; undefined when it was not read for a while. */
  get appNow() {
    return this.app && !this.isOld(this.app) ? this.app : undefined;
  }

  /** Return the number of instances that report; undefined when unknown. */
  get instances() {
    return this.appNow?.reporting?.length ?? this.vital?.instances;
  }

  /** Return the last row of vitals; undefined when the row is too old. */
  get vital() {
    const last = this.vitals.at(-1);
    return last && !this.isOld(last) ? last : undefined;
  }

  /** Replace all data. */
  snapshot({ instance, data }) {
    this.instance = instance;
    this.circuit = data.circuit;
    this.history = byTime(data.history ?? []);
    this.dependencies = [];
    this.histories.clear();
    this.#takeDependencies(data.dependencies ?? []);
    this.pipelines = data.pipelines ?? [];
    this.partitions = data.partitions ?? null;
    this.vitals = (data.vitals ?? []).slice(-VITALS);
    this.log = (data.log ?? []).slice(-LOG);
    this.poisonCount = data.poison_count ?? null;
    this.poisonOfOthers = data.poison_of_others ?? null;
    this.parkedKeys = data.parked_keys ?? null;
    this.deferredKeys = data.deferred_keys ?? null;
    this.redrive = data.redrive ?? null;
    this.rewind = data.rewind ?? null;
    this.app = data.app ?? null;
    this.#notify("circuit", "dependencies", "pipelines", "history", "partitions", "vitals", "log", "poison", "redrive", "rewind", "app");
  }

  /** Add one message of the backplane. */
  message(kind, data) {
    switch (kind) {
      case "vitals":
        push(this.vitals, { window_failures: this.circuit?.failures, ...data }, VITALS);
        this.#poison(data);
        this.#notify("vitals");
        break;
      case "partitions":
        this.partitions = data;
        this.#notify("partitions");
        break;
      case "log":
        push(this.log, data, LOG);
        this.#notify("log");
        break;
      case "tail":
        this.tailProblem = data.problem ?? "";
        if (!data.problem) push(this.tail, data, TAIL);
        this.#notify("tail");
        break;
      case "rewind":
        this.rewind = data;
        this.#notify("rewind");
        break;
      case "redrive":
        this.redrive = data;
        this.#notify("redrive");
        break;
      case "app":
        this.app = data;
        this.#notify("app");
        break;
    }
  }

  /** Set the current circuit, and its history if given. */
  setCircuit(data, history) {
    this.circuit = data;
    if (history) this.history = byTime(history);
    this.#notify("circuit", "history");
  }

  /** Set the dependencies' circuits that have changed, and drop those that are not named. */
  setDependencies(names, items) {
    this.dependencies = this.dependencies.filter((each) => names.includes(each.dependency));
    this.#takeDependencies(items);
    this.dependencies.sort((a, b) => names.indexOf(a.dependency) - names.indexOf(b.dependency));
    this.#notify("dependencies", "history");
  }

  /** Set the rows of all pipelines. */
  setPipelines(items) {
    this.pipelines = items;
    this.#notify("pipelines");
  }

  /** Set the circuit that the page's link is about; null for none. */
  setLinked(name) {
    this.linked = name;
    this.#notify("dependencies");
  }

  #takeDependencies(items) {
    for (const { data, history } of items) {
      const index = this.dependencies.findIndex((each) => each.dependency === data.dependency);
      if (index < 0) this.dependencies.push(data);
      else this.dependencies[index] = data;
      this.histories.set(data.dependency, byTime(history ?? []));
    }
  }

  /** Set the offset to the server's clock. */
  beat(milliseconds) {
    this.skew = milliseconds - Date.now();
  }

  /** Note the time of a message. */
  noteMessage() {
    this.heardAt = Date.now();
  }

  #poison(data) {
    const before = this.#counts();
    this.poisonCount = data.poison_count ?? this.poisonCount;
    this.poisonOfOthers = data.poison_of_others ?? this.poisonOfOthers;
    this.parkedKeys = data.parked_keys ?? this.parkedKeys;
    this.deferredKeys = data.deferred_keys ?? this.deferredKeys;
    const after = this.#counts();
    if (before.some((count, index) => count !== after[index])) this.#notify("poison");
  }

  #counts() {
    return [this.poisonCount, this.poisonOfOthers, this.parkedKeys, this.deferredKeys];
  }

  #notify(...topics) {
    for (const topic of topics) this.dispatchEvent(new Event(topic));
  }
}

/** Return the spans in which the circuit was not closed: [{from, to, state}], milliseconds. */
export function spans(history, circuit, now) {
  const found = [];
  let current = null;
  for (const entry of history) {
    const state = STATE_AFTER[entry.event];
    if (!state || state === current?.state) continue;
    if (current) found.push({ ...current, to: entry.at * 1000 });
    current = { state, from: entry.at * 1000 };
  }
  if (circuit && circuit.state !== (current?.state ?? "closed")) {
    const changed = (circuit.changed_at ?? now / 1000) * 1000;
    if (current) found.push({ ...current, to: changed });
    current = { state: circuit.state, from: changed };
  }
  if (current) found.push({ ...current, to: now });
  return found.filter((span) => span.state !== "closed" && span.to > span.from);
}

/** Events of the chain that stops the app, asks for approval and starts the app; and of observe. */
const CHAIN = new Set([
  "stop_accepted",
  "stop_refused",
  "start_accepted",
  "start_refused",
  "approval_requested",
  "alert_repeated",
  "would_open",
]);

/**
 * Group the history by generation, newest first: [{generation, opened, approved, closed, chain}].
 * Generation 0 is the time before the first opening, and is listed if the app was stopped or started,
 * or if mode observe has prevented an opening.
 */
export function openings(history) {
  const found = new Map();
  for (const entry of history) {
    if (!entry.generation && !CHAIN.has(entry.event)) continue;
    const opening = found.get(entry.generation) ?? { generation: entry.generation, chain: [] };
    if (CHAIN.has(entry.event)) opening.chain.push(entry);
    if (entry.event === "isolated" && opening.opened) opening.chain.push(entry); // a new end
    if (entry.event === "opened" || entry.event === "isolated") opening.opened ??= entry;
    if (entry.event === "approved") opening.approved ??= entry;
    if (entry.event === "half_opened") opening.halfOpened ??= entry;
    if (entry.event === "closed") opening.closed = entry;
    found.set(entry.generation, opening);
  }
  return [...found.values()].sort((a, b) => b.generation - a.generation);
}

/**
 * Return the openings of several circuits, each with its circuit, and what happened to the hub, newest
 * first: [{..., circuit} or {hub: {at, kind, text}}].
 */
export function timeline(model) {
  const circuits = [model.circuit, ...model.dependencies].filter(Boolean);
  const found = circuits.flatMap((circuit) =>
    openings(model.historyOf(circuit)).map((opening) => ({ ...opening, circuit })),
  );
  const hub = (model.partitions?.hub_history ?? []).map((entry) => ({ hub: entry }));
  if (circuits.length < 2 && !hub.length) return found;
  return [...found, ...hub].sort((a, b) => beganAt(b) - beganAt(a));
}

function beganAt({ hub, opened, approved, halfOpened, closed, chain }) {
  if (hub) return hub.at / 1000;
  const known = [opened, approved, halfOpened, closed, ...chain].filter(Boolean);
  return Math.min(...known.map(({ at }) => at));
}

function byTime(history) {
  return [...history].sort((a, b) => a.at - b.at);
}

function push(list, item, most) {
  list.push(item);
  if (list.length > most) list.splice(0, list.length - most);
}
