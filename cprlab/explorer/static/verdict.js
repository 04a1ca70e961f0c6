// The certificates of the history: a sentence, a table, and the items that can never be separated.

import { button, clip, el, fillList, outline, selectBy, setAttribute, setText, setTitle } from "./base.js";

export function verdictView(root, app) {
  let verdict = null;
  const sentence = el("p", { class: "cx-sentence" }, "…");
  const head = el("tr");
  const body = el("tbody");
  const table = el("table", { "aria-label": "Certificates", hidden: true }, el("thead", {}, head), body);
  const never = el("ul", { class: "cx-never", "aria-label": "Items that can never be separated" });
  const neverTitle = el("h4", { hidden: true }, "Can never be separated");
  root.append(sentence, el("div", { class: "cx-scroll" }, table), neverTitle, never);

  function makeItem() {
    const item = button("", (event) => selectBy(app, item, event), { class: "cx-chip" });
    return el("li", {}, item);
  }

  function onVerdict(message) {
    verdict = message;
    fillList(head, message.columns, () => el("th", { scope: "col" }), (cell, label) => setTitle(cell, label));
    fillList(body, message.rows, () => el("tr"), (row, texts) => {
      fillList(row, texts, () => el("td"), (cell, text) => setTitle(cell, text));
    });
    fillList(never, message.never, makeItem, (item, { item: code, title }) => {
      setTitle(item.firstChild, title);
      setAttribute(item.firstChild, "data-code", code);
    });
    table.hidden = !message.rows.length;
    neverTitle.hidden = !message.never.length;
    render(app.view);
    outline(root, app.draft().selection);
  }

  function render(view) {
    const late = verdict?.id !== view.id;
    setAttribute(root, "aria-busy", String(late));
    setText(sentence, late ? "…" : clip(verdict.sentence, 1000));
  }

  return { render, onVerdict, onSelect: (selection) => outline(root, selection) };
}
