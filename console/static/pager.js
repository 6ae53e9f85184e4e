// The pages of a long list: which page is shown, and buttons for the first and the next page.

import { el, setAttribute, setText } from "./dom.js";
import { count } from "./format.js";

const START = { after: null, before: 0 };

/**
 * Return the pager of a list, which fills `bar`. It calls `load` when another page is wanted.
 *
 * `after` is the place where the page begins, as the console has named it; null: the first page.
 */
export function createPager(bar, load) {
  let place = START;
  let following = null;
  const text = el("span", { role: "status" });
  const first = el("button", { type: "button", class: "small", hidden: true, onclick: () => go(START) }, "First page");
  const next = el("button", { type: "button", class: "small", hidden: true, onclick: () => go(following) }, "Next page");
  bar.append(text, first, next);

  function go(to) {
    place = to;
    bar.closest(".scroll").scrollTop = 0;
    load();
  }

  return {
    get after() {
      return place.after;
    },
    /** Return to the first page, without loading it. */
    reset() {
      place = START;
    },
    /**
     * Show where the page stands.
     *
     * @param shown number of rows of the page.
     * @param total number of all rows; null: unknown, because a search has not reached the end.
     * @param after where the next page begins; null: this is the last one.
     * @param note text about the list.
     */
    show({ shown, total, after, note = "" }) {
      following = after ? { after, before: place.before + shown } : null;
      const isPart = place.before > 0 || after;
      const range = shown ? `${count(place.before + 1)} to ${count(place.before + shown)}` : "";
      const part = range && (total === null ? range : `${range} of ${count(total)}`);
      setText(text, [isPart && part, note].filter(Boolean).join(" · "));
      setAttribute(first, "hidden", !place.after);
      setAttribute(next, "hidden", !following);
      setAttribute(bar, "hidden", !text.textContent && !place.after && !following);
    },
  };
}
