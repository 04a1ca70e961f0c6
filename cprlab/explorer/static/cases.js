// The table of cases: presets, search, sortable columns; all views show the case of the chosen row.

import {
  button, el, fillList, formatCell, integer, labelled, option, setAttribute, setText, setTitle,
} from "./base.js";

const SEARCH_DELAY = 150; // ms without a key before a search is sent

export function casesView(root, app) {
  let cases = null;
  let timer = null;
  let uncopyable = "";

  const preset = el("select", { onchange: choosePreset });
  const search = el("input", { type: "search", placeholder: "user or item title", oninput: searchSoon });
  const count = el("p", { class: "cx-count" });
  const note = el("p", { class: "cx-note" });
  const head = el("tr");
  const body = el("tbody", { onclick: choose, onkeydown: walk });
  const table = el("table", { role: "grid", "aria-label": "Cases" }, el("thead", {}, head), body);
  root.append(
    el("div", { class: "cx-controls" }, labelled("Preset", preset), labelled("Search", search)),
    el("div", { class: "cx-scroll" }, table),
    count,
    note,
  );

  function query(patch) {
    app.set({ query: { ...app.draft().query, ...patch } });
  }

  function choosePreset() {
    const worst = preset.value === uncopyable ? { sort: "least", descending: true } : {}; // nearly all cannot be copied
    query({ preset: preset.value, ...worst });
  }

  function searchSoon() {
    clearTimeout(timer);
    timer = setTimeout(() => query({ search: search.value }), SEARCH_DELAY);
  }

  function sortBy(key) {
    const { sort, descending } = app.draft().query;
    query({ sort: key, descending: sort === key ? !descending : false });
  }

  function choose(event) {
    const row = event.target.closest("tr");
    if (row) app.set({ case: caseOf(row), history: null });
  }

  function walk(event) {
    const row = event.target.closest("tr");
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (next) rove(next);
    if (event.key === "Enter" || event.key === " ") choose(event);
    if (/^(Arrow(Up|Down)|Enter| )$/.test(event.key)) event.preventDefault();
  }

  function rove(row) {
    for (const other of body.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  }

  function caseOf(row) {
    const index = cases.columns.findIndex((column) => column.key === "case");
    return cases.rows[row.sectionRowIndex][index];
  }

  function headerCell() {
    return el("th", { scope: "col" }, button("", (event) => sortBy(event.currentTarget.dataset.key)));
  }

  function onCases(message) {
    cases = message;
    fillList(head, cases.columns, headerCell, (cell, column) => {
      setTitle(cell.firstChild, column.label);
      cell.firstChild.dataset.key = column.key;
    });
    fillList(body, cases.rows, () => el("tr"), (row, values) => {
      fillList(row, values, () => el("td"), (cell, value, index) => {
        const { format } = cases.columns[index];
        setTitle(cell, formatCell(value, format));
        setAttribute(cell, "class", `cx-${format}`);
      });
    });
    const { shown, found, total } = cases;
    const among = found < total ? ` found among ${integer(total)}` : "";
    setText(count, `${integer(shown)} of ${integer(found)}${among} cases`);
    setTitle(note, cases.note);
    mark();
  }

  function mark() {
    if (!cases || !app.view) return;
    const { case: chosen, query: asked } = app.draft();
    for (const cell of head.children) {
      const sorted = cell.firstChild.dataset.key === asked.sort;
      setAttribute(cell, "aria-sort", sorted ? (asked.descending ? "descending" : "ascending") : "none");
    }
    const rows = [...body.rows];
    const current = rows.find((row) => caseOf(row) === chosen);
    const entry = rows.find((row) => row === app.focused()) ?? current ?? rows[0];
    for (const row of rows) {
      setAttribute(row, "aria-selected", String(row === current));
      setAttribute(row, "tabindex", row === entry ? 0 : -1);
    }
  }

  return {
    onBase(base) {
      preset.replaceChildren(...base.presets.map((name) => option(name)));
      uncopyable = base.uncopyable;
    },
    onCases,
    render() {
      const asked = app.draft().query;
      preset.value = asked.preset;
      if (app.focused() !== search) search.value = asked.search;
      mark();
    },
    dispose: () => clearTimeout(timer),
  };
}
