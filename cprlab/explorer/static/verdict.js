// The verdict on the history: a sentence, a table, and for each model the items that interfere where it best copies.

import { button, clip, el, fillList, outline, percent, selectBy, setAttribute, setText, setTitle } from "./base.js";

export function verdictView(root, app) {
  let verdict = null;
  const sentence = el("p", { class: "cx-sentence" }, "…");
  const head = el("tr");
  const body = el("tbody");
  const table = el("table", { "aria-label": "Losses and certificates", hidden: true }, el("thead", {}, head), body);
  const interfering = el("div", { class: "cx-interfering" });
  root.append(sentence, el("div", { class: "cx-scroll" }, table), interfering);

  function makeModel() {
    return el("div", {}, el("h4"), el("ul", { "aria-label": "Items that interfere" }));
  }

  function makeItem() {
    const item = button("", (event) => selectBy(app, item, event), { class: "cx-chip" });
    return el("li", {}, item);
  }

  function fillModel(part, { model, items }) {
    setTitle(part.firstChild, `Where one state of ${clip(model, 60)} best copies, these take most of the rest`);
    fillList(part.lastChild, items, makeItem, (item, { item: code, title, takes }) => {
      setTitle(item.firstChild, `${percent(takes)} ${title}`);
      setAttribute(item.firstChild, "data-code", code);
    });
  }

  function onVerdict(message) {
    verdict = message;
    fillList(head, message.columns, () => el("th", { scope: "col" }), (cell, label) => setTitle(cell, label));
    fillList(body, message.rows, () => el("tr"), (row, texts) => {
      fillList(row, texts, () => el("td"), (cell, text) => setTitle(cell, text));
    });
    fillList(interfering, message.interfering, makeModel, fillModel);
    table.hidden = !message.rows.length;
    render(app.view);
    outline(root, app.draft().selection);
  }

  function render(view) {
    const late = verdict?.id !== view.id;
    setAttribute(root, "aria-busy", String(late));
    setText(sentence, late ? "…" : clip(verdict.sentence, 2000));
  }

  return { render, onVerdict, onSelect: (selection) => outline(root, selection) };
}
