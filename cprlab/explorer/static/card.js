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
    return el("li", {}, el("span"), el("span", { class: "cx-near" }));
  }

  function makeItem() {
    const item = button("", (event) => selectBy(app, item, event), { class: "cx-chip" });
    return item;
  }

  function fillModel(part, { rank, p, logit, near }, index) {
    const { name: model, ordered } = app.base.models[index];
    const scored = [...(ordered ? [] : [percent(p)]), ...(logit === null ? [] : [`logit ${logit.toFixed(2)}`])];
    const nearest = near.length ? " Nearest: " : "";
    setText(part.firstChild, `${[`${clip(model, 60)}: rank ${integer(rank)}`, ...scored].join(", ")}.${nearest}`);
    fillList(part.lastChild, near, makeItem, (item, { item: code, cosine }) => {
      setTitle(item, `${app.title(code)} ${cosine.toFixed(2)}`);
      setAttribute(item, "data-code", code);
    });
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
