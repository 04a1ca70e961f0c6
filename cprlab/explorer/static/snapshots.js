// Snapshots of a case's history and settings: what each gives, how its history differs from the one shown, and back.

import { button, clip, el, fillList, integer, percent, setAttribute, setText, setTitle } from "./base.js";

const MOST = 8; // snapshots
const LETTERS = "ABCD"; // of the models, as in the table of cases
const LONGEST = 60; // characters of a name

export function snapshotsView(root, app) {
  const take = button("Take a snapshot", add, { title: "keep this history and these settings, to return to them" });
  const head = el("tr");
  const body = el("tbody");
  const table = el("table", { "aria-label": "Snapshots", hidden: true }, el("thead", {}, head), body);
  root.append(el("div", { class: "cx-controls" }, take), el("div", { class: "cx-scroll" }, table));

  const kept = () => app.draft().kept;

  function add() {
    const { settings } = app.draft();
    const history = app.draft().history ?? app.view.history;
    const used = kept().map(({ name }) => name);
    const number = [...Array(MOST).keys()].find((place) => !used.includes(`Snapshot ${place + 1}`));
    app.set({ kept: [...kept(), { history, settings, name: `Snapshot ${number + 1}` }] });
  }

  function rename(index, name) {
    app.set({ kept: kept().with(index, { ...kept()[index], name: name.slice(0, LONGEST) }) });
  }

  function makeRow(index) {
    const name = el("input", {
      type: "text", maxlength: LONGEST, "aria-label": `Name of snapshot ${index + 1}`,
      onchange: () => rename(index, name.value),
    });
    const back = button("Return", () => {
      const { history, settings } = kept()[index];
      app.set({ history, settings });
    });
    const drop = button("×", () => app.set({ kept: kept().toSpliced(index, 1) }), { class: "cx-plain" });
    const changes = el("ul", { class: "cx-diff", "aria-label": "From its history to the one shown" });
    return el("tr", {}, el("td", {}, name, changes), ...app.base.models.map(() => el("td", { class: "cx-percent" })),
      el("td", {}, el("div", { class: "cx-buttons" }, back, drop)));
  }

  function fillRow(row, { name, history }, index) {
    const cells = [...row.children];
    const [input, changes] = cells[0].children;
    if (app.focused() !== input) input.value = name;
    const outcomes = app.view.kept[index] ?? [];
    cells.slice(1, -1).forEach((cell, place) => {
      const found = outcomes[place];
      const copied = found?.copy === null || found?.copy === undefined ? "" : `${percent(found.copy)}, `;
      setText(cell, found ? `${copied}rank ${integer(found.rank)}` : "–");
    });
    fillList(changes, differences(history, app.view.history), makeRun, fillRun);
    const [back, drop] = cells.at(-1).firstChild.children;
    setAttribute(back, "aria-label", clip(`Return to ${name}`));
    setAttribute(drop, "aria-label", clip(`Remove ${name}`));
  }

  function makeRun() {
    return el("li", {}, el("span", { class: "cx-hidden" }), el("span"));
  }

  function fillRun(node, { kind, items }) {
    const titles = items.map((item) => app.title(item)).join(", ");
    setAttribute(node, "class", `cx-${kind}`);
    setText(node.firstChild, kind === "same" ? "" : `${kind}: `);
    if (kind === "same") setText(node.lastChild, `${integer(items.length)} the same`);
    else setTitle(node.lastChild, titles);
  }

  function render(view) {
    take.disabled = kept().length >= MOST;
    table.hidden = !kept().length;
    const models = app.base.models.map(({ name }, place) => [LETTERS[place], name]);
    const columns = [["its history → the one shown"], ...models, [""]];
    fillList(head, columns, () => el("th", { scope: "col" }), (cell, [label, name]) => {
      setTitle(cell, label);
      if (!name) return;
      setAttribute(cell, "title", clip(name));
      setAttribute(cell, "aria-label", clip(name));
    });
    if (view.state.kept.length === kept().length) fillList(body, kept(), makeRow, fillRow);
  }

  return { onBase: () => body.replaceChildren(), render };
}

/**
 * Return what changes one list of items into another with the fewest removals and insertions (a longest common
 * subsequence): runs {kind: "same" | "removed" | "inserted", items}, in order, removals first.
 */
export function differences(before, after) {
  const longest = Array.from({ length: before.length + 1 }, () => new Uint32Array(after.length + 1));
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      const skipped = Math.max(longest[i + 1][j], longest[i][j + 1]);
      longest[i][j] = before[i] === after[j] ? longest[i + 1][j + 1] + 1 : skipped;
    }
  }
  const runs = [];
  const add = (kind, item) => {
    if (runs.at(-1)?.kind !== kind) runs.push({ kind, items: [] });
    runs.at(-1).items.push(item);
  };
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      add("same", before[i]);
      i += 1;
      j += 1;
    } else if (j === after.length || (i < before.length && longest[i + 1][j] >= longest[i][j + 1])) {
      add("removed", before[i]);
      i += 1;
    } else {
      add("inserted", after[j]);
      j += 1;
    }
  }
  return runs;
}
