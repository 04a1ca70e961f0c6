// The bar of stories, each a state and what to see in it, and the search for a small edit that changes the outcome.

import { button, clip, el, fillList, integer, option, setAttribute, setText } from "./base.js";

const CHANGED = " (What is shown has changed since.)";

export function storiesView(root, app) {
  let stories = [];
  let asked = false; // whether an edit was asked for here: the answer also comes to other displays of the widget
  let told = null; // the text shown, and what is set where it is true

  const buttons = el("div", { class: "cx-buttons" });
  const text = el("span");
  const undo = button("Undo this edit", () => app.command("undo"));
  const story = el("p", { class: "cx-story", role: "note", "aria-live": "polite", hidden: true }, text, undo,
    button("×", close, { class: "cx-plain", "aria-label": "Close the story" }));
  const model = el("select", { "aria-label": "Model of the smallest edit", onchange: () => render(app.view) });
  const find = button("", search, {
    title: "the fewest items to remove, or to insert at the end, that a greedy search finds; at most three",
  });
  root.append(
    el("div", { class: "cx-stories", role: "group", "aria-label": "Stories" }, el("strong", {}, "Stories"), buttons,
      el("span", { class: "cx-flip" }, find, model)),
    story,
  );

  function makeStory(index) {
    return button("", () => tell(stories[index]));
  }

  function tell({ label, text: said, set }) {
    told = { label, said, set, edit: false };
    app.set(set);
    draw();
  }

  function close() {
    told = null;
    draw();
    find.focus();
  }

  function search() {
    app.status("Looking for the smallest edit…");
    asked = true;
    app.ask("flip", Number(model.value));
  }

  function draw() {
    const draft = app.draft();
    const holds = ([key, value]) => JSON.stringify(draft[key]) === JSON.stringify(value);
    const isShown = told !== null && Object.entries(told.set).every(holds);
    for (const node of buttons.children) {
      setAttribute(node, "aria-pressed", String(isShown && node.textContent === told.label));
    }
    story.hidden = !told;
    setText(text, told ? told.said + (isShown ? "" : CHANGED) : "");
    undo.hidden = !(isShown && told.edit);
  }

  function outcome(index) {
    const { rank } = app.view.predictions[index] ?? {};
    return rank !== null && rank <= app.draft().k ? "leaves" : "enters";
  }

  function render(view) {
    find.disabled = !view.history.length;
    setText(find, `Smallest edit after which ★ ${outcome(Number(model.value))} the ${view.state.k} best of`);
    draw();
  }

  function onAnswer({ kind, value }) {
    if (kind !== "flip" || !asked) return;
    asked = false;
    app.status("Ready.");
    const star = `★ ${app.title(app.view.case.target)}`;
    const best = `the ${value.k} best items of ${app.base.models[value.model].name}`;
    const titles = clip(value.items.map((item) => `“${app.title(item)}”`).join(" and "), 600);
    const [before, after] = [value.before, value.after].map(integer);
    const turns = value.before <= value.k ? "leaves" : "enters";
    const edit = {
      removed: `Without ${titles}, ${star} ${turns} ${best}: rank ${before} → ${after}.`,
      inserted: `With ${titles} inserted at the end, ${star} ${turns} ${best}: rank ${before} → ${after}.`,
    }[value.edit];
    const none = `No removal or insertion of up to three items was found after which ${star} ${turns} ${best}, where ` +
      `it has rank ${before}.`;
    told = { said: edit ?? none, set: edit ? { history: value.history } : {}, edit: Boolean(edit) };
    if (edit) app.set(told.set);
    draw();
  }

  return {
    onBase(base) {
      model.replaceChildren(...base.models.map(({ name }, index) => option(index, name)));
      model.value = 0;
    },
    onStories(message) {
      stories = message.stories;
      fillList(buttons, stories, makeStory, (node, { label }) => setText(node, label));
    },
    onAnswer,
    render,
  };
}
