// The cases of the query together: means by model, and what one edit of all their histories changes.

import { clip, el, fillList, integer, labelled, option, percent, setAttribute, setText } from "./base.js";

const decimals = (value) => value.toFixed(3);
const share = { format: (value) => percent(value, 1), change: (value) => (100 * value).toFixed(1) }; // in points
const ROWS = [ // in the order of cohort.py's metrics
  { label: "NDCG@10", format: decimals, change: decimals,
    meaning: "mean of 1 / log2(1 + rank of the next item), 0 below rank 10" },
  { label: "P(history)", ...share, meaning: "mean probability of the history's items; its changes are in points" },
  { label: "truth", ...share,
    meaning: "share of the next items that are in the history: what P(history) should be" },
  { label: "loss", format: decimals, change: decimals,
    meaning: "mean of −log of the next item's probability, in nats" },
];

export function cohortView(root, app) {
  const edit = el("select", { onchange: () => app.set({ edit: edit.value }) });
  const head = el("tr");
  const body = el("tbody");
  const table = el("table", { "aria-label": "These cases together" }, el("thead", {}, head), body);
  const progress = el("progress", { "aria-label": "predictions", hidden: true });
  const note = el("p", { class: "cx-note" });
  root.append(
    el("div", { class: "cx-controls" }, labelled("Edit all these histories", edit)),
    el("div", { class: "cx-scroll" }, table),
    progress,
    note,
  );

  function makeCell() {
    return el("td", {}, el("span"), el("small"), el("small"));
  }

  function fillCell(node, cell, { format, change }) {
    const [said, changed, range] = node.children;
    const edited = cell && cell.after !== null;
    const shown = edited ? (value) => signed(value, change) : format;
    setText(said, cell ? [cell.value, cell.after].slice(0, edited ? 2 : 1).map(format).join(" → ") : "–");
    setText(changed, edited ? shown(cell.change) : "");
    setText(range, cell && cell.low !== null ? `[${shown(cell.low)}, ${shown(cell.high)}]` : "");
  }

  function onCohort(message) {
    setAttribute(root, "aria-busy", String(Boolean(message.pending)));
    progress.hidden = !message.pending;
    if (message.pending) {
      setAttribute(progress, "max", message.total || 1);
      setAttribute(progress, "value", message.total ? message.done : null);
      return;
    }
    if (message.refused) {
      body.replaceChildren();
      setText(note, clip(message.refused, 600));
      return;
    }
    fillList(body, message.cells, (index) => {
      const { label, meaning } = ROWS[index];
      return el("tr", {}, el("th", { scope: "row", title: meaning }, label));
    }, (row, cells, index) => {
      while (row.children.length > cells.length + 1) row.lastElementChild.remove();
      while (row.children.length < cells.length + 1) row.append(makeCell());
      cells.forEach((cell, place) => fillCell(row.children[place + 1], cell, ROWS[index]));
    });
    setText(note, noteOf(message));
  }

  function noteOf({ cases, users, changed, left_out: left, edit: name, moved }) {
    if (!cases) return left ? "The edit leaves nothing of these histories." : "No case matches.";
    const counted = users === cases ? `${integer(cases)} cases` : `${integer(cases)} cases of ${integer(users)} users`;
    const said = [`Means over ${counted}${users === cases ? "" : ", who count equally"}.`];
    if (users >= app.base.few) said.push(`In brackets: 95% bootstrap intervals${name ? " of the paired change" : ""}.`);
    else said.push("These are too few users for intervals.");
    if (name) said.push(`The edit changes ${integer(changed)} of the histories.`);
    if (left) said.push(`${integer(left)} cases of which it leaves nothing are left out.`);
    if (moved) said.push("The models are as they are set, not as they were trained.");
    return said.join(" ");
  }

  return {
    onBase(base) {
      edit.replaceChildren(option("", "none"), ...base.edits.map((name) => option(name)));
      fillList(head, [{ letter: "", name: "" }, ...base.models], () => el("th", { scope: "col" }),
        (cell, { letter, name }) => {
          setText(cell, letter);
          setAttribute(cell, "title", clip(name));
        });
      body.replaceChildren();
    },
    onCohort,
    render: () => (edit.value = app.draft().edit),
  };
}

/** Return a change with its sign, none if it is rounded to 0. */
function signed(value, format) {
  const text = format(Math.abs(value));
  return /[1-9]/.test(text) ? `${value < 0 ? "−" : "+"}${text}` : text;
}
