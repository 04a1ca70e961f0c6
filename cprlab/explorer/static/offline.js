// The explorer's kernel in a page: it answers the widget's messages as session.py, payload.py and widget.py do.

import { afterPaint, percent } from "./base.js";
import { cohortOf } from "./outcomes.js";
import { acted, begun, same } from "./session.js";
import { AS_TRAINED, historyOf, isOwn, shownBy } from "./shown.js";

const MOST_KEPT = 8; // snapshots
const OF_EDITED = "What a single state could do for an edited history is computed by cprlab explore, not in this page.";
const STEP = 10; // ms of slow work, after which the page is free for a frame
const NO_CSV = "This page writes no CSV. Take its state with State…, and give it to cprlab explore --state.";

/**
 * Return what the widget takes for its kernel.
 *
 * `data` are offline.py's, `models` predictor's, in the same order; `told` is called with each state that is shown.
 * `first` is the state to start with, as text.
 */
export function kernel(data, models, first, told) {
  const { base, table } = data;
  const names = base.models.map(({ name }) => name);
  const rowOf = new Map(table.rows.map(([name], row) => [name, row]));
  const keys = table.columns.map(({ key }) => key);
  const shown = shownBy(base, models, data.grammar);
  const cases = data.cases.map((one, place) => ({ ...one, place }));
  const caseOf = (one = state) => cases[rowOf.get(one.case)];
  const plain = { ...data.state, history: null, settings: names.map(() => AS_TRAINED), pinned: null, kept: [] };
  const handlers = new Set();
  const later = afterPaint();
  const sent = {};
  let session = begun(plain);
  let { state } = session;
  let done = null; // the last act
  let notice = "";

  // States

  const isCode = (value) => Number.isInteger(value) && value >= 0 && value < base.titles.length;
  const isCodes = (value) => Array.isArray(value) && value.every(isCode);
  const isText = (value) => typeof value === "string";
  const isFlag = (value) => typeof value === "boolean";
  const fits = (value, shape, what) => {
    const given = Object.keys(value ?? {});
    const wrong = given.find((key) => !Object.hasOwn(shape, key));
    if (wrong !== undefined) throw Error(`Unknown value ${wrong} of ${what}.`);
    const bad = Object.keys(shape).find((key) => !given.includes(key) || !shape[key](value[key]));
    if (bad !== undefined) throw Error(`This page cannot show this value of ${bad} of ${what}.`);
    return true;
  };
  const isSetting = (value) =>
    fits(value, {
      head: isText,
      temperature: (one) => Number.isFinite(one) && one >= 0.01 && one <= 100,
      toward: Number.isFinite,
      axes: (one) => Array.isArray(one) && one.length === 3 && one.every(Number.isFinite),
      scale: (one) => Number.isFinite(one) && one >= 0,
      best: isFlag,
    }, "a model's settings");
  const areSettings = (value) => Array.isArray(value) && value.length === names.length && value.every(isSetting);
  const shape = {
    data: isText,
    models: (value) => String(value) === String(names),
    case: (value) => rowOf.has(value),
    history: (value) => value === null || isCodes(value),
    settings: areSettings,
    pinned: (value) => value === null || fits(value, { history: isCodes, settings: areSettings }, "the pin"),
    kept: (value) =>
      Array.isArray(value) && value.length <= MOST_KEPT && value.every((one) =>
        fits(one, { history: isCodes, settings: areSettings, name: isText }, "a snapshot")),
    selection: isCodes,
    query: (value) =>
      fits(value, {
        preset: (one) => base.presets.includes(one),
        search: isText,
        items: isCodes,
        sort: (one) => keys.includes(one),
        descending: isFlag,
        page: (one) => Number.isInteger(one) && one >= 0,
      }, "the query"),
    edit: (value) => value === "" || base.edits.includes(value),
    projection: (value) => base.projections.some(([name]) => name === value),
    space: (value) => Number.isInteger(value) && value >= 0 && value < names.length,
    lines: isFlag,
    levels: isFlag,
    shaded: isFlag,
    colour: (value) => ["kind", "partition"].includes(value),
    k: (value) => Number.isInteger(value) && value >= 1 && value <= 50,
  };

  function check(next) {
    if (!rowOf.has(next.case)) throw Error(`Case ${next.case} is not in this page; use cprlab explore.`);
    fits(next, shape, "a state");
    shown.predictions(next, caseOf(next)); // an Error if one is not possible
    shown.pinned(next, caseOf(next));
    shown.kept(next, caseOf(next));
  }

  function keep(next) {
    session = next;
    ({ state } = session);
  }

  function loaded(text) {
    let found = null;
    try {
      found = JSON.parse(text);
    } catch (error) {
      throw Error(`The explorer's state is not JSON (${error.message}); paste the whole text that was saved.`);
    }
    if (Object(found) !== found) throw Error("The explorer's state must be a JSON object; paste the whole text.");
    return { ...plain, ...found, query: { ...plain.query, items: [], page: 0, ...found.query } };
  }

  function named({ query }, text) {
    const name = text.trim();
    const users = [name, name.replace(/^user/, "").trim()];
    const number = /^[0-9]+$/.test(name) ? Number(name) : base.cases;
    const ofUser = (_, row) => cases[row].user && users.includes(cases[row].user);
    const found = number < base.cases ? number : table.rows.find(ofUser)?.[0];
    if (found === undefined) {
      throw Error(`There is no case “${name}” in this page: give a number, or a user's whole id.`);
    }
    const place = foundBy(query).findIndex(([one]) => one === found);
    return { case: found, query: { ...query, page: Math.max(0, Math.floor(place / data.listed)) } };
  }

  const rules = { historyOf: (one) => historyOf(one, caseOf(one)), switched: shown.switched, named, loaded, check };

  // Cases

  function presetOf(name) {
    const column = (row, key) => row[keys.indexOf(key)];
    const copied = (row) => row.filter((value, index) => keys[index].startsWith("copy ") && value !== null);
    return {
      "should copy, but does not": (row) => column(row, "repeat") && Math.min(...copied(row)) < base.observed,
      "should not copy, but does": (row) => !column(row, "repeat") && Math.max(...copied(row)) > base.observed,
      [base.uncopyable]: (row) => column(row, "copyable") === "no",
      "next item is in the history": (row) => column(row, "repeat"),
      "next item is new": (row) => !column(row, "repeat"),
    }[name] ?? (() => true);
  }

  function searched(letters) {
    const titles = base.titles.map((title) => title.toLowerCase().includes(letters));
    return (_, row) => {
      const { history: items, target, user } = cases[row];
      return titles[target] || items.some((item) => titles[item]) || user.toLowerCase().includes(letters);
    };
  }

  /** Return the rows of the table that a query finds, in its order; text is sorted as it is read, like choices.py's. */
  function foundBy({ preset, search, items, sort, descending }) {
    const letters = search.trim().toLowerCase();
    const having = (_, row) => [...cases[row].history, cases[row].target].some((item) => items.includes(item));
    const every = () => true;
    const found = table.rows.filter(letters ? searched(letters) : every).filter(presetOf(preset));
    const rows = items.length ? new Set(table.rows.filter(having)) : null;
    const place = keys.indexOf(sort);
    const known = (value) => value !== null && value !== "";
    const asRead = (value) => {
      if (typeof value !== "string") return [0, value];
      return /^[0-9]+$/.test(value) ? [0, Number(value)] : [1, value.toLowerCase()];
    };
    const sorted = (rows ? found.filter((row) => rows.has(row)) : found).map((row) => [row, asRead(row[place])]);
    const compare = (one, other) => (one < other ? -1 : Number(one > other));
    sorted.sort(([one, [group, first]], [other, [others, second]]) => {
      const unknown = known(other[place]) - known(one[place]);
      if (unknown || !known(one[place])) return unknown;
      return (compare(group, others) || compare(first, second)) * (descending ? -1 : 1);
    });
    return sorted.map(([row]) => row);
  }

  function listed() {
    const found = foundBy(state.query);
    const size = data.listed;
    const start = size * Math.min(state.query.page, Math.floor(Math.max(0, found.length - 1) / size));
    const rows = found.slice(start, start + size);
    const counts = { total: table.rows.length, start, size, found: found.length };
    return { type: "cases", columns: table.columns, rows, ...counts, note: data.note };
  }

  // The cases together

  let cohort = null; // what is being computed
  let running = null;

  function beginCohort() {
    const { sort, descending, page, ...query } = state.query;
    const key = [query, state.settings, state.edit];
    if (same(key, sent.cohort)) return;
    sent.cohort = key;
    const found = foundBy(state.query).map(([name]) => ({ ...caseOf({ case: name }), case: name }));
    cohort = cohortOf(shown.outcomes, state, found, base.few);
    emit({ type: "cohort", pending: true, done: 0, total: 0 });
  }

  /** Compute some of the cohort, and the rest after a frame; another one ends it. */
  function runCohort(mine) {
    if (mine !== cohort) return;
    running = mine;
    const until = performance.now() + STEP;
    try {
      let step = { done: false };
      while (!step.done && performance.now() < until) step = mine.next();
      if (!step.done) {
        if (step.value) emit({ type: "cohort", pending: true, ...step.value });
        setTimeout(() => runCohort(mine));
        return;
      }
      const moved = state.settings.some((setting) => !same(setting, AS_TRAINED));
      emit({ ...step.value, moved });
    } catch (error) {
      emit({ type: "cohort", refused: error.message });
    }
    cohort = null;
    emit({ type: "slow", more: false, doing: "" });
  }

  function slow() {
    if (!cohort) emit({ type: "slow", more: false, doing: "" });
    else if (running !== cohort) runCohort(cohort);
  }

  // Messages

  const emit = (message, buffers = []) => handlers.forEach((handler) => handler(message, buffers));

  function noticeOf(before, now) {
    const said = now.flatMap((one, index) => {
      const old = before[index];
      if (!old || !one || same(old, one)) return [];
      const copied = one.copy === null ? "" : `copy probability ${percent(old.copy, 1)} → ${percent(one.copy, 1)}, `;
      const ranks = [old, one].map(({ rank }) => rank.toLocaleString("en")).join(" → ");
      return [`${names[index]}: ${copied}the next item's rank ${ranks}`];
    });
    return said.join("; ");
  }

  function verdict() {
    const items = historyOf(state, caseOf());
    const reset = isOwn(items, caseOf()) ? caseOf().verdict.note : OF_EDITED;
    return { ...shown.verdict(state, caseOf(), items.length ? reset : data.empty), id: done };
  }

  function show(error = "") {
    const own = caseOf();
    const now = shown.predictions(state, own).map((one) => one && one.outcome(own.target));
    const ofCase = sent.case === state.case;
    if (!ofCase || !same(now, sent.outcomes)) notice = ofCase ? noticeOf(sent.outcomes, now) : "";
    [sent.case, sent.outcomes] = [state.case, now];
    const steps = { undo: session.past.length > 0, redo: session.future.length > 0 };
    emit(verdict());
    emit({ ...shown.view(state, own), ...steps, id: done, notice, error });
    told(state);
    later("rest", () => showRest(own));
  }

  function showRest(own) {
    const interfering = isOwn(historyOf(state, own), own) ? own.verdict.interfering : [];
    emit(...shown.scores(state, own, interfering));
    const key = shown.mapKey(state, own);
    if (sent.points !== key) emit(...shown.points(state, own));
    if (!sent.query || !same(sent.query, state.query)) emit(listed());
    [sent.points, sent.query] = [key, state.query];
    beginCohort();
    emit(shown.marks(state, own, interfering));
  }

  const actions = {
    hello() {
      for (const key of Object.keys(sent)) delete sent[key];
      emit(base);
      emit({ type: "stories", stories: data.stories ?? [] });
      show(failed);
    },
    act({ id, ...act }) {
      if (id !== done) {
        done = id;
        keep(acted(session, act, rules));
      }
      show();
    },
    load({ text }) {
      keep(acted(session, { command: "load", value: text }, rules));
      show();
    },
    async ask({ kind, value }) {
      const id = done;
      const found = await shown.answers[kind](state, caseOf(), value, () => id === done);
      if (found) emit({ type: "answer", kind, id, value: found });
    },
    slow,
    export: () => show(NO_CSV),
  };

  async function answer(content) {
    try {
      await actions[content.type](content);
    } catch (error) {
      show(error.message);
    }
  }

  let failed = ""; // why the first state cannot be shown
  try {
    keep(begun(acted(session, { command: "load", value: first }, rules).state));
  } catch (error) {
    failed = error.message;
  }

  return {
    on: (name, handler) => handlers.add(handler),
    off: (name, handler) => handlers.delete(handler),
    send: (content) => queueMicrotask(() => answer(content)), // an answer comes after the question was sent
    load: (text) => answer({ type: "load", text }),
  };
}
