// Shared by all views: elements whose text is never HTML, and number formats.

const LONGEST = 200; // characters of a text on the page; the style sheet clips to the width
let elementsNamed = 0;

/** Make an element; attributes such as `onclick` are listeners, null ones are left out, children may be strings. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else setAttribute(node, name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/**
 * Return `later(key, act)`, which acts after the next frame is painted: each in a task of its own, so that the page can
 * answer a click between two, and of those with one key only the last.
 */
export function afterPaint() {
  const waiting = new Map();
  const { port1, port2 } = new MessageChannel();
  let [running, painted] = [false, false];
  const go = () => {
    painted = true;
    port2.postMessage(null);
  };
  const next = () => (painted ? go() : requestAnimationFrame(go));
  port1.onmessage = () => {
    const [[key, act]] = waiting;
    waiting.delete(key);
    running = waiting.size > 0;
    if (running) next();
    act();
  };
  return (key, act) => {
    waiting.delete(key);
    waiting.set(key, act);
    painted = false; // what was drawn with it comes first
    if (!running) next();
    running = true;
  };
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Show text from data, clipped on the page, and at a greater length in its tooltip. */
export function setTitle(node, text) {
  setText(node, clip(text));
  setAttribute(node, "title", clip(text, 3 * LONGEST));
}

export function clip(text, longest = LONGEST) {
  const whole = String(text ?? "");
  return whole.length > longest ? `${[...whole.slice(0, longest)].slice(0, -1).join("")}…` : whole;
}

/** Return the float32 numbers of a message's buffer: a typed array, or a view that may not start at a multiple of 4. */
export function floatsOf(buffer) {
  if (!buffer) return new Float32Array();
  const { buffer: bytes, byteOffset, byteLength } = buffer;
  return new Float32Array(bytes.slice(byteOffset, byteOffset + byteLength));
}

export function uniqueId(prefix) {
  elementsNamed += 1;
  return `cx-${prefix}-${elementsNamed}-${Math.random().toString(36).slice(2, 8)}`;
}

/** Give `parent` one child for each item, made by `make` and filled by `fill`; existing nodes are reused. */
export function fillList(parent, items, make, fill) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(make(parent.children.length));
  items.forEach((item, index) => fill(parent.children[index], item, index));
}

export function percent(p, digits) {
  if (p === null || p === undefined || Number.isNaN(p)) return "–";
  const hundredths = 100 * p;
  if (digits === undefined && p > 0 && hundredths < 0.01) return "< 0.01%";
  return `${hundredths.toFixed(digits ?? (hundredths < 1 ? 2 : 1))}%`;
}

export function integer(number) {
  return number === null || number === undefined ? "–" : Number(number).toLocaleString("en");
}

export function formatCell(value, format) {
  if (value === null || value === undefined) return "–";
  if (format === "percent") return percent(value);
  if (format === "int") return integer(value);
  if (format === "nats") return value.toFixed(2);
  if (format === "flag") return value ? "✓" : "";
  return clip(value);
}

export function button(label, press, attributes = {}) {
  return el("button", { type: "button", onclick: press, ...attributes }, label);
}

export function labelled(label, control, attributes = {}) {
  return el("label", attributes, el("span", {}, label), control);
}

export function option(value, label = value) {
  return el("option", { value }, clip(label, 60));
}

/** Mark the selected items on all nodes below `root` that show an item. */
export function outline(root, selection) {
  for (const node of root.querySelectorAll("[data-code]")) {
    const selected = selection.includes(Number(node.dataset.code));
    setAttribute(node, "aria-pressed", String(selected));
  }
}

/** Select the item of a node; with Ctrl, Command or Shift, add it to the selection. */
export function selectBy(app, node, event) {
  app.select([Number(node.dataset.code)], { add: event.ctrlKey || event.metaKey || event.shiftKey });
}
