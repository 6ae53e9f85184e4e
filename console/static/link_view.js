// The link of a mail or an alert, `/?circuit=NAME&generation=N`: whether its opening has passed.

import { byId, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, stateName } from "./format.js";
import { openings } from "./model.js";

const TOPICS = ["circuit", "history", "dependencies"];

/** Return circuit and generation of the page's address, or null. */
export function linkOf(search) {
  const query = new URLSearchParams(search);
  const [circuit, generation] = [query.get("circuit"), query.get("generation")];
  if (!circuit || !/^[1-9]\d{0,15}$/.test(generation ?? "")) return null;
  return { circuit, generation: Number(generation) };
}

/** Show what has become of the link's opening, until the operator dismisses the note. */
export function showLink({ model, api }) {
  const link = linkOf(location.search);
  if (!link) return;
  const bar = byId("link");
  const text = byId("link-text");
  let entries = null; // the whole history, if the page's part lacks the generation
  let loading = false;
  setAttribute(bar, "hidden", false);
  model.setLinked(link.circuit);
  setText(text, `This link is about ${nameOf(link)}.`);

  const render = oncePerFrame(() => {
    if (!model.circuit) return;
    const circuit = model.circuitNamed(link.circuit) ?? model.circuit;
    const history = model.historyOf(circuit);
    const known = (list) => openings(list).find((each) => each.generation === link.generation);
    const opening = known(history) ?? known(entries ?? []);
    const past = circuit.name === link.circuit && link.generation < circuit.generation;
    if (past && !opening && !entries && !loading) load();
    const said = sentenceOf(link, circuit, opening);
    setText(text, said.text);
    setAttribute(bar, "data-current", said.current);
  });

  async function load() {
    loading = true;
    const path = `/api/circuits/${encodeURIComponent(link.circuit)}/history?limit=1000`;
    try {
      entries = (await api.get(path)).history;
      render();
    } catch {
      loading = false; // the next change of the circuit retries
    }
  }

  function dismiss() {
    const query = model.pipeline ? `?pipeline=${encodeURIComponent(model.pipeline)}` : "";
    history.replaceState(null, "", location.pathname + query);
    setAttribute(bar, "hidden", true);
    for (const topic of TOPICS) model.removeEventListener(topic, render);
    model.setLinked(null);
    byId("circuit").focus({ preventScroll: true });
  }

  byId("link-close").addEventListener("click", dismiss);
  for (const topic of TOPICS) model.addEventListener(topic, render);
}

/** Return the sentence about a link, and whether its opening still waits for a decision. */
export function sentenceOf(link, circuit, opening) {
  if (link.circuit !== circuit.name) {
    const text = link.circuit.startsWith(`${circuit.name}/`)
      ? `This link is about circuit ${link.circuit}, which this console does not know.`
      : `This link is about circuit ${link.circuit}, which this console does not know. This page is about circuit ${circuit.name}.`;
    return { text, current: false };
  }
  const the = circuit.dependency ? `The circuit of ${circuit.dependency}` : "The circuit";
  const now = `${the} is now in generation ${circuit.generation}, ${stateName(circuit.state).toLowerCase()}.`;
  if (link.generation > circuit.generation) {
    const text =
      `This link is about generation ${link.generation}, which is not on record. ` +
      `An instance without Redis may have opened it. ${now}`;
    return { text, current: false };
  }
  const of = circuit.dependency ? ` of ${circuit.dependency}` : "";
  const about = `This link is about generation ${link.generation}${of}.`;
  if (link.generation === circuit.generation && circuit.state === "open") {
    const text = circuit.resume_at
      ? `${about} It is the current opening, and the circuit goes half-open by itself.`
      : `${about} It is the current opening and waits for an approval.`;
    return { text, current: true };
  }
  if (link.generation === circuit.generation && circuit.state === "isolated") {
    return { text: `${about} ${the} is isolated; only closing ends it.`, current: true };
  }
  const ends = endOf(opening);
  const isNow =
    link.generation === circuit.generation
      ? `${the} is ${stateName(circuit.state).toLowerCase()}.`
      : now;
  return { text: [about, ends, isNow].filter(Boolean).join(" "), current: false };
}

function endOf(opening) {
  if (!opening) return "";
  const ends = [];
  const half = opening.approved ?? opening.halfOpened;
  const word = half?.by === "timer" ? "half-open" : "approved";
  if (half) ends.push(`${word}${byWhom(half)} at ${clock(half.at * 1000)}`);
  if (opening.closed) ends.push(`closed${byWhom(opening.closed)} at ${clock(opening.closed.at * 1000)}`);
  return ends.length ? `It was ${ends.join(" and ")}.` : "It was not approved.";
}

function byWhom({ by }) {
  return by ? ` by ${by}` : "";
}

function nameOf({ circuit, generation }) {
  return `circuit ${circuit}, generation ${generation}`;
}
