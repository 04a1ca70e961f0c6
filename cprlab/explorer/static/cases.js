// The table of cases: presets, search, sortable columns, pages; all views show the case of the chosen row.

import {
  button, clip, el, fillList, formatCell, integer, labelled, option, setAttribute, setText, setTitle,
} from "./base.js";

const SEARCH_DELAY = 150; // ms without a key before a search is sent
const DIRECTIONS = { text: ["from A to Z", "from Z to A"], flag: ["no first", "yes first"] };
const BY_SIZE = ["smallest first", "largest first"];

export function casesView(root, app) {
  let cases = null;
  let timer = null;
  let uncopyable = "";
  let sortShown = ""; // the column that was last scrolled to

  const preset = el("select", { onchange: choosePreset });
  const search = el("input", { type: "search", placeholder: "user or item title", oninput: searchSoon });
  const reach = el("input", {
    type: "text", placeholder: "case or user", title: "a case's number, or a user's whole id (7, user 7); Enter",
    onkeydown: (event) => event.key === "Enter" && app.command("go", reach.value),
  });
  const letters = el("ul", { class: "cx-letters", "aria-label": "Models of the letters" });
  const having = button("", toggleItems);
  const previous = button("‹", () => turn(-1));
  const next = button("›", () => turn(1));
  const count = el("p", { class: "cx-count" });
  const note = el("p", { class: "cx-note" });
  const head = el("tr");
  const body = el("tbody", { onclick: choose, onkeydown: walk });
  const table = el("table", { role: "grid", "aria-label": "Cases" }, el("thead", {}, head), body);
  root.append(
    el("div", { class: "cx-controls" }, labelled("Preset", preset)),
    el("div", { class: "cx-controls" }, labelled("Search", search), labelled("Go to", reach, { class: "cx-go" })),
    having,
    letters,
    el("div", { class: "cx-scroll" }, table),
    el("div", { class: "cx-pages" }, previous, count, next),
    note,
  );

  function query(patch) {
    app.set({ query: { ...app.draft().query, page: 0, ...patch } });
  }

  function turn(step) {
    query({ page: cases.start / cases.size + step });
  }

  function toggleItems() {
    query({ items: app.draft().query.items.length ? [] : app.draft().selection });
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
      setText(cell.firstChild, clip(column.label));
      setAttribute(cell.firstChild, "title", clip(`${column.label}: ${column.meaning}`, 600));
      cell.firstChild.dataset.key = column.key;
    });
    fillList(body, cases.rows, () => el("tr"), (row, values) => {
      fillList(row, values, () => el("td"), (cell, value, index) => {
        const { format } = cases.columns[index];
        setTitle(cell, formatCell(value, format));
        setAttribute(cell, "class", `cx-${format}`);
      });
    });
    const { start, size, rows, found, total } = cases;
    const among = found < total ? ` found among ${integer(total)}` : "";
    const range = rows.length ? `${integer(start + 1)}–${integer(start + rows.length)} of ` : "";
    setText(count, `${range}${integer(found)}${among} cases${sortedBy()}`);
    for (const [turner, word, there] of [[previous, "Previous", start > 0], [next, "Next", start + size < found]]) {
      turner.disabled = !there;
      setAttribute(turner, "aria-label", `${word} ${size}`);
      setAttribute(turner, "title", `${word} ${size}`);
    }
    setTitle(note, cases.note);
    mark();
  }

  function sortedBy() {
    const asked = app.draft().query;
    const column = cases.columns.find(({ key }) => key === asked.sort);
    if (!column) return "";
    return ` by ${column.label}, ${(DIRECTIONS[column.format] ?? BY_SIZE)[Number(asked.descending)]}`;
  }

  /** Scroll the column that the table is sorted by into view, without a scroll of the page. */
  function showSorted() {
    const sorted = head.querySelector("[aria-sort$='scending']");
    const box = table.parentElement;
    if (!sorted || sorted.firstChild.dataset.key === sortShown || !box.clientWidth) return;
    sortShown = sorted.firstChild.dataset.key;
    const right = sorted.offsetLeft + sorted.offsetWidth;
    if (sorted !== head.firstChild) box.scrollLeft = Math.max(0, right - box.clientWidth);
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
    showSorted();
  }

  function drawItems() {
    const { selection, query: { items } } = app.draft();
    having.hidden = !selection.length && !items.length;
    setAttribute(having, "aria-pressed", String(items.length > 0));
    const named = ([code, ...others]) => {
      return others.length ? `one of ${integer(others.length + 1)} items` : clip(app.title(code), 40);
    };
    setTitle(having, items.length ? `Cases with ${named(items)} ×` : `Only cases with ${named(selection)}`);
    setAttribute(having, "aria-label", items.length ? "Show all cases again" : null);
    having.title = `${having.textContent}: in the history, or as the next item`;
  }

  return {
    onBase(base) {
      preset.replaceChildren(...base.presets.map((name) => option(name)));
      uncopyable = base.uncopyable;
      fillList(letters, base.models, () => el("li", {}, el("b"), el("span")), (item, { letter, name }) => {
        setText(item.firstChild, letter);
        setTitle(item.lastChild, name);
      });
    },
    onCases,
    render() {
      const asked = app.draft().query;
      preset.value = asked.preset;
      if (app.focused() !== search) search.value = asked.search;
      drawItems();
      mark();
    },
    onSelect: drawItems,
    dispose: () => clearTimeout(timer),
  };
}
