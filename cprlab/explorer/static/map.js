// The map of the item embeddings: items as points on a canvas; above it, as SVG, the marks of the case with labels.

import { button, el, floatsOf, option, percent } from "./base.js";

const SIZES = { other: 7, new: 10, history: 10, interfering: 13, target: 18, "hidden state": 13 }; // px; last on top
const NAMES = { other: "other items", new: "new among the top k", target: "true next item" };
const SHAPES = {
  circle: "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
  square: "M-.85-.85H.85V.85H-.85Z",
  diamond: "M0-1.1 1.1 0 0 1.1-1.1 0Z",
  "triangle-up": "M0-1 1 .8H-1Z",
  "triangle-down": "M0 1 1-.8H-1Z",
  x: "M-1-.6-.6-1 0-.4 .6-1 1-.6 .4 0 1 .6 .6 1 0 .4-.6 1-1 .6-.4 0Z",
  star: `M${[...Array(10).keys()].map((k) => [Math.sin((k * Math.PI) / 5), -Math.cos((k * Math.PI) / 5)]
    .map((c) => (c * (k % 2 ? 0.42 : 1)).toFixed(3))).join(" ")}Z`,
};
const SIDES = [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [1, 1], [-1, -1], [-1, 1]]; // of a mark, for its label
const GREY = [0.5, 0.5, 0.5, 0.5]; // visible on white and on black
const PINK = [0.76, 0.2, 0.54]; // of a probability of 1
const HOT = `rgb(${PINK.map((c) => 255 * c)})`;
const FAINT = 5; // decades of probability below 1 at which an item is grey
const LEVELS = 8; // lines of equal score in the view, at most
const FONT = "11px system-ui, sans-serif";
const NEAR = 8; // px within which a point is under the pointer
const EDGE = 16; // px from the border where a hidden state outside the view is drawn
const HELP = "Map of the items: arrow keys pan, + and − zoom, 0 fits all, Escape cancels a lasso";
const FLAGS = {
  lines: ["Order", "join the items of the history in their order, and the hidden states"],
  levels: ["Score lines", "lines on which the score of the hidden state is the same in the plane"],
  shaded: ["Probability", "colour the items by the model's probability"],
};
const HELD =
  "Along a straight line, the hidden state's score h·w is the same as far as the plane holds it: % of its variance over " +
  "these items.";
let ruler = null; // a context in which labels are measured

export function mapView(root, app) {
  const eye = { x: 0, y: 0, scale: 1, whole: 1, width: 0, height: 0 }; // middle, px a unit, the same at "fit all", px
  const sets = new Map(); // of points, by projection and model
  const none = pointsOf();
  let points = none, marks = [], lines = [], scores = [], view = null, drag = null, asked = 0;
  let painting = []; // the points, and the scores by which they are coloured
  let fitted = "", painted = "", ringed = "";

  const choice = (key, read) => el("select", { onchange: (event) => app.set({ [key]: read(event.target.value) }) });
  const projection = choice("projection", String), space = choice("space", Number);
  const lasso = button("Lasso", () => lasso.setAttribute("aria-pressed", String(!lassoing())));
  const lassoing = () => lasso.getAttribute("aria-pressed") === "true";
  const flags = Object.entries(FLAGS).map(([key, [text, title]]) => {
    const box = el("input", { type: "checkbox", onchange: () => app.set({ [key]: box.checked }) });
    return { key, box, node: el("label", { class: "cx-check", title }, box, text) };
  });
  const canvas = el("canvas", {
    tabindex: "0", role: "application", "aria-label": HELP, "data-lm-suppress-shortcuts": "true",
  });
  const level = svg("path", { class: "cx-map-levels" }), rise = svg("g", { style: `font: ${FONT}` });
  const paths = svg("g"), symbols = svg("g"), labels = svg("g", { style: `font: ${FONT}` });
  const loop = svg("polygon", { class: "cx-map-lasso", "fill-rule": "evenodd" });
  const drawn = [level, paths, symbols, labels, rise, loop];
  const overlay = svg("svg", { class: "cx-map-marks", "aria-hidden": "true" }, ...drawn);
  const tip = el("div", { class: "cx-map-tip", role: "tooltip", hidden: "" });
  const stage = el("div", { class: "cx-map-stage" }, canvas, overlay, tip);
  const legend = el("ul", { class: "cx-map-legend", "aria-label": "Legend of the map" });
  const progress = el("progress", { "aria-label": "The map's points are being computed", hidden: "" });
  const note = el("p", { class: "cx-map-note" });
  lasso.setAttribute("aria-pressed", "false");
  root.append(
    el("header", { class: "cx-header" }, el("h3", {}, "Map of the item embeddings"),
      el("span", { class: "cx-hint" }, "Click selects, drag pans, the wheel zooms, Shift+drag draws a lasso")),
    el("div", { class: "cx-map-controls" },
      el("label", {}, "Projection ", projection), el("label", {}, "Embeddings of ", space),
      ...flags.map((flag) => flag.node), lasso, button("Zoom in", () => zoom(1.5)), button("Zoom out", () => zoom(1 / 1.5)),
      button("Fit all", () => fit(everything())),
      button("Fit the case", () => fit(marks.flatMap((mark) => [mark.x, mark.y])))),
    stage, el("div", { class: "cx-map-notes" }, progress, note), legend,
  );
  const painter = painterOf(canvas, () => {
    painted = "";
    redraw();
  });

  function redraw() {
    asked ||= requestAnimationFrame(frame);
  }

  function frame() {
    asked = 0;
    if (!view || !eye.width) return;
    const { projection: name, space: model, case: person } = view.state;
    // Fit again if the coordinates change; those of a neighbourhood are different for each case.
    const key = JSON.stringify([name, model, name === "local" ? person : 0, points.places.length > 0]);
    const all = everything();
    if (key !== fitted && all.length) {
      fitted = key;
      fit(all);
      eye.whole = eye.scale;
    }
    const now = Object.values(eye).join();
    if (now !== painted) {
      painted = now; // a new history moves marks, not points, which take 20 ms to draw without a GPU
      const dot = Math.min(7, Math.max(2, 500 / Math.sqrt(points.places.length / 2)));
      painter.draw(eye, dot * Math.min(2.5, Math.max(1, eye.scale / eye.whole) ** 0.3));
    }
    drawMarks();
  }

  function upload(name, places) {
    painter.upload(name, places);
    painted = "";
  }

  const toScreen = (x, y) => [eye.width / 2 + (x - eye.x) * eye.scale, eye.height / 2 - (y - eye.y) * eye.scale];
  const toData = (x, y) => [eye.x + (x - eye.width / 2) / eye.scale, eye.y - (y - eye.height / 2) / eye.scale];

  function everything() {
    const own = marks.filter((mark) => mark.item >= 0).flatMap((mark) => [mark.x, mark.y]);
    return points.places.length ? points.places : own;
  }

  function fit(pairs) {
    const [left, low, right, high] = boundsOf(pairs);
    if (!(left <= right)) return;
    [eye.x, eye.y] = [(left + right) / 2, (low + high) / 2];
    const room = Math.min((eye.width - 48) / (right - left), (eye.height - 48) / (high - low));
    eye.scale = Number.isFinite(room) ? Math.max(room, 1e-9) : eye.whole;
    redraw();
  }

  function zoom(factor, x = eye.width / 2, y = eye.height / 2) {
    const [before, limits] = [toData(x, y), [eye.whole / 20, eye.whole * 5000]];
    eye.scale = Math.min(limits[1], Math.max(limits[0], eye.scale * factor));
    const after = toData(x, y);
    pan((before[0] - after[0]) * eye.scale, (after[1] - before[1]) * eye.scale);
  }

  function pan(right, down) {
    eye.x += right / eye.scale;
    eye.y -= down / eye.scale;
    redraw();
  }

  // The nearest mark, or { item } of a point, within reach of a place on the screen; null if there is none.
  function pick(x, y, itemsOnly) {
    const item = points.near(...toData(x, y), NEAR / eye.scale);
    let best = null, reach = NEAR;
    if (item >= 0) {
      const [a, b] = toScreen(points.places[2 * item], points.places[2 * item + 1]);
      [best, reach] = [{ item }, Math.hypot(a - x, b - y)];
    }
    for (const mark of marks) {
      const away = mark.at && !(itemsOnly && mark.item < 0) ? Math.hypot(mark.at[0] - x, mark.at[1] - y) : Infinity;
      if (away <= reach + 1e-3) [best, reach] = [mark, away]; // a mark covers its own point, which a float32 rounds
    }
    return best;
  }

  function drawMarks() {
    overlay.setAttribute("viewBox", `0 0 ${eye.width} ${eye.height}`);
    for (const line of lines) {
      const places = line.points.map((place) => toScreen(...place).map(Math.round));
      line.node.setAttribute("points", places.join(" "));
    }
    for (const mark of marks) {
      const [x, y] = toScreen(mark.x, mark.y), [a, b] = [x - eye.width / 2, y - eye.height / 2];
      const over = Math.max(Math.abs(a) / (eye.width / 2 - EDGE), Math.abs(b) / (eye.height / 2 - EDGE));
      const outside = x < 0 || y < 0 || x > eye.width || y > eye.height, held = outside && mark.kind === "hidden state";
      mark.at = held ? [eye.width / 2 + a / over, eye.height / 2 + b / over] : outside ? null : [x, y];
      mark.node.setAttribute("display", mark.at ? "inline" : "none");
      mark.node.setAttribute("transform", `translate(${(mark.at ?? [x, y]).map((c) => c.toFixed(1)).join(" ")})`);
      mark.arrow.setAttribute("display", held ? "inline" : "none");
      mark.arrow.setAttribute("transform", `rotate(${(Math.atan2(b, a) * 180) / Math.PI})`);
    }
    drawLevels();
    placeLabels(marks, eye, rise.childElementCount > 0);
    loop.setAttribute("points", drag?.loop?.join(" ") ?? "");
  }

  // Lines on which the score of the hidden state is the same in the plane, at round distances, and where it grows.
  function drawLevels() {
    const [right, up] = view.state.levels && view.map.levels ? view.map.levels.gradient : [0, 0];
    const slope = Math.hypot(right, up) / eye.scale; // a pixel
    rise.replaceChildren();
    level.setAttribute("d", "");
    if (!slope) return;
    const [along, down] = [right / eye.scale / slope, -up / eye.scale / slope]; // on the screen, of length 1
    const middle = right * eye.x + up * eye.y, half = Math.hypot(eye.width, eye.height) / 2;
    const reach = (slope * (Math.abs(along) * eye.width + Math.abs(down) * eye.height)) / 2;
    const step = roundUp((2 * reach) / LEVELS);
    let path = "";
    for (let value = Math.ceil((middle - reach) / step) * step; value <= middle + reach; value += step) {
      const away = (value - middle) / slope;
      const [x, y] = [eye.width / 2 + along * away, eye.height / 2 + down * away];
      path += `M${(x + down * half).toFixed(1)} ${(y - along * half).toFixed(1)}` +
        `L${(x - down * half).toFixed(1)} ${(y + along * half).toFixed(1)}`;
    }
    level.setAttribute("d", path);
    const turned = `translate(26 ${eye.height - 26}) rotate(${(Math.atan2(down, along) * 180) / Math.PI})`;
    const text = `higher score h·w, lines ${Number(step.toPrecision(1))} apart`;
    rise.append(
      svg("path", { class: "cx-map-rise", d: "M-16 0H12M5-5 13 0 5 5", transform: turned }),
      svg("text", { x: 48, y: eye.height - 10 }, text),
    );
  }

  // Give the painter the points, if others are to be drawn: coloured by probability, the most probable on top, or grey.
  function usePaint() {
    const own = view.state.shaded && scores[view.state.space]?.length ? scores[view.state.space] : null;
    if (points === painting[0] && own === painting[1]) return;
    painting = [points, own];
    const { places } = points;
    const codes = [...Array(places.length / 2).keys()].filter((code) => places[2 * code] === places[2 * code]);
    if (own) codes.sort((one, other) => own[one] - own[other]);
    upload("all", Float32Array.from({ length: 2 * codes.length }, (_, k) => places[2 * codes[k >> 1] + (k & 1)]));
    const tone = (code) => Math.max(0, 1 + own[code] / Math.LN10 / FAINT);
    upload("tones", Float32Array.from(own ? codes : [], tone));
  }

  function showTip(x, y) {
    const found = drag ? null : pick(x, y, false);
    tip.hidden = !found;
    if (!found) return;
    const text = found.item >= 0 ? app.title(found.item) : found.label;
    const kind = found.kind ? el("small", {}, NAMES[found.kind] ?? found.kind) : "";
    tip.replaceChildren(el("span", {}, String(text).slice(0, 300)), kind);
    const [right, down] = [x > eye.width / 2, y > eye.height / 2];
    const corner = `translate(${x + (right ? -12 : 12)}px, ${y + (down ? -12 : 12)}px)`;
    tip.style.transform = `${corner} translate(${right ? -100 : 0}%, ${down ? -100 : 0}%)`;
  }

  function chooseInside(loop, add) {
    const corners = loop.map((place) => toData(...place));
    const inside = new Set(insideOf(points.places, corners));
    for (const mark of marks) if (mark.item >= 0 && insideOf([mark.x, mark.y], corners).length) inside.add(mark.item);
    app.select([...inside], { add });
  }

  function release(event) {
    const { moved, loop, x, y } = drag;
    const add = event.ctrlKey || event.metaKey;
    drag = null;
    canvas.classList.remove("cx-map-panning");
    redraw();
    if (loop && moved) return chooseInside(loop, add);
    const found = moved ? null : pick(x, y, true);
    if (found) app.select([found.item], { add: add || event.shiftKey });
  }

  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const stop = () => {
    drag = null;
    canvas.classList.remove("cx-map-panning");
    redraw();
  };
  const keys = {
    ArrowLeft: () => pan(-60, 0), ArrowRight: () => pan(60, 0), ArrowUp: () => pan(0, -60), ArrowDown: () => pan(0, 60),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "−": () => zoom(1 / 1.5),
    0: () => fit(everything()), Escape: stop,
  };
  const listeners = {
    pointerdown(event) {
      if (event.button) return;
      const [x, y] = where(event);
      drag = { x, y, last: [x, y], moved: false, loop: event.shiftKey || lassoing() ? [[x, y]] : null };
      canvas.setPointerCapture(event.pointerId);
      tip.hidden = true;
    },
    pointermove(event) {
      const [x, y] = where(event);
      if (!drag) return showTip(x, y);
      drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > 3;
      if (!drag.moved) return;
      if (drag.loop) drag.loop.push([x, y]);
      else pan(drag.last[0] - x, drag.last[1] - y);
      canvas.classList.toggle("cx-map-panning", !drag.loop);
      drag.last = [x, y];
      redraw();
    },
    pointerup: (event) => drag && release(event),
    pointercancel: stop,
    pointerleave: () => (tip.hidden = true),
    keydown(event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
      event.preventDefault();
      event.stopPropagation(); // some of these keys are commands of the notebook
      keys[event.key]();
    },
  };
  for (const [name, listener] of Object.entries(listeners)) canvas.addEventListener(name, listener);
  const wheel = (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...where(event));
    tip.hidden = true;
  };
  canvas.addEventListener("wheel", wheel, { passive: false });
  new ResizeObserver(() => {
    [eye.width, eye.height] = [stage.clientWidth, stage.clientHeight];
    redraw();
  }).observe(stage);

  function usePoints() {
    const { projection: name, space: model } = view.state;
    const found = sets.get(`${name} ${model}`) ?? none;
    const others = found !== points;
    points = found;
    progress.hidden = !points.pending;
    const held = view.map.levels && view.state.levels ? HELD.replace("%", percent(view.map.levels.share, 0)) : "";
    note.textContent = [...new Set([view.map.note, points.note, held])].filter(Boolean).join(" ");
    usePaint();
    onSelect(app.draft().selection, others);
  }

  function onSelect(selection, others = false) {
    const chosen = new Set(selection);
    if (others || selection.join() !== ringed) {
      ringed = selection.join();
      const at = selection.flatMap((code) => [...points.places.subarray(2 * code, 2 * code + 2)]);
      upload("chosen", new Float32Array(at.filter((c) => c === c)));
    }
    for (const mark of marks) mark.ring.setAttribute("display", chosen.has(mark.item) ? "inline" : "none");
    drawLegend(chosen.size);
    redraw();
  }

  function drawLegend(chosen) {
    const box = { viewBox: "-10 -10 20 20", width: 20, height: 20, "aria-hidden": "true" };
    const entry = (text, ...drawing) => el("li", {}, svg("svg", box, ...drawing), text);
    const shown = Object.keys(SIZES).filter((kind) => kind !== "other" && marks.some((mark) => mark.kind === kind));
    const held = marks.some((mark) => mark.kind === "hidden state");
    const drawn = (kind) => lines.some((line) => line.kind === kind);
    legend.replaceChildren(...[
      points.places.length && entry(NAMES.other, svg("circle", { r: 3, fill: "rgb(128 128 128 / 0.6)" })),
      view?.state.shaded && entry("the more probable the redder", svg("circle", { r: 3, fill: HOT })),
      ...shown.map((kind) => entry(NAMES[kind] ?? kind, symbolOf(app.base, kind))),
      drawn("history") && entry("the history in its order", lineOf("history", "-9,5 0,-5 9,5")),
      drawn("states") && entry("hidden states, joined", lineOf("states", "-9,0 9,0")),
      held && entry("hidden state outside the view", arrowOf(0)),
      chosen && entry("selected", ringOf(7)),
    ].filter(Boolean));
  }

  return {
    render(next) {
      view = next;
      const order = Object.keys(SIZES), state = app.draft();
      marks = view.map.marks.filter((mark) => Number.isFinite(mark.x) && Number.isFinite(mark.y))
        .map((mark) => markOf(app.base, mark)).sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
      lines = (state.lines ? view.map.lines : []).map((line) => ({ ...line, node: lineOf(line.kind, "") }));
      for (const { key, box } of flags) box.checked = state[key];
      paths.replaceChildren(...lines.map((line) => line.node));
      symbols.replaceChildren(...marks.map((mark) => mark.node));
      labels.replaceChildren(...marks.map((mark) => mark.text));
      [projection.value, space.value] = [state.projection, String(state.space)];
      usePoints();
    },
    onBase(base) {
      sets.clear();
      fitted = "";
      projection.replaceChildren(...base.projections.map(([name, label]) => option(name, label)));
      const choices = base.models.map(({ name, stateless }, code) =>
        el("option", { value: String(code), disabled: Boolean(stateless) }, name));
      space.replaceChildren(...choices);
      const unmapped = base.models.every((model) => model.stateless);
      for (const part of root.children) if (part.matches(".cx-map-controls, .cx-map-stage")) part.hidden = unmapped;
    },
    onPoints(message, buffer) {
      sets.set(`${message.projection} ${message.model}`, pointsOf(message, buffer));
      if (view) usePoints();
    },
    onScores(message, buffers) {
      scores = buffers.map(floatsOf);
      if (!view?.state.shaded) return;
      usePaint();
      redraw();
    },
    onSelect,
  };
}

// The least of 1, 2 and 5 times a power of ten that is not below a number.
function roundUp(number) {
  const unit = 10 ** Math.floor(Math.log10(number));
  return unit * ([1, 2, 5].find((times) => times * unit >= number) ?? 10);
}

// The points of one message: their places (n x, y pairs), and a function that finds the nearest one.
function pointsOf(message = {}, buffer = null) {
  const places = floatsOf(buffer);
  return { places, near: gridOf(places), note: message.note ?? "", pending: Boolean(message.pending) };
}

function boundsOf(pairs) {
  const bounds = [Infinity, Infinity, -Infinity, -Infinity]; // comparisons with NaN (no place) are false
  for (let k = 0; k < pairs.length; k += 2) {
    for (const axis of [0, 1]) {
      const c = pairs[k + axis];
      if (c < bounds[axis]) bounds[axis] = c;
      if (c > bounds[axis + 2]) bounds[axis + 2] = c;
    }
  }
  return bounds;
}

// An index of points by square cells: a function of a place and a radius that gives the nearest point's code, or -1.
function gridOf(places) {
  const n = places.length / 2, [left, low, right, high] = boundsOf(places);
  if (!(left <= right)) return () => -1;
  const cell = Math.max(right - left, high - low) / Math.ceil(Math.sqrt(n)) || 1;
  const columns = Math.floor((right - left) / cell) + 1, rows = Math.floor((high - low) / cell) + 1;
  const indexOf = (c, from) => Math.floor((c - from) / cell);
  const cellOf = (k) => indexOf(places[2 * k + 1], low) * columns + indexOf(places[2 * k], left);
  const starts = new Uint32Array(columns * rows + 1), codes = new Uint32Array(n);
  for (let k = 0; k < n; k++) if (places[2 * k] === places[2 * k]) starts[cellOf(k)]++;
  for (let c = 1; c <= columns * rows; c++) starts[c] += starts[c - 1];
  for (let k = n - 1; k >= 0; k--) if (places[2 * k] === places[2 * k]) codes[--starts[cellOf(k)]] = k;
  const within = (c, most) => Math.min(most, Math.max(0, Math.floor(c / cell)));
  return (x, y, radius) => {
    let best = -1, least = radius * radius;
    const [from, to] = [within(x - radius - left, columns - 1), within(x + radius - left, columns - 1)];
    for (let row = within(y - radius - low, rows - 1); row <= within(y + radius - low, rows - 1); row++) {
      for (let k = starts[row * columns + from]; k < starts[row * columns + to + 1]; k++) {
        const away = (places[2 * codes[k]] - x) ** 2 + (places[2 * codes[k] + 1] - y) ** 2;
        if (away < least || (away === least && best < 0)) [best, least] = [codes[k], away];
      }
    }
    return best;
  };
}

// Which of the pairs lie inside a polygon, by the even-odd rule.
function insideOf(pairs, corners) {
  const [left, low, right, high] = boundsOf(corners.flat()), found = [];
  for (let k = 0; k < pairs.length; k += 2) {
    const [x, y] = [pairs[k], pairs[k + 1]];
    if (!(x >= left && x <= right && y >= low && y <= high)) continue;
    let inside = false, [a, b] = corners[corners.length - 1];
    for (const [c, d] of corners) {
      if (b > y !== d > y && x < a + ((c - a) * (y - b)) / (d - b)) inside = !inside;
      [a, b] = [c, d];
    }
    if (inside) found.push(k / 2);
  }
  return found;
}

const clear = (taken, x, y, half, tall) =>
  taken.every(([a, b, c, d]) => Math.abs(x - a) >= half + c || Math.abs(y - b) >= tall + d);

// Put labels beside their marks where they cover nothing; the most important marks, which are last, choose first. The
// true next item always has its label.
function placeLabels(marks, eye, risen) {
  const taken = marks.filter((mark) => mark.at).map((mark) => [...mark.at, mark.size / 2, mark.size / 2]);
  if (risen) taken.push([110, eye.height - 20, 110, 20]); // where it is said how the score grows
  for (const mark of marks.toReversed()) {
    const [half, tall] = [mark.width / 2, 7], gap = mark.size / 2 + 3;
    const free = mark.at && mark.width && SIDES
      .map(([right, down]) => [mark.at[0] + right * (half + gap), mark.at[1] + down * (tall + gap)])
      .find(([x, y]) => x >= half && x <= eye.width - half && y >= tall && y <= eye.height - tall &&
        (mark.kind === "target" || clear(taken, x, y, half, tall)));
    mark.text.setAttribute("display", free ? "inline" : "none");
    if (!free) continue;
    mark.text.setAttribute("x", (free[0] - half).toFixed(1));
    mark.text.setAttribute("y", (free[1] + 4).toFixed(1));
    taken.push([...free, half, tall]);
  }
}

function markOf(base, mark) {
  const kind = Object.hasOwn(SIZES, mark.kind) ? mark.kind : "other";
  const size = styleOf(base, kind)[2], line = [...String(mark.label ?? "").slice(0, 200).replace(/\s+/g, " ").trim()];
  const label = line.length > 26 ? `${line.slice(0, 25).join("")}…` : line.join("");
  const ring = ringOf(size / 2 + 3), arrow = arrowOf(EDGE - 5);
  ruler ??= Object.assign(document.createElement("canvas").getContext("2d"), { font: FONT });
  return {
    ...mark, kind, size, ring, arrow, width: label && ruler.measureText(label).width,
    node: svg("g", { "data-kind": kind }, arrow, symbolOf(base, kind), ring), text: svg("text", {}, label),
  };
}

function styleOf(base, kind) {
  const [colour, symbol, size = SIZES[kind]] = base.kinds[kind];
  return [colour, symbol, size];
}

export function symbolOf(base, kind) {
  const [colour, symbol, size] = styleOf(base, kind), path = SHAPES[symbol];
  const ink = { fill: colour, stroke: "#fff", "stroke-width": 1.5, "paint-order": "stroke" }; // visible on black too
  const letter = { ...ink, "font-size": size * 1.3, "text-anchor": "middle", "dominant-baseline": "central" };
  if (!path) return svg("text", letter, symbol);
  return svg("path", { ...ink, d: path, transform: `scale(${size / 2})`, "vector-effect": "non-scaling-stroke" });
}

function ringOf(radius) {
  const ring = (stroke, width) => svg("circle", { r: radius, fill: "none", stroke, "stroke-width": width });
  return svg("g", {}, ring("#fff", 4.5), ring("#000", 2));
}

function arrowOf(away) {
  return svg("path", { d: `M${away + 5} 0 ${away - 4}-5V5Z`, fill: "#000", stroke: "#fff", "stroke-width": 1 });
}

function lineOf(kind, points) {
  const dash = kind === "states"
    ? { "stroke-dasharray": "4 3", "stroke-width": 1.5 }
    : { "stroke-width": 1, "stroke-opacity": 0.75 };
  return svg("polyline", { points, fill: "none", stroke: kind === "states" ? "#888" : "#2b8cc9", ...dash });
}

export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const VERTEX = `
  attribute vec2 place; attribute float tone; uniform vec2 middle, unit; uniform mediump float size;
  varying mediump float tint;
  void main() { gl_Position = vec4((place - middle) * unit, 0.0, 1.0); gl_PointSize = size; tint = tone; }`;
const FRAGMENT = `
  precision mediump float; uniform mediump float size; uniform vec4 colour; uniform vec3 hot; uniform float band;
  varying mediump float tint;
  void main() {
    float depth = size / 2.0 - length(gl_PointCoord - 0.5) * size; // pixels from the rim
    if (depth <= 0.0 || band > 0.0 && depth > 2.0 * band) discard;
    vec4 ink = band == 0.0 ? mix(colour, vec4(hot, 1), tint) : depth > band ? vec4(0, 0, 0, 1) : vec4(1);
    gl_FragColor = vec4(ink.rgb, 1.0) * ink.a * min(depth, 1.0);
  }`;

// Draw the points by WebGL, or on a 2D canvas without it. Selected ones have a ring, white around black.
function painterOf(canvas, redraw) {
  const gl = canvas.getContext("webgl", { preserveDrawingBuffer: true, antialias: false });
  const arrays = { all: new Float32Array(), chosen: new Float32Array(), tones: new Float32Array() }, buffers = {};
  const ring = (dot) => Math.max(dot, 4) + 7;
  let uniforms = null;

  function upload(name, array) {
    arrays[name] = array;
    if (!uniforms) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
  }

  function start() {
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "place");
    gl.bindAttribLocation(program, 1, "tone");
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enableVertexAttribArray(0);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const names = ["middle", "unit", "size", "colour", "hot", "band"];
    uniforms = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    for (const name of Object.keys(arrays)) {
      buffers[name] = gl.createBuffer();
      upload(name, arrays[name]);
    }
  }

  function drawGl(eye, dot, ratio) {
    if (!uniforms) return;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(uniforms.middle, eye.x, eye.y);
    gl.uniform2f(uniforms.unit, (2 * eye.scale) / eye.width, (2 * eye.scale) / eye.height);
    gl.uniform4fv(uniforms.colour, GREY);
    gl.uniform3fv(uniforms.hot, PINK);
    for (const [name, size, band] of [["all", dot, 0], ["chosen", ring(dot), 1.75]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
      gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
      if (name === "all" && arrays.tones.length) {
        gl.enableVertexAttribArray(1);
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers.tones);
        gl.vertexAttribPointer(1, 1, gl.FLOAT, false, 0, 0);
      } else {
        gl.disableVertexAttribArray(1);
        gl.vertexAttrib1f(1, 0);
      }
      gl.uniform1f(uniforms.size, size * ratio);
      gl.uniform1f(uniforms.band, band * ratio);
      gl.drawArrays(gl.POINTS, 0, arrays[name].length / 2);
    }
  }

  function drawFlat(eye, dot, ratio) {
    const flat = canvas.getContext("2d");
    const each = (array, act) => {
      for (let k = 0; k < array.length; k += 2) {
        act(eye.width / 2 + (array[k] - eye.x) * eye.scale, eye.height / 2 - (array[k + 1] - eye.y) * eye.scale, k / 2);
      }
    };
    flat.setTransform(ratio, 0, 0, ratio, 0, 0);
    flat.clearRect(0, 0, eye.width, eye.height);
    each(arrays.all, (x, y, place) => {
      const tone = arrays.tones[place] ?? 0;
      const [red, green, blue] = PINK.map((hot, c) => 255 * (GREY[c] + tone * (hot - GREY[c])));
      flat.fillStyle = `rgb(${red} ${green} ${blue} / ${GREY[3] + tone * (1 - GREY[3])})`;
      flat.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    });
    for (const [colour, width] of [["#fff", 4.5], ["#000", 2]]) {
      [flat.strokeStyle, flat.lineWidth] = [colour, width];
      each(arrays.chosen, (x, y) => flat.strokeRect(x - ring(dot) / 2, y - ring(dot) / 2, ring(dot), ring(dot)));
    }
  }

  if (gl) start();
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault(); // otherwise the browser would not restore it
    uniforms = null;
  });
  canvas.addEventListener("webglcontextrestored", () => {
    start();
    redraw();
  });
  return {
    upload,
    draw(eye, dot) {
      const ratio = window.devicePixelRatio || 1;
      const size = [Math.round(eye.width * ratio), Math.round(eye.height * ratio)];
      if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
      (gl ? drawGl : drawFlat)(eye, dot, ratio);
    },
  };
}
