// The history as chips with titles, oldest first: move, remove and insert by keyboard and mouse, undo and redo.

import {
  button, clip, el, fillList, labelled, outline, selectBy, setAttribute, setText, setTitle, uniqueId,
} from "./base.js";
import { historyTints } from "./tints.js";

const KEYS = "←/→ go, Alt+←/→ move, Delete removes, + inserts before, Enter selects";
const FOUND = 50; // maximum number of titles that the search for an item shows

export function historyView(root, app) {
  let place = 0; // index of the one chip in the tab order
  let dragged = null;
  let ofCase = null;
  let waiting = []; // edits made before the kernel sends the history that they change

  const list = el("ol", { class: "cx-chips", "aria-label": "History, oldest first", onkeydown: onKey });
  const target = el("button", { type: "button", class: "cx-chip", onclick: (event) => selectBy(app, target, event) });
  const targetNote = el("span", { class: "cx-note" });
  const targetLine = el("p", { class: "cx-target" }, el("span", {}, "★ true next:"), target, targetNote);
  const note = el("p", { class: "cx-note cx-case-note" });
  const undo = button("Undo", () => app.command("undo"), { title: "Ctrl+Z" });
  const redo = button("Redo", () => app.command("redo"), { title: "Ctrl+Shift+Z" });
  const reset = button("Reset", () => app.set({ history: null }), { title: "return to the case's own history" });
  const tints = historyTints(app, drawChips);
  const clear = button("Clear", () => edit(() => [], 0), { title: "remove all items" });
  const at = el("input", {
    type: "number", min: 1, placeholder: "end", title: "place of the inserted item; empty for the end",
  });
  const insert = itemBox(app, insertItem);
  root.append(
    el("div", { class: "cx-controls" }, insert.node, labelled("at", at, { class: "cx-at" }),
      el("div", { class: "cx-buttons" }, undo, redo, reset, clear)),
    list,
    tints.node,
    targetLine,
    note,
  );
  list.addEventListener("dragover", (event) => dragged !== null && event.preventDefault());
  list.addEventListener("drop", drop);

  function items() {
    return app.draft().history ?? app.view.history;
  }

  function edit(change, then) {
    if (app.unsettled()) {
      waiting.push([change, then]);
      return;
    }
    const edited = change(items());
    place = Math.max(0, Math.min(then, edited.length - 1));
    app.set({ history: edited });
    drawChips();
  }

  function insertItem(code) {
    const to = at.value === "" ? Infinity : Math.max(1, Math.min(Math.trunc(Number(at.value)), items().length + 1));
    edit((codes) => codes.toSpliced(to - 1, 0, code), to - 1);
    if (at.value !== "") at.value = to + 1; // the next one comes after it
  }

  function remove(index) {
    if (!app.unsettled()) list.children[index].remove(); // the chips after it keep their texts
    edit((codes) => codes.filter((_, other) => other !== index), index);
    focusChip({ preventScroll: true }); // the next chip is now in its place
  }

  function move(from, to) {
    if (to < 0 || to >= items().length || from === to) return;
    edit((codes) => {
      const moved = codes.toSpliced(from, 1);
      return moved.toSpliced(to, 0, codes[from]);
    }, to);
    focusChip();
  }

  function focusChip(options) {
    const chip = list.children[place]?.firstChild ?? insert.input;
    if (chip !== app.focused()) chip.focus(options);
  }

  function onKey(event) {
    const index = [...list.children].indexOf(event.target.closest("li"));
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && (event.altKey || event.shiftKey)) move(index, index + step);
    else if (step) rove(index + step);
    else if (event.key === "Home") rove(0);
    else if (event.key === "End") rove(list.children.length - 1);
    else if (event.key === "Delete" || event.key === "Backspace") remove(index);
    else if (event.key === "Insert" || event.key === "+") insertBefore(index);
    else return;
    event.preventDefault();
  }

  function insertBefore(index) {
    at.value = index + 1;
    insert.input.focus();
  }

  function rove(index) {
    place = Math.max(0, Math.min(index, list.children.length - 1));
    drawChips();
    focusChip();
  }

  function drop(event) {
    if (dragged === null) return;
    event.preventDefault();
    const over = [...list.children].indexOf(event.target.closest("li"));
    move(dragged, over < 0 ? list.children.length - 1 : over);
    dragged = null;
  }

  function makeChip() {
    const index = () => [...list.children].indexOf(node);
    const chip = el("button", { type: "button", class: "cx-chip", onclick: (event) => selectBy(app, chip, event) });
    chip.append(el("span", { class: "cx-number" }), el("bdi", { class: "cx-text" }), el("span", { class: "cx-heard" }));
    chip.addEventListener("focus", () => {
      place = index();
      for (const item of list.children) item.firstChild.tabIndex = item.firstChild === chip ? 0 : -1;
    });
    const cross = button("×", () => remove(index()), { class: "cx-remove", tabindex: -1 });
    const node = el(
      "li",
      {
        draggable: "true",
        ondragstart: (event) => {
          dragged = index();
          event.dataTransfer.effectAllowed = "move";
          event.dataTransfer.setData("text/plain", "");
        },
        ondragend: () => (dragged = null),
      },
      chip,
      cross,
    );
    return node;
  }

  function drawChips() {
    place = Math.max(0, Math.min(place, items().length - 1));
    fillList(list, items(), makeChip, (item, code, index) => {
      const [chip, cross] = item.children;
      const title = app.title(code);
      setText(chip.firstChild, `${index + 1}`);
      setText(chip.children[1], clip(title));
      setAttribute(chip, "title", clip(`${title}\n${KEYS}`, 600));
      setAttribute(chip, "data-code", code);
      setAttribute(chip, "tabindex", index === place ? 0 : -1);
      setAttribute(cross, "aria-label", clip(`Remove ${title}`));
    });
    tints.paint([...list.children].map((item) => item.firstChild), items());
    outline(root, app.draft().selection);
  }

  function drawTarget() {
    const { target: code } = app.view.case;
    setTitle(target, app.title(code));
    setAttribute(target, "data-code", code);
    setText(targetNote, items().includes(code) ? "(in the history)" : "(new)");
  }

  function render(view) {
    const held = list.contains(app.focused());
    if (!app.unsettled()) {
      const edits = waiting;
      waiting = [];
      for (const [change, then] of edits) edit(change, then);
    }
    drawChips();
    drawTarget();
    if (held) focusChip();
    setText(note, clip(view.case.note, 600));
    undo.disabled = !view.undo;
    redo.disabled = !view.redo;
    const edited = app.draft().history !== null;
    reset.disabled = !edited;
    clear.disabled = !items().length;
    setAttribute(root, "data-edited", edited);
    setAttribute(list, "aria-label", `History${edited ? ", edited" : ""}, oldest first`);
    if (view.state.case !== ofCase) at.value = "";
    ofCase = view.state.case;
  }

  return {
    onBase(base) {
      insert.onBase(base);
      tints.onBase(base);
    },
    render,
    onAnswer: tints.onAnswer,
    onSelect: (selection) => outline(root, selection),
    dispose: tints.dispose,
  };
}

/** A combobox of all titles: `choose` gets the code of the chosen item. */
function itemBox(app, choose) {
  let found = [];
  let active = -1;
  let lower = [];
  const id = uniqueId("items");
  const list = el("ul", { role: "listbox", id, "aria-label": "Items found", hidden: true });
  const input = el("input", {
    type: "text",
    role: "combobox",
    placeholder: "search an item…",
    autocomplete: "off",
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
    oninput: find,
    onkeydown: onKey,
    onblur: close,
  });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus in the input
  list.addEventListener("click", (event) => pick([...list.children].indexOf(event.target.closest("li"))));

  function find() {
    const wanted = input.value.trim().toLowerCase();
    found = [];
    for (let code = 0; wanted && code < lower.length && found.length < FOUND; code += 1) {
      if (lower[code].includes(wanted)) found.push(code);
    }
    fillList(list, found, (index) => el("li", { role: "option", id: `${id}-${index}` }), (node, code) => {
      setTitle(node, app.title(code));
    });
    list.hidden = found.length === 0;
    setAttribute(input, "aria-expanded", String(!list.hidden));
    if (wanted && !found.length) app.status("No item's title contains this text.");
    point(found.length ? 0 : -1);
  }

  function point(index) {
    active = index;
    [...list.children].forEach((node, other) => setAttribute(node, "aria-selected", String(other === active)));
    setAttribute(input, "aria-activedescendant", active < 0 ? null : `${id}-${active}`);
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    list.hidden = true;
    setAttribute(input, "aria-expanded", "false");
    setAttribute(input, "aria-activedescendant", null);
    active = -1;
  }

  function pick(index) {
    if (index < 0) return;
    choose(found[index]);
    input.value = "";
    close();
  }

  function onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && list.hidden) find();
    else if (step && found.length) point((active + step + found.length) % found.length);
    else if (event.key === "Enter") pick(active);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  }

  return {
    input,
    node: el("div", { class: "cx-box" }, labelled("Insert", input), list),
    onBase: (base) => (lower = base.titles.map((title) => title.toLowerCase())),
  };
}
