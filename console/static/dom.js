// Making and changing elements. Text only ever goes in as text: nothing here parses HTML.

/** An element with properties, `class`, `data-*`/`aria-*`/other attributes and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** The element with this id; a page that lacks it is broken, so it says so at once. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no element #${id}`);
  return node;
}

/** Set text, touching the document only if it differs. */
export function setText(node, text) {
  const value = String(text ?? "");
  if (node.textContent !== value) node.textContent = value;
}

/** Set or remove an attribute, touching the document only if it differs. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/**
 * Show `items` as the children of `parent`, reusing what is there: row i always shows item i, so
 * that nothing moves while data flows.
 *
 * @param make called for each new child.
 * @param fill called as fill(child, item, index) for each.
 */
export function fillRows(parent, items, make, fill) {
  while (parent.children.length > items.length) {
    const last = parent.lastElementChild;
    // The keyboard stays with the list whose row it was on.
    if (last.contains(document.activeElement)) parent.closest("[tabindex='0']")?.focus({ preventScroll: true });
    last.remove();
  }
  while (parent.children.length < items.length) parent.append(make());
  items.forEach((item, index) => fill(parent.children[index], item, index));
}

/** Run `render` at most once a frame, however often the returned function is called. */
export function oncePerFrame(render) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      render();
    });
  };
}
