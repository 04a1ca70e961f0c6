// A tour of three steps for the first visit. A step is a note before the view that it explains, so it covers nothing.

import { button, el, setText } from "./base.js";

const SEEN = "cprlab-tour"; // in localStorage, where there is one
const STEPS = [
  ["history", "These are the items that a user took, oldest first, and ★ is what came next. Remove a chip, or insert " +
    "an item: all else follows."],
  ["predictions", "Each column has a model's best next items, all bars on one scale. The gauge above them is the " +
    "probability of all items of the history together: high is right only if ★ is one of them."],
  ["verdict", "This says why: what each model loses here, and whether any hidden state could do better. The stories " +
    "at the top show the typical cases."],
];

export function tourView(root, app) {
  let step = -1; // none is shown
  const start = button("Tour", () => show(0, true), { title: "the page in three steps" });
  const title = el("strong");
  const text = el("p");
  const back = button("Back", () => show(step - 1, true));
  const next = button("Next", () => show(step + 1, true));
  const close = button("Close", () => show(-1, true));
  const live = { "aria-live": "polite", onkeydown: onKey };
  const note = el("div", { class: "cx-tour", role: "region", "aria-label": "Tour", ...live }, title, text,
    el("div", { class: "cx-buttons" }, back, next, close));

  function show(to, asked) {
    step = to < STEPS.length ? to : -1;
    for (const section of root.querySelectorAll("section[data-toured]")) delete section.dataset.toured;
    if (step < 0) {
      note.remove();
      remember();
      if (asked) start.focus();
      return;
    }
    const [name, said] = STEPS[step];
    const section = root.querySelector(`section.cx-${name}`);
    section.before(note);
    section.dataset.toured = "";
    setText(title, `${step + 1} of ${STEPS.length}`);
    setText(text, said);
    back.disabled = step === 0;
    setText(next, step === STEPS.length - 1 ? "Done" : "Next");
    if (!asked) return; // the first visit leaves the focus where it is
    next.focus({ preventScroll: true });
    for (const node of [section, note]) node.scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    if (event.key !== "Escape") return;
    show(-1, true);
    event.preventDefault();
  }

  return {
    start,
    /** Start the tour on the first visit. */
    onBase: () => step < 0 && isNew() && show(0, false),
    render() {},
  };
}

function isNew() {
  try {
    return localStorage.getItem(SEEN) === null;
  } catch {
    return false; // it would come back at every visit
  }
}

function remember() {
  try {
    localStorage.setItem(SEEN, "yes");
  } catch {
    // the page is not allowed to keep anything
  }
}
