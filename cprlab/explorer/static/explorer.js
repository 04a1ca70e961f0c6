// The widget: layout, status line, and messages to the kernel (one act in flight, slow work when idle).

import { stateAddress } from "./address.js";
import { afterPaint, button, clip, el, floatsOf, percent, setAttribute, setText, setTitle } from "./base.js";
import { itemCard } from "./card.js";
import { casesView } from "./cases.js";
import { cohortView } from "./cohort.js";
import { download, exportMenu, stateDialog, viewHeader } from "./export.js";
import { historyView } from "./history.js";
import { alike, liveModels } from "./live.js";
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
const AT_ONCE = ["predictions", "history", "states", "verdict"]; // the others are drawn a frame later
const COLUMNS = [["cases", "cohort"], ["history", "predictions"], ["scores", "map", "states"]];

export function render({ model, el: place }) {
  const root = el("div", { class: "cprlab-explorer", "data-lm-suppress-shortcuts": "true" });
  const status = el("p", { class: "cx-status", role: "status" }, WAITING);
  const alert = el("p", { class: "cx-alert", role: "alert", hidden: true });
  const doing = el("p", { class: "cx-doing" });
  const grid = el("div", { class: "cx-grid", hidden: true });
  const first = el("div", { class: "cx-first", hidden: true });
  const talk = conversation(model, say, (busy) => setAttribute(grid, "aria-busy", String(busy)));
  const live = liveModels();
  // The kernel's last view; the scores drawn; whether the page's own view, and its own marks, are of later acts.
  const shown = { told: null, scores: null, ahead: false, marked: false };
  const later = afterPaint();
  const app = makeApp(
    talk, root, say, { live, shown, repaint, later, answer: (message) => on.answer(message) }, () => views,
  );
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

  /** Show what the page computes of all acts so far; without that, the kernel's answer is awaited. */
  function repaint() {
    const found = app.view && live.after(talk.unanswered());
    Object.assign(shown, { ahead: Boolean(found), marked: Boolean(found?.marks) });
    if (!found) return;
    app.view = { ...shown.told, ...found.view, map: app.view.map };
    app.judged = found.verdict ?? app.judged;
    drawView();
    later("repaint", () => {
      if (!shown.ahead) return; // the kernel has answered, and draws the rest
      drawScores(...found.scores());
      drawPoints(found.points());
      if (found.marks) drawMap(found.marks());
    });
  }

  function drawMap(marks) {
    if (alike(marks, app.view.map)) return;
    app.view.map = marks;
    later("map", () => app.view?.map && views.map.render(app.view));
  }

  function drawScores(message, buffers) {
    if (alike(shown.scores, [message, buffers])) return;
    shown.scores = [message, buffers];
    all("onScores", message, buffers);
  }

  function drawPoints(points) {
    if (points) all("onPoints", points[0], points[1][0]);
  }

  const all = (method, ...values) => Object.values(views).forEach((view) => view[method]?.(...values));
  const drawView = () => {
    grid.hidden = first.hidden = !app.base || !app.view;
    if (grid.hidden) return;
    for (const name of AT_ONCE) views[name].render(app.view);
    const others = Object.keys(views).filter((name) => !AT_ONCE.includes(name) && name !== "map");
    for (const name of others) later(name, () => app.view && views[name].render(app.view));
    later("selection", () => app.view && selection.render());
  };
  let unaided = ""; // why the page computes nothing itself
  const on = {
    base(message) {
      app.base = message;
      live.onBase(message);
      Object.assign(shown, { scores: null, ahead: false, marked: false });
      if (app.view?.predictions.length !== message.models.length) app.view = null; // of other models: a new one follows
      all("onBase", message);
      drawView();
    },
    view(message) {
      live.onView(message, talk.answered(message));
      shown.told = message;
      const { view: before } = app;
      if (shown.ahead && talk.unanswered().length) repaint();
      else {
        const { map, ...own } = shown.ahead ? before : {};
        app.view = { ...message, map };
        if (!alike({ ...own, notice: message.notice, error: message.error }, message)) drawView();
        Object.assign(shown, { ahead: false, marked: false });
        drawPoints(live.settled());
      }
      if (!restored) talk.command("load", address.asked());
      else address?.keep(message.state);
      restored = true;
      if (message.error) say(message.error, { alert: true });
      else say(message.notice || "Ready.");
    },
    models(message, buffers) {
      unaided = message.note;
      try {
        live.onModels(message, buffers);
      } catch (error) {
        unaided = `Edits are shown when the kernel has answered: ${error.message}`;
      }
      setText(doing, clip(unaided, 600));
    },
    own: (message) => live.onCases(message.cases),
    marks(message) {
      if (app.view && !shown.marked) drawMap(message);
    },
    scores(message, buffers) {
      const floats = buffers.map(floatsOf);
      live.onScores(message, floats);
      if (app.view && !shown.ahead) drawScores(message, floats);
    },
    cases: (message) => all("onCases", message),
    cohort: (message) => all("onCohort", message),
    stories: (message) => all("onStories", message),
    points: (message, buffers) => live.maps(message.projection, message.model) || drawPoints([message, buffers ?? []]),
    verdict(message) {
      live.onVerdict(message);
      if (shown.ahead) return; // it is of an earlier state
      if (message.note) app.unjudged = message;
      else app.judged = message;
      if (app.view?.id === message.id) all("onVerdict", message);
    },
    answer(message) {
      if (message.id !== app.view?.id) return; // of an earlier state
      selection.onAnswer(message);
      all("onAnswer", message);
    },
    export: (message) => download(message.name, new Blob([message.text], { type: message.mime })),
    slow(message) {
      setText(doing, clip(message.more ? message.doing : unaided, 600));
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
function makeApp(talk, root, say, { live, shown, repaint, later, answer }, views) {
  const app = {
    base: null,
    view: null,
    judged: null, // the last verdict, perhaps of an earlier history
    unjudged: null, // the last message that there is none, and why
    draft: () => (shown.ahead ? app.view.state : talk.draft(shown.told.state)),
    set: (patch, { live: moving = false } = {}) => {
      talk.set(patch, moving);
      repaint();
      if ("selection" in patch) for (const view of Object.values(views())) view.onSelect?.(patch.selection);
    },
    command(name, value) {
      talk.command(name, value);
      repaint();
    },
    send: (content) => talk.send(content),
    /** Ask a question about the state shown; the answer comes to the views' `onAnswer`. */
    async ask(kind, value) {
      const { id, state } = app.view;
      const wanted = () => app.view?.id === id;
      const found = await live.answer(kind, state, value, wanted);
      if (!wanted()) return;
      if (found) answer({ type: "answer", kind, id, value: found });
      else talk.ask({ type: "ask", kind, value });
    },
    title: (code) => app.base.titles[code] ?? `item ${code}`,
    status: say,
    later,
    focused: () => root.getRootNode().activeElement,
    /** Whether the history is unknown until the kernel answers. */
    unsettled: () => !shown.ahead && talk.unanswered().some(restores),
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

/** Whether only the kernel knows the history after an act. */
function restores({ command, set }) {
  return RESTORING.includes(command) || set?.history === null;
}

/**
 * Acts to be sent to the kernel. At most one is in flight; patches made meanwhile are merged into one act, commands
 * wait in order. An act without an answer stays first in line and is sent again at the user's next action.
 */
function conversation(model, say, busy) {
  let acts = [];
  let asks = []; // questions about what is shown after all acts
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
    nextId += 1;
    if (act.set && last?.set && !last.sent) {
      last.id = nextId; // what is shown has another id after each act
      last.set = { ...last.set, ...act.set };
      last.live = last.live && act.live;
    } else {
      acts.push({ id: nextId, ...act });
    }
    asks = []; // they are of what was shown before
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
    const act = acts[known];
    if (act) {
      acts = acts.toSpliced(known, 1);
      clearTimeout(silence);
      inFlight = false;
    }
    slowAsked = false;
    slowWanted = true;
    pump();
    if (!acts.length) asks.splice(0).forEach(send);
    busy(inFlight);
    askIn(IDLE);
    return act;
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
    ask: (content) => (acts.length ? asks.push(content) : send(content)),
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
