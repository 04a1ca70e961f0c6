// A tab for each model: move its hidden state, change the temperature, switch partitions of its head.

import { button, clip, el, labelled, option, setAttribute, setTitle, uniqueId } from "./base.js";

const SLIDERS = [
  { key: "toward", label: "toward the history's mean", min: -1, max: 2 },
  { key: "axes", axis: 0, label: "principal axis 1", min: -2, max: 2 },
  { key: "axes", axis: 1, label: "principal axis 2", min: -2, max: 2 },
  { key: "axes", axis: 2, label: "principal axis 3", min: -2, max: 2 },
  { key: "scale", label: "norm (factor)", min: 0, max: 3 },
  { key: "temperature", label: "temperature", min: 0.1, max: 5, log: true },
];
const AS_GIVEN = { temperature: 1, toward: 0, axes: [0, 0, 0], scale: 1, best: false };

export function statesView(root, app) {
  let panels = [];
  let current = 0;
  const tabs = el("div", { class: "cx-tabs", role: "tablist", "aria-label": "Models", onkeydown: onKey });
  const body = el("div");
  root.append(tabs, body);

  function show(index) {
    current = index;
    [...tabs.children].forEach((tab, other) => {
      setAttribute(tab, "aria-selected", String(other === index));
      tab.tabIndex = other === index ? 0 : -1;
      panels[other].node.hidden = other !== index;
    });
  }

  function onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show((current + step + panels.length) % panels.length);
    tabs.children[current].focus();
  }

  return {
    onBase(base) {
      panels = base.models.map((model, index) => modelPanel(app, base, index));
      tabs.replaceChildren(
        ...base.models.map((model, index) => {
          const { id } = panels[index].node;
          const attributes = { role: "tab", id: `${id}-tab`, "aria-controls": id };
          const tab = button(clip(model.name, 60), () => show(index), attributes);
          setAttribute(tab, "title", clip(model.name));
          setAttribute(panels[index].node, "aria-labelledby", tab.id);
          return tab;
        }),
      );
      body.replaceChildren(...panels.map((panel) => panel.node));
      show(Math.min(current, panels.length - 1));
    },
    render: (view) => panels.forEach((panel, index) => panel.render(app.draft().settings[index], view.heads[index])),
  };
}

function modelPanel(app, base, index) {
  const name = el("p", { class: "cx-head-name" });
  const best = el("input", { type: "checkbox", onchange: () => change({ best: best.checked }) });
  const sliders = SLIDERS.map((spec) => slider(spec, (value, live) => change(patchOf(spec, value), live)));
  const reset = button("Reset the state", () => change(AS_GIVEN));
  const resetHead = button("Reset the head", () => change({ head: "" }));
  const partitions = partitionControls(app, base, index, resetHead);
  const { stateless } = base.models[index]; // a sentence where the model has no hidden state
  const moves = [
    ...sliders.map((one) => one.node),
    el(
      "div",
      { class: "cx-buttons" },
      el("label", { class: "cx-check" }, best, "state that best copies with the model's own preferences"),
      reset,
    ),
  ];
  const node = el(
    "div",
    { role: "tabpanel", id: uniqueId("panel") },
    name,
    el(
      "fieldset",
      {},
      el("legend", {}, "Hidden state"),
      ...(stateless ? [el("p", { class: "cx-note" }, clip(`${stateless} So there is nothing to move.`, 600))] : moves),
    ),
    partitions.node,
  );

  function settings() {
    return app.draft().settings[index];
  }

  function patchOf({ key, axis }, value) {
    return { [key]: key === "axes" ? settings().axes.with(axis, value) : value };
  }

  function change(patch, live = false) {
    app.set({ settings: app.draft().settings.with(index, { ...settings(), ...patch }) }, { live });
  }

  function render(setting, head) {
    setTitle(name, `Head: ${head.name}`);
    best.checked = setting.best;
    resetHead.disabled = !setting.head;
    SLIDERS.forEach(({ key, axis }, one) => sliders[one].show(key === "axes" ? setting.axes[axis] : setting[key]));
    partitions.render(head);
  }

  return { node, render };
}

/** A range and a number with one label; `changed(value, live)` is called during and after a move. */
function slider({ label, min, max, log }, changed) {
  const toRange = (value) => (log ? Math.log10(value) : value);
  const fromRange = (text) => (log ? Number((10 ** Number(text)).toPrecision(3)) : Number(text));
  const range = el("input", {
    type: "range",
    "aria-label": label,
    min: toRange(min),
    max: toRange(max),
    step: "any",
    oninput: () => fromSlider(true),
    onchange: () => fromSlider(false),
    onkeydown: step,
  });
  const number = el("input", {
    type: "number", "aria-label": `${label}, number`, min, max, step: "any", onchange: typed,
  });
  const node = el("div", { class: "cx-slider" }, el("span", {}, label), range, number);

  function fromSlider(live) {
    const value = Number(fromRange(range.value).toFixed(3));
    show(value);
    changed(value, live);
  }

  function step(event) {
    const sign = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!sign) return;
    event.preventDefault();
    range.value = Number(range.value) + (sign * (range.max - range.min)) / 60;
    fromSlider(false);
  }

  function typed() {
    if (number.value === "") return;
    const value = Math.min(max, Math.max(min, Number(number.value)));
    show(value);
    changed(value, false);
  }

  function show(value) {
    range.value = toRange(value);
    number.value = Number(value.toFixed(3));
    setAttribute(range, "aria-valuetext", number.value);
  }

  return { node, show };
}

function partitionControls(app, base, index, resetHead) {
  const model = base.models[index];
  const { options } = model;
  const send = (value) => app.command("head", { model: index, ...value });
  const has = (key) => key === "post" || (key === "R" ? options.R.length > 0 : options[key]);
  const parts = base.parts.filter(({ key }) => key === "post" || !model.stateless);
  const boxes = parts.map(({ key, label, sentence }) => {
    const why = has(key) ? sentence : clip(`${model.trained} was trained without ${key}`);
    const box = el("input", { type: "checkbox", disabled: !has(key), "aria-label": `${key}: ${label}` });
    box.addEventListener("change", () => send({ [key]: key === "R" ? (box.checked ? options.R : []) : box.checked }));
    return { key, box, node: el("label", { class: "cx-check", title: why }, box, `${key} – ${label}`) };
  });
  const sizes = options.R.map((_, place) => {
    const input = el("input", { type: "number", min: 1, step: 1, onchange: () => resize(place, Number(input.value)) });
    return { input, node: labelled(`k of reranker ${place + 1}`, input) };
  });
  const merges = [
    ["context_merge", "merge of C and P", options.merges],
    ["rerank_merge", "merge of R", options.rerankMerges],
  ]
    .filter(([, , names]) => names.length)
    .map(([key, label, names]) => {
      const choices = names.map((one) => option(one));
      const select = el("select", { onchange: () => send({ [key]: select.value }) }, ...choices);
      return { key, select, node: labelled(label, select) };
    });
  let present = options.R;

  function resize(place, k) {
    if (Number.isInteger(k) && k > 0) send({ R: present.with(place, k) });
  }

  function render(head) {
    for (const { key, box } of boxes) box.checked = key === "R" ? head.R.length > 0 : head[key];
    present = head.R.length === options.R.length ? head.R : options.R;
    sizes.forEach(({ input }, place) => {
      input.value = present[place];
      input.disabled = !head.R.length;
    });
    for (const { key, select } of merges) select.value = head[key];
  }

  const node = el(
    "fieldset",
    {},
    el("legend", {}, "Partitions of the head"),
    ...boxes.map((box) => box.node),
    el("div", { class: "cx-controls" }, ...sizes.map((size) => size.node), ...merges.map((merge) => merge.node)),
    el("div", { class: "cx-buttons" }, resetHead),
  );
  return { node, render };
}
