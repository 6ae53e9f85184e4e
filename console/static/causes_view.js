// The causes of the poison events: a button with the number of events for each, which filters the list.

import { el, fillRows, setAttribute, setText } from "./dom.js";
import { count, shortType } from "./format.js";

const ALL = { error: null, handler: null };

/** Return the buttons in `bar`; `changed` is called after a click. */
export function createCauses(bar, changed) {
  let chosen = ALL;
  let causes = [];

  function choose(button) {
    const cause = causes[[...bar.children].indexOf(button)];
    chosen = isChosen(cause) ? ALL : { error: cause.error, handler: cause.handler };
    fill();
    changed();
  }

  function isChosen(cause) {
    return cause.error === chosen.error && cause.handler === chosen.handler;
  }

  function make() {
    const button = el("button", { type: "button", class: "small", onclick: () => choose(button) }, el("b"), " ", el("span"));
    return button;
  }

  function fill() {
    const several = new Set(causes.map(({ handler }) => handler)).size > 1;
    fillRows(bar, causes, make, (button, cause) => {
      const name = shortType(cause.error);
      setText(button.firstElementChild, several ? `${name} in ${cause.handler}` : name);
      setText(button.lastElementChild, count(cause.count));
      setAttribute(button, "title", `${cause.error} in ${cause.handler}`);
      setAttribute(button, "aria-pressed", String(isChosen(cause)));
    });
    setAttribute(bar, "hidden", causes.length < 2 && chosen === ALL);
  }

  return {
    /** The fields `error` and `handler` of the chosen cause; null: all causes. */
    get chosen() {
      return chosen;
    },
    /** Show the causes with their numbers; a chosen one stays until another click. */
    show(found) {
      const isGone = chosen !== ALL && !found.some(isChosen);
      causes = isGone ? [...found, { ...chosen, count: 0 }] : found;
      fill();
    },
  };
}
