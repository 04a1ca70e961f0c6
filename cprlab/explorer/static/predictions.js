// The models' predictions side by side: bars on one scale, the copy gauge, and the changes of both since the pin.

import {
  button, clip, el, fillList, integer, labelled, option, outline, percent, selectBy, setAttribute, setText, setTitle,
} from "./base.js";
import { interferingOf } from "./verdict.js";

const GLYPHS = { history: "●", new: "◆", target: "★" };
const KIND_LABELS = { history: "in the history", new: "new", target: "true next" };
// Of each partition, always the same, and of no kind; they differ in lightness as well.
const PARTITIONS = {
  V: "#999999", R: "#882255", C: "#F0E442", P: "#CC79A7", B: "#7F3C0B", F: "#6A51A3", repeat: "#F0E442",
  other: "#56B4E9",
};
const LENGTHS = [5, 10, 20];

export function predictionsView(root, app) {
  let columns = [];
  const colour = el(
    "select",
    { onchange: () => app.set({ colour: colour.value }) },
    option("kind", "in the history or new"),
    option("partition", "partition of the head"),
  );
  const k = el("select", { onchange: () => app.set({ k: Number(k.value) }) }, ...LENGTHS.map((n) => option(n)));
  const pin = button("Pin", () => app.command(app.draft().pinned ? "unpin" : "pin"), {
    title: "keep these predictions to compare later ones with them",
  });
  const legend = el("ul", { class: "cx-legend", "aria-label": "Legend" });
  const grid = el("div", { class: "cx-models" });
  root.append(
    el("div", { class: "cx-controls" }, labelled("Colour", colour), labelled("Top", k), pin),
    legend,
    grid,
  );

  function drawLegend(view, colourOf) {
    const pinned = view.state.pinned ? [["hollow", "at the pin"]] : [];
    const partitions = view.state.colour === "partition" ? partitionsOf(view).map((name) => [name, name]) : [];
    const kinds = Object.keys(GLYPHS).map((kind) => [kind, `${GLYPHS[kind]} ${KIND_LABELS[kind]}`]);
    kinds.push(["interfering", "▲ comes before some of the history at the best single state"]);
    fillList(
      legend,
      [...kinds, ...partitions, ...pinned],
      () => el("li", {}, el("span", { class: "cx-swatch" }), el("span")),
      (node, [key, label]) => {
        const plain = view.state.colour === "partition" && kinds.some(([kind]) => kind === key);
        node.firstChild.hidden = plain;
        setAttribute(node.firstChild, "class", `cx-swatch${key === "hollow" ? " cx-hollow" : ""}`);
        node.firstChild.style.background = key === "hollow" ? "none" : colourOf(key);
        setTitle(node.lastChild, label);
      },
    );
  }

  function render(view) {
    const byPartition = view.state.colour === "partition";
    const colourOf = (key) => (byPartition ? partitionColour(key) : app.base.kinds[key][0]);
    const kindOf = ({ kind, item }, interfering) =>
      kind === "new" && interfering.get(item)?.late === false ? "interfering" : kind;
    const barColour = (bar, interfering) => colourOf(byPartition ? bar.partition : kindOf(bar, interfering));
    const scale = scaleOf(view);
    colour.value = app.draft().colour;
    k.value = app.draft().k;
    setText(pin, app.draft().pinned ? "Unpin" : "Pin");
    setAttribute(pin, "aria-pressed", String(Boolean(app.draft().pinned)));
    setAttribute(grid, "data-scale", scale);
    drawLegend(view, colourOf);
    view.predictions.forEach((prediction, index) => columns[index]?.render(prediction, view, { barColour, scale }));
    outline(root, app.draft().selection);
  }

  return {
    onBase(base) {
      columns = base.models.map((_, index) => modelColumn(app, index));
      grid.replaceChildren(...columns.map((column) => column.node));
    },
    render,
    onVerdict: () => render(app.view),
    onSelect: (selection) => outline(root, selection),
  };
}

/** The largest probability of any bar, now or at the pin, which is the scale of all bars. */
function scaleOf(view) {
  const shown = view.predictions.flatMap(({ top }) => top.flatMap(({ p, was }) => [p ?? 0, was ?? 0]));
  return Math.max(...shown, Number.MIN_VALUE);
}

/** Return a partition's colour; of R:10 and R:100, or V1 and V2 of a mixture, the same. */
function partitionColour(name) {
  return PARTITIONS[name.match(/^[A-Za-z]*/)[0]] ?? PARTITIONS.other;
}

function partitionsOf(view) {
  const bars = view.predictions.flatMap(({ top }) => top).filter(({ p }) => p !== null); // null: items are only ordered
  return [...new Set(bars.map(({ partition }) => partition))].sort();
}

function modelColumn(app, index) {
  const name = el("h4");
  const head = el("p", { class: "cx-head-name" });
  const gauge = copyGauge();
  const { ordered } = app.base.models[index]; // a sentence where the model gives no probabilities
  const truth = el("p", { class: "cx-truth" });
  const bars = el("ol", { class: "cx-bars" });
  const settled = el("p", { class: "cx-note" });
  const copied = ordered ? el("p", { class: "cx-copy cx-note" }, clip(ordered, 600)) : gauge.node;
  const node = el("article", {}, name, head, copied, truth, bars, settled);

  function makeRow() {
    const row = el(
      "button",
      { type: "button", class: "cx-row", onclick: (event) => selectBy(app, row, event) },
      el("span", { class: "cx-glyph" }),
      el("bdi", { class: "cx-text" }),
      el("span", { class: "cx-partition" }),
      el("span", { class: "cx-moved" }),
      el("span", { class: "cx-p" }),
      el("span", { class: "cx-track" }, el("span", { class: "cx-bar" }), el("span", { class: "cx-was" })),
    );
    return el("li", {}, row);
  }

  function fillRow(item, bar, { barColour, scale }, view, interfering) {
    const row = item.firstChild;
    const [glyph, text, partition, moved, p, track] = row.children;
    const title = app.title(bar.item);
    const { late } = interfering.get(bar.item) ?? {};
    const mark = { true: "△", false: "▲" }[late] ?? "";
    const told = late === undefined ? "" : `, interferes${late ? " with the earlier history" : ""}`;
    setText(glyph, GLYPHS[bar.kind] + mark);
    setText(text, clip(title));
    setText(partition, view.state.colour === "partition" && !ordered ? clip(bar.partition, 20) : "");
    setText(moved, view.state.pinned ? moveOf(bar) : "");
    setText(p, ordered ? integer(bar.place) : percent(bar.p));
    setAttribute(row, "data-code", bar.item);
    const was = bar.was === null ? "" : `, ${percent(bar.was)} at the pin`;
    const kind = `${KIND_LABELS[bar.kind]}${told}`;
    setAttribute(row, "title", clip(`${title}\n${kind}, partition ${bar.partition}${was}`, 600));
    const [fill, outlineAtPin] = track.children;
    setAttribute(fill, "data-item", bar.item);
    setAttribute(fill, "data-p", bar.p);
    track.hidden = Boolean(ordered);
    fill.style.width = `${(100 * (bar.p ?? 0)) / scale}%`;
    fill.style.background = barColour(bar, interfering);
    outlineAtPin.hidden = bar.was === null;
    outlineAtPin.style.width = `${(100 * (bar.was ?? 0)) / scale}%`;
  }

  function render(prediction, view, drawn) {
    setTitle(name, app.base.models[index].name);
    setAttribute(name, "data-letter", app.base.models[index].letter);
    setTitle(head, view.heads[index].name);
    head.hidden = head.textContent === name.textContent;
    gauge.render(prediction, app.base.observed);
    const before = prediction.pinned ? ` (was ${integer(prediction.pinned.rank)})` : "";
    const likely = ordered ? "" : `, ${percent(prediction.target)}`;
    setText(truth, `★ true next: rank ${integer(prediction.rank)}${likely}${before}`);
    const interfering = interferingOf(app, index);
    fillList(bars, prediction.top, makeRow, (item, bar) => fillRow(item, bar, drawn, view, interfering));
    const best = ordered ? "First" : "Most probable";
    setAttribute(bars, "aria-label", clip(`${best} items by ${app.base.models[index].name}`));
    setText(settled, clip(prediction.settled, 600));
  }

  return { node, render };
}

function moveOf(bar) {
  if (bar.moved === null) return "new";
  if (bar.moved === 0) return "=";
  return bar.moved > 0 ? `▲${bar.moved}` : `▼${-bar.moved}`;
}

/** A gauge of the probability of the history's items, with a tick at the observed share of repeats. */
function copyGauge() {
  const fill = el("span", { class: "cx-fill" });
  const was = el("span", { class: "cx-was" });
  const tick = el("span", { class: "cx-tick" });
  const meter = { class: "cx-gauge", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100 };
  const track = el("div", meter, fill, was, tick);
  const said = el("span");
  const observedSaid = el("span", { class: "cx-observed" });
  const node = el("div", { class: "cx-copy" }, said, track, observedSaid);

  function render({ copy, pinned }, observed) {
    const before = pinned ? ` (was ${percent(pinned.copy)})` : "";
    setText(said, `● copy probability ${percent(copy)}${before}`);
    setAttribute(track, "aria-valuenow", (100 * copy).toFixed(1));
    setAttribute(track, "aria-label", `copy probability; observed repeats ${percent(observed)}`);
    fill.style.width = `${100 * copy}%`;
    was.hidden = !pinned;
    was.style.width = `${100 * (pinned?.copy ?? 0)}%`;
    tick.style.left = `${100 * observed}%`;
    setText(observedSaid, `┃ observed repeats ${percent(observed)}`);
  }

  return { node, render };
}
