// The widget: layout, status line, and messages to the kernel (one act in flight, slow work when idle).

import { stateAddress } from "./address.js";
import { button, clip, el, percent, setAttribute, setText, setTitle } from "./base.js";
import { itemCard } from "./card.js";
import { casesView } from "./cases.js";
import { cohortView } from "./cohort.js";
import { download, exportMenu, stateDialog, viewHeader } from "./export.js";
import { historyView } from "./history.js";
import { mapView } from "./map.js";
import { predictionsView } from "./predictions.js";
import { scoresView } from "./scores.js";
import { snapshotsView } from "./snapshots.js";
import { statesView } from "./states.js";
import { storiesView } from "./stories.js";
import { tourView } from "./tour.js";
import { verdictView } from "./verdict.js";

const ANSWER_WITHIN = 10_000; // ms, after which the page reports that the kernel does not answer
const IDLE = 400; // ms without an act in flight, after which the page asks for slow work
const BETWEEN = 100; // ms between two steps of slow work, in which the kernel is free for an act
const WAITING = "Waiting for the kernel; if nothing happens, run the notebook's cells (Run ▸ Run All Cells).";
const SILENT =
  "The kernel does not answer. Interrupt it or run the notebook's cells again. Nothing is lost: your next change is " +
  "sent again.";
const RESTORING = ["undo", "redo", "load", "go"]; // commands after which only the kernel knows the history

const VIEWS = {
  cases: ["Cases", "choose a case with Enter or a click", casesView],
  cohort: ["These cases together", "means by model", cohortView],
  history: ["History", "edit what the user did; oldest first", historyView],
  predictions: ["Predictions", "all bars on one scale", predictionsView],
  scores: ["Scores", "every item on one axis: does one state set the history apart?", scoresView],
  map: ["Map", "items near the hidden states", mapView],
  states: ["States and heads", "move the hidden state, switch partitions", statesView],
  verdict: ["Verdict", "what the models give the history, and what a single hidden state could", verdictView],
};
const COLUMNS = [["cases", "cohort"], ["history", "predictions"], ["scores", "map", "states"]];

export function render({ model, el: place }) {
  const root = el("div", { class: "cprlab-explorer", "data-lm-suppress-shortcuts": "true" });
  const status = el("p", { class: "cx-status", role: "status" }, WAITING);
  const alert = el("p", { class: "cx-alert", role: "alert", hidden: true });
  const doing = el("p", { class: "cx-doing" });
  const grid = el("div", { class: "cx-grid", hidden: true });
  const first = el("div", { class: "cx-first", hidden: true });
  const talk = conversation(model, say, (busy) => setAttribute(grid, "aria-busy", String(busy)));
  const app = makeApp(talk, root, say, () => views);
  const dialog = stateDialog(app);
  const selection = selectionLine(app);
  const views = { tour: tourView(root, app) };
  const stories = el("div");
  const snapshots = el("div", { class: "cx-snapshots" });
  const address = document.querySelector("meta[name='cprlab-address']") && stateAddress(); // of a page of its own
  let restored = !address?.asked();
  const bar = el(
    "div",
    { class: "cx-top" },
    el("div", { class: "cx-said" }, status, alert),
    doing,
    el(
      "div",
      { class: "cx-buttons" },
      views.tour.start,
      button("State…", dialog.open, { title: "copy, save or load the explorer's state" }),
    ),
  );
  for (const names of COLUMNS) {
    grid.append(el("div", { class: "cx-column" }, ...names.map(makeView)));
  }
  first.append(makeView("verdict"));
  views.stories = storiesView(stories, app);
  views.snapshots = snapshotsView(snapshots, app);
  grid.querySelector(".cx-predictions").append(snapshots);
  root.append(bar, first, stories, selection.node, grid, dialog.node);
  root.addEventListener("keydown", onKey);
  place.append(root);

  function makeView(name) {
    const [title, hint, view] = VIEWS[name];
    const section = el("section", { class: `cx-${name}`, "aria-label": title });
    views[name] = view(section, app);
    const header = section.querySelector(":scope > header") ?? viewHeader(title, hint);
    header.append(exportMenu(app, section, name, title));
    section.prepend(header);
    return section;
  }

  function say(text, { alert: failed = false } = {}) {
    setText(status, failed ? "" : clip(text, 600));
    setAttribute(status, "title", status.textContent || null);
    setText(alert, failed ? `⚠ ${clip(text, 1000)}` : "");
    status.hidden = failed;
    alert.hidden = !failed;
  }

  function onKey(event) {
    event.stopPropagation(); // the notebook's shortcuts do not apply in the widget
    const typing = event.target.matches("textarea, input:not([type=range], [type=checkbox])") && event.target.value;
    if (typing || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (app.view?.[event.shiftKey ? "redo" : "undo"] || talk.busy()) app.command(event.shiftKey ? "redo" : "undo");
  }

  const all = (method, ...values) => Object.values(views).forEach((view) => view[method]?.(...values));
  const drawView = () => {
    grid.hidden = first.hidden = !app.base || !app.view;
    if (grid.hidden) return;
    selection.render();
    for (const [name, view] of Object.entries(views)) if (name !== "map") view.render(app.view);
    if (app.view.map) drawMapSoon();
  };
  let mapWaits = false;
  const drawMapSoon = () => {
    if (mapWaits) return;
    mapWaits = true; // the bars are drawn first, since the map's labels take about 10 ms
    requestAnimationFrame(() => setTimeout(() => {
      mapWaits = false;
      if (app.view?.map) views.map.render(app.view);
    }));
  };
  const on = {
    base(message) {
      app.base = message;
      if (app.view?.predictions.length !== message.models.length) app.view = null; // of other models: a new one follows
      all("onBase", message);
      drawView();
    },
    view(message) {
      talk.answered(message);
      app.view = message;
      drawView();
      if (!restored) talk.command("load", address.asked());
      else address?.keep(message.state);
      restored = true;
      if (message.error) say(message.error, { alert: true });
      else say(message.notice || "Ready.");
    },
    marks(message) {
      if (!app.view) return;
      app.view.map = message;
      drawMapSoon();
    },
    scores: (message, buffers) => app.view && all("onScores", message, buffers),
    cases: (message) => all("onCases", message),
    cohort: (message) => all("onCohort", message),
    stories: (message) => all("onStories", message),
    points: (message, buffers) => all("onPoints", message, buffers?.[0]),
    verdict(message) {
      if (message.note) app.unjudged = message;
      else app.judged = message;
      if (app.view) all("onVerdict", message);
    },
    answer(message) {
      if (message.id !== app.view?.id) return; // of an earlier state
      selection.onAnswer(message);
      all("onAnswer", message);
    },
    export: (message) => download(message.name, new Blob([message.text], { type: message.mime })),
    slow(message) {
      setText(doing, clip(message.more ? message.doing : ""));
      talk.slowAnswered(message.more);
    },
  };
  const onMessage = (message, buffers) => on[message.type]?.(message, buffers);
  model.on("msg:custom", onMessage);
  talk.send({ type: "hello" });

  return () => {
    model.off("msg:custom", onMessage);
    talk.close();
    all("dispose");
    root.remove();
  };
}

/** What the views can read and do. */
function makeApp(talk, root, say, views) {
  const app = {
    base: null,
    view: null,
    judged: null, // the last verdict, perhaps of an earlier history
    unjudged: null, // the last message that there is none, and why
    draft: () => talk.draft(app.view.state),
    set: (patch, { live = false } = {}) => {
      talk.set(patch, live);
      if ("selection" in patch) for (const view of Object.values(views())) view.onSelect?.(patch.selection);
    },
    command: (name, value) => talk.command(name, value),
    send: (content) => talk.send(content),
    /** Ask a question about the state shown; the answer comes to the views' `onAnswer`. */
    ask: (kind, value) => talk.send({ type: "ask", kind, value }),
    title: (code) => app.base.titles[code] ?? `item ${code}`,
    status: say,
    focused: () => root.getRootNode().activeElement,
    /** Whether the history is unknown until the kernel answers. */
    unsettled: () => talk.unanswered().some((act) => RESTORING.includes(act.command) || act.set?.history === null),
    select(codes, { add = false } = {}) {
      const before = app.draft().selection;
      const only = before.length === codes.length && codes.every((code) => before.includes(code));
      let selection = codes;
      if (add) {
        const dropped = codes.filter((code) => before.includes(code));
        selection = [...before, ...codes].filter((code) => !dropped.includes(code));
      } else if (only) selection = [];
      app.set({ selection });
    },
  };
  return app;
}

/**
 * Acts to be sent to the kernel. At most one is in flight; patches made meanwhile are merged into one act, commands
 * wait in order. An act without an answer stays first in line and is sent again at the user's next action.
 */
function conversation(model, say, busy) {
  let acts = [];
  let inFlight = false;
  let slowAsked = false;
  let slowWanted = true;
  let silence = null;
  let idle = null;
  let nextId = Math.floor(Math.random() * 1e6) * 1e6; // random, since the same model may be displayed twice

  function send(content) {
    try {
      model.send(content);
    } catch (error) {
      say(`Nothing can be sent to the kernel (${error.message}). ${WAITING}`, { alert: true });
    }
  }

  function add(act) {
    const last = acts.at(-1);
    if (act.set && last?.set && !last.sent) {
      last.set = { ...last.set, ...act.set };
      last.live = last.live && act.live;
    } else {
      nextId += 1;
      acts.push({ id: nextId, ...act });
    }
    pump();
  }

  function pump() {
    if (inFlight || !acts.length) return;
    clearTimeout(idle);
    inFlight = true;
    busy(true);
    const [act] = acts;
    act.sent = true;
    const { sent, ...content } = act;
    send({ type: "act", ...content });
    silence = setTimeout(() => {
      inFlight = false;
      say(SILENT, { alert: true });
    }, ANSWER_WITHIN);
  }

  function answered({ id }) {
    const known = acts.findIndex((act) => act.sent && act.id === id);
    if (known >= 0) {
      acts = acts.toSpliced(known, 1);
      clearTimeout(silence);
      inFlight = false;
    }
    slowAsked = false;
    slowWanted = true;
    pump();
    busy(inFlight);
    askIn(IDLE);
  }

  function slowAnswered(more) {
    slowAsked = false;
    slowWanted = more;
    askIn(BETWEEN);
  }

  function askIn(delay) {
    clearTimeout(idle);
    if (inFlight || slowAsked || !slowWanted) return;
    idle = setTimeout(() => {
      slowAsked = true;
      send({ type: "slow" });
    }, delay);
  }

  return {
    send,
    set: (set, live) => add({ live, set }),
    command: (command, value) => add(value === undefined ? { command } : { command, value }),
    draft: (state) => acts.reduce((draft, act) => ({ ...draft, ...act.set }), state),
    unanswered: () => acts,
    busy: () => inFlight,
    answered,
    slowAnswered,
    close() {
      clearTimeout(silence);
      clearTimeout(idle);
    },
  };
}

/** The line with the number of selected items and their share of each model's probability. */
function selectionLine(app) {
  const said = el("span");
  const clear = button("clear", () => app.set({ selection: [] }));
  const card = itemCard(app);
  const node = el("div", { class: "cx-selection", hidden: true }, el("p", {}, said, clear), card.node);

  function drawLine() {
    const { selection } = app.view.state;
    node.hidden = !selection.length;
    const nameOf = (index) => clip(app.base.models[index].name, 40);
    const shares = app.view.selected.map((share, index) => `${nameOf(index)} ${percent(share)}`);
    setTitle(said, `${selection.length} ${selection.length === 1 ? "item" : "items"} selected: ${shares.join(", ")}`);
    card.render(app.view);
  }

  return { node, render: drawLine, onAnswer: card.onAnswer };
}
