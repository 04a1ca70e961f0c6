// The verdict: what each model gives the history, at once, and what a single state could do for it, once it is known.

import {
  button, clip, el, fillList, integer, outline, percent, selectBy, setAttribute, setText, setTitle,
} from "./base.js";

const HEARD_AFTER = 1000; // ms without a change, after which a screen reader says the verdict
const COPY = { key: 0, lost: "lost where it should copy", can: "a state can rank all of them above the rest" };
const EXCLUDE = { key: 1, lost: "lost where it should exclude", can: "a state can rank all of them below the rest" };
const NOTE =
  "Losses are divergences from what is wanted: all probability on the history where the next item is in it, none " +
  "where it is new, divided as the trained model divides it. 1 nat is a factor of 2.7 in probability. In reach are the " +
  "states no longer than 99% of the model's own.";

/** Return whether a verdict is of another history of the case than the view's; null if it is of another case. */
function isLate(verdict, view) {
  if (verdict?.case !== view.state.case) return null;
  return String(verdict.history) !== String(view.history);
}

/** Return what interferes where a model best copies: by code, whether this is of an earlier history of the case. */
export function interferingOf({ judged, view, base }, index) {
  const late = isLate(judged, view);
  const { items = [] } = judged?.interfering.find(({ model }) => model === base.models[index].name) ?? {};
  return new Map(late === null ? [] : items.map((one) => [one.item, { ...one, late }]));
}

export function verdictView(root, app) {
  let timer = null;
  const said = el("div", { class: "cx-sentences" });
  const note = el("p", { class: "cx-note" });
  const heard = el("p", { class: "cx-heard", "aria-live": "polite" });
  const [main, other] = [table("Losses and certificates"), table("The other losses and certificates")];
  const folded = el("summary");
  const numbers = el("details", {}, el("summary", {}, "In numbers"), main, el("p", { class: "cx-note" }, NOTE),
    el("details", {}, folded, other));
  root.append(said, note, numbers, heard);

  function table(label) {
    return el("table", { "aria-label": label }, el("thead", {}, el("tr")), el("tbody"));
  }

  function makeModel() {
    return el("div", {},
      el("p", { class: "cx-sentence" }, el("strong"), " ", el("span"), " ", el("span", { class: "cx-possible" })),
      el("p", { class: "cx-interfering" }, el("span"), el("span", { role: "list" })),
    );
  }

  function makeItem() {
    const item = button("", (event) => selectBy(app, item, event), { class: "cx-chip" });
    return el("span", { role: "listitem" }, item);
  }

  function fillModel(node, { given, repeat }, index) {
    const [sentence, interfering] = node.children;
    const [name, now, could] = sentence.children;
    const late = isLate(app.judged, app.view) !== false;
    const alone = !app.base.remedies.some(([part]) => app.view.heads[index][part]); // one state scores the history
    const items = repeat && alone ? [...interferingOf(app, index).values()] : [];
    setTitle(name, clip(app.base.models[index].name, 60));
    setText(now, given);
    const { stateless } = app.base.models[index];
    setText(could, late ? "" : app.judged.models[index]?.possible ?? clip(stateless, 300));
    interfering.hidden = !items.length;
    setAttribute(interfering, "aria-busy", String(late));
    interfering.classList.toggle("cx-late", late);
    setText(interfering.firstChild, late
      ? "Of the earlier history, these came before some at the best state in reach: "
      : "At the best state in reach, these still come before some of them: ");
    fillList(interfering.lastChild, items, makeItem, (item, { item: code, title, takes, rank }) => {
      setText(item.firstChild, `▲ ${clip(title, 60)} (${integer(rank)})`);
      const told = `rank ${integer(rank)} as shown; takes ${percent(takes)} there`;
      setAttribute(item.firstChild, "title", `${clip(title)}\n${told}`);
      setAttribute(item.firstChild, "data-code", code);
    });
  }

  function fillTable(node, { key, lost, can }) {
    const known = isLate(app.judged, app.view) === false;
    const nats = (value, ordered) => (ordered ? "–" : value === null ? "∞" : `${value.toFixed(2)} nats`);
    const columns = ["model", "P(history)", lost, "least of any single state in reach", can];
    const rows = app.view.predictions.map((one, index) => {
      const { name, ordered } = app.base.models[index];
      const verdict = known ? app.judged.models[index] : null;
      const least = verdict ? nats(verdict.least[key]) : "–";
      return [name, percent(one.copy), nats(one.lost[key], ordered), least, verdict?.can[key] ?? "–"];
    });
    fillList(node.tHead.rows[0], columns, () => el("th", { scope: "col" }), setTitle);
    fillList(node.tBodies[0], rows, () => el("tr"), (row, texts) => {
      fillList(row, texts, () => el("td"), setTitle);
    });
  }

  function render(view) {
    const repeat = view.predictions.some((one) => one.repeat);
    const late = isLate(app.judged, view) !== false;
    const why = late && isLate(app.unjudged, view) === false ? app.unjudged.note : "";
    const waits = view.history.length && late && !why;
    fillList(said, view.history.length ? view.predictions : [], makeModel, fillModel);
    setText(note, waits ? "What a single state could do is being computed…" : why);
    numbers.hidden = !view.history.length;
    fillTable(main, repeat ? COPY : EXCLUDE);
    fillTable(other, repeat ? EXCLUDE : COPY);
    setText(folded, repeat ? "If the next item were new" : "If the next item were in the history");
    setAttribute(root, "aria-busy", String(Boolean(waits)));
    outline(root, app.draft().selection);
    clearTimeout(timer);
    if (!waits) timer = setTimeout(speak, HEARD_AFTER);
  }

  function speak() {
    const sentences = [...said.children].map((one) => one.firstChild.textContent.trim());
    setText(heard, clip([...sentences, note.textContent].join(" "), 2000));
  }

  return {
    render,
    onVerdict: () => render(app.view),
    onSelect: (selection) => outline(root, selection),
    dispose: () => clearTimeout(timer),
  };
}
