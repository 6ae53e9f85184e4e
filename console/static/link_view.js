// The link of a mail or an alert, `/?circuit=NAME&generation=N`: whether its opening has passed.

import { byId, oncePerFrame, setAttribute, setText } from "./dom.js";
import { clock, stateName } from "./format.js";
import { openings } from "./model.js";

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
  setText(text, `This link is about ${nameOf(link)}.`);

  const render = oncePerFrame(() => {
    const { circuit, history } = model;
    if (!circuit) return;
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
    history.replaceState(null, "", location.pathname);
    setAttribute(bar, "hidden", true);
    for (const topic of ["circuit", "history"]) model.removeEventListener(topic, render);
    byId("circuit").focus({ preventScroll: true });
  }

  byId("link-close").addEventListener("click", dismiss);
  for (const topic of ["circuit", "history"]) model.addEventListener(topic, render);
}

/** Return the sentence about a link, and whether its opening still waits for a decision. */
export function sentenceOf(link, circuit, opening) {
  if (link.circuit !== circuit.name) {
    const text = `This link is about circuit ${link.circuit}, but this console shows ${circuit.name}.`;
    return { text, current: false };
  }
  const now = `The circuit is now in generation ${circuit.generation}, ${stateName(circuit.state).toLowerCase()}.`;
  if (link.generation > circuit.generation) {
    const text =
      `This link is about generation ${link.generation}, which is not on record. ` +
      `An instance without Redis may have opened it. ${now}`;
    return { text, current: false };
  }
  const about = `This link is about generation ${link.generation}.`;
  if (link.generation === circuit.generation && circuit.state === "open") {
    const text = `${about} It is the current opening and waits for an approval.`;
    return { text, current: true };
  }
  if (link.generation === circuit.generation && circuit.state === "isolated") {
    return { text: `${about} The circuit is isolated; only closing ends it.`, current: true };
  }
  const ends = endOf(opening);
  const isNow =
    link.generation === circuit.generation
      ? `The circuit is ${stateName(circuit.state).toLowerCase()}.`
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
