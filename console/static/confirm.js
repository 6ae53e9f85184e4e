// The confirmation dialog: the effect of an action, the facts, and the error of a refusal.

import { byId, el, fillRows, setAttribute, setText } from "./dom.js";
import { stateName } from "./format.js";
import { toast } from "./toast.js";

export class Confirm {
  #model;
  #nodes;
  #question = null;
  #answer = null;
  #asked = "";
  #home = null;

  constructor(model) {
    this.#model = model;
    this.#nodes = Object.fromEntries(
      [
        ...["form", "title", "what", "facts", "field", "reason", "length-field", "length"],
        ...["changed", "refused", "cancel", "go"],
      ].map((name) => [name, byId(`confirm-${name}`)]),
    );
    this.dialog = byId("confirm");
    this.#nodes.cancel.addEventListener("click", () => this.dialog.close());
    this.#nodes.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#act();
    });
    this.dialog.addEventListener("close", () => {
      this.#finish(null);
      this.#restoreFocus();
    });
    // Holding Enter down on the button that opens the dialog must not confirm the action.
    this.dialog.addEventListener("keydown", (event) => {
      if (event.repeat && event.key === "Enter") event.preventDefault();
    });
    for (const topic of ["circuit", "dependencies", "partitions", "poison", "app"]) {
      model.addEventListener(topic, () => this.#refresh());
    }
  }

  /**
   * Ask for confirmation. Return the result of `act`, or null when the operator cancelled. After a
   * refusal the dialog stays open and shows the error, so that no operator misses the refusal.
   *
   * @param question {title, what, facts(), go, danger, reason, length, dependency, act(reason,
   *     length)}; with `length` the dialog also asks for a length of time, which may be empty; with
   *     `dependency` the question is about that dependency's circuit, not the app's.
   */
  ask(question) {
    const { title, what, field, reason, length, refused, cancel, go } = this.#nodes;
    this.#question = question;
    this.#asked = this.#state();
    this.#home = document.activeElement?.closest("section");
    setText(title, question.title);
    setText(what, question.what);
    setText(refused, "");
    setText(go, question.go);
    go.classList.toggle("danger", Boolean(question.danger));
    go.disabled = false;
    field.hidden = !question.reason;
    reason.required = Boolean(question.reason);
    reason.value = "";
    this.#nodes["length-field"].hidden = !question.length;
    length.value = "";
    this.#refresh();
    this.dialog.showModal();
    if (question.reason) reason.focus();
    else if (question.danger) cancel.focus();
    else go.focus();
    return new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  async #act() {
    const question = this.#question;
    this.#nodes.go.disabled = true;
    setText(this.#nodes.refused, "");
    try {
      const { reason, length } = this.#nodes;
      const result = await question.act(reason.value.trim(), length.value.trim());
      if (question === this.#question) {
        this.#finish(result);
        this.dialog.close();
      } else toast(result); // the operator closed the dialog, but the action was done
    } catch (error) {
      if (question !== this.#question) {
        toast(refusal(error));
        return;
      }
      setText(this.#nodes.refused, refusal(error));
      this.#nodes.go.disabled = false;
    }
  }

  #finish(result) {
    this.#question = null;
    this.#answer?.(result);
    this.#answer = null;
  }

  /** Keep the focus in the section of the button, which may be removed or disabled by now. */
  #restoreFocus() {
    if (document.activeElement !== document.body) return;
    const home = this.#home?.hasAttribute("tabindex")
      ? this.#home
      : this.#home?.querySelector("[tabindex='0']:not([hidden])");
    (home ?? byId("circuit")).focus({ preventScroll: true });
  }

  /** Show the current facts, and warn when the circuit has changed since the dialog opened. */
  #refresh() {
    if (!this.#question) return;
    fillRows(
      this.#nodes.facts,
      this.#question.facts(),
      () => el("div", {}, el("dt"), el("dd")),
      (row, [name, value]) => {
        setText(row.children[0], name);
        setText(row.children[1], value);
      },
    );
    const circuit = this.#circuit();
    const moved = this.#state() !== this.#asked;
    const by = circuit?.by ? `, by ${circuit.by}` : "";
    setText(
      this.#nodes.changed,
      moved && circuit
        ? `The circuit has changed since this dialog opened: it is now ` +
            `${stateName(circuit.state).toLowerCase()}, generation ${circuit.generation}${by}.`
        : "",
    );
    setAttribute(this.dialog, "data-moved", moved);
  }

  #circuit() {
    return this.#model.circuitOf(this.#question.dependency);
  }

  #state() {
    const circuit = this.#circuit();
    return `${circuit?.state}/${circuit?.generation}`;
  }
}

function refusal(error) {
  if (error.status === 409 && error.body?.state) {
    const now = `${stateName(error.body.state).toLowerCase()}, generation ${error.body.generation}`;
    return `Refused, nothing was changed: ${error.message}. The circuit is ${now}.`;
  }
  if (error.status) return `Refused: ${error.message}.`;
  return `${error.message}.`;
}
