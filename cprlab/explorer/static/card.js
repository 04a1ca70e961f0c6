// The item card: what each model gives the one item that is selected, and which items are nearest to it.

import { button, clip, el, fillList, integer, percent, selectBy, setAttribute, setText, setTitle } from "./base.js";

export function itemCard(app) {
  let asked = ""; // the item and the act that it was asked for
  const name = el("h4");
  const count = el("span", { class: "cx-note" });
  const models = el("ul", { "aria-label": "What the models give it" });
  const node = el("div", { class: "cx-card", role: "region", "aria-label": "Selected item", hidden: true },
    name, count, models);

  function makeModel() {
    return el("li", {}, el("span"), el("span", { class: "cx-near" }), el("span", { class: "cx-softmaxes" }));
  }

  function makeItem() {
    const item = button("", (event) => selectBy(app, item, event), { class: "cx-chip" });
    return item;
  }

  function fillModel(part, { rank, p, logit, near, softmaxes }, index) {
    const { name: model, ordered } = app.base.models[index];
    const scored = [...(ordered ? [] : [percent(p)]), ...(logit === null ? [] : [`logit ${logit.toFixed(2)}`])];
    const nearest = near.length ? " Nearest: " : "";
    setText(part.firstChild, `${[`${clip(model, 60)}: rank ${integer(rank)}`, ...scored].join(", ")}.${nearest}`);
    fillList(part.children[1], near, makeItem, (item, { item: code, cosine }) => {
      setTitle(item, `${app.title(code)} ${cosine.toFixed(2)}`);
      setAttribute(item, "data-code", code);
    });
    fillList(part.lastChild, softmaxes, () => el("span", {}), (node, { weight, steps }) => {
      const of = weight === null ? "" : ` of weight ${percent(weight)}`;
      const whole = softmaxes.length === 1 ? "Logit" : `Softmax${of}`;
      const told = steps.filter(({ change }, place) => change !== 0 || place === 0).map(stepInWords);
      setText(node, `${whole}: ${told.join("; ")}.`);
    });
  }

  function stepInWords({ name, change, logit, rank }, place) {
    const label = app.base.parts.find(({ key }) => key === name.split(":")[0])?.label;
    const number = (value) => (value === null ? "−∞" : value.toFixed(2).replace("-", "−"));
    const added = change === null || change < 0 ? number(change) : `+${number(change)}`;
    const given = place ? `${added} to ${number(logit)}` : number(logit);
    return `${label ? `${name} (${label})` : name} ${given}, rank ${integer(rank)}`;
  }

  function render(view) {
    const { selection } = view.state;
    node.hidden = selection.length !== 1 || !view.history.length;
    const key = `${view.id} ${selection}`;
    if (node.hidden || key === asked) return;
    asked = key;
    app.ask("item", selection[0]);
  }

  function onAnswer({ kind, value }) {
    if (kind !== "item" || app.view.state.selection[0] !== value.item) return;
    setTitle(name, app.title(value.item));
    setText(count, `in ${integer(value.count)} of ${integer(value.cases)} histories`);
    fillList(models, value.models, makeModel, fillModel);
  }

  return { node, render, onAnswer };
}
