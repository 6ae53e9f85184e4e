// Functions that create and change elements. They insert text as text and never parse HTML.

/** Create an element with properties, `class`, `data-*`/`aria-*`/other attributes and children. */
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

/** Return the element with this id; throw an error if the page has no such element. */
export function byId(id) {
  const node = document.getElementById(id);
  if (!node) throw new Error(`the page has no element #${id}`);
  return node;
}

/** Set an element's text; an equal text leaves the document untouched. */
export function setText(node, text) {
  const value = String(text ?? "");
  if (node.textContent !== value) node.textContent = value;
}

/** Set or remove an attribute; an equal value leaves the document untouched. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/**
 * Show `items` as the children of `parent`. Existing rows are reused and row i always shows item i,
 * so that new data does not move the rows.
 *
 * @param make called for each new child.
 * @param fill called as fill(child, item, index) for each.
 */
export function fillRows(parent, items, make, fill) {
  while (parent.children.length > items.length) {
    const last = parent.lastElementChild;
    // When the focused row is removed, its list takes the keyboard focus.
    if (last.contains(document.activeElement)) parent.closest("[tabindex='0']")?.focus({ preventScroll: true });
    last.remove();
  }
  while (parent.children.length < items.length) parent.append(make());
  items.forEach((item, index) => fill(parent.children[index], item, index));
}

/** Return a function that runs `render` at most once per frame. */
export function oncePerFrame(render) {
  let scheduled = false;
  return () => {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      render();
    });
  };
}
