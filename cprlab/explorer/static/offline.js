// The explorer's kernel in a page: it answers the widget's messages as session.py, payload.py and widget.py do.

import { percent } from "./base.js";
import { acted, begun, same } from "./session.js";
import { historyOf, isOwn, shownBy } from "./shown.js";

const AS_TRAINED = { head: "", temperature: 1, toward: 0, axes: [0, 0, 0], scale: 1, best: false };
const OF_EDITED =
  "The history was edited. This page has the verdicts on the cases' own histories only; cprlab explore has others.";
const OF_TRAINED = "The heads were changed; this is the verdict on them as they were trained.";
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
  const plain = { ...data.state, history: null, settings: names.map(() => AS_TRAINED), pinned: null };
  const handlers = new Set();
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
    selection: isCodes,
    query: (value) =>
      fits(value, {
        preset: (one) => base.presets.includes(one),
        search: isText,
        sort: (one) => keys.includes(one),
        descending: isFlag,
      }, "the query"),
    projection: (value) => base.projections.some(([name]) => name === value),
    space: (value) => Number.isInteger(value) && value >= 0 && value < names.length,
    colour: (value) => ["kind", "partition"].includes(value),
    k: (value) => Number.isInteger(value) && value >= 1 && value <= 50,
  };

  function check(next) {
    if (!rowOf.has(next.case)) throw Error(`Case ${next.case} is not in this page; use cprlab explore.`);
    fits(next, shape, "a state");
    shown.predictions(next, caseOf(next)); // an Error if one is not possible
    shown.pinned(next, caseOf(next));
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
    return { ...plain, ...found };
  }

  const rules = { historyOf: (one) => historyOf(one, caseOf(one)), switched: shown.switched, loaded, check };

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

  function listed() {
    const { preset, search, sort, descending } = state.query;
    const letters = search.trim().toLowerCase();
    const found = table.rows.filter(letters ? searched(letters) : () => true).filter(presetOf(preset));
    const place = keys.indexOf(sort);
    const order = (one, other) => (one < other ? -1 : Number(one > other)) * (descending ? -1 : 1);
    found.sort(({ [place]: one }, { [place]: other }) => {
      return one === null || other === null ? (one === null) - (other === null) : order(one, other);
    });
    const rows = found.slice(0, data.listed);
    const counts = { total: table.rows.length, shown: rows.length, found: found.length };
    return { type: "cases", columns: table.columns, rows, ...counts, note: data.note };
  }

  // Messages

  const emit = (message, buffers = []) => handlers.forEach((handler) => handler(message, buffers));

  function noticeOf(before, now) {
    const said = now.flatMap((one, index) => {
      const old = before[index];
      if (!old || !one || same(old, one)) return [];
      const copied = `copy probability ${percent(old.copy, 1)} → ${percent(one.copy, 1)}`;
      const ranks = [old, one].map(({ rank }) => rank.toLocaleString("en")).join(" → ");
      return [`${names[index]}: ${copied}, the next item's rank ${ranks}`];
    });
    return said.join("; ");
  }

  function verdict() {
    const found = { type: "verdict", ...caseOf().verdict, id: done };
    const items = historyOf(state, caseOf());
    if (!items.length) return { ...found, sentence: data.empty, rows: [], interfering: [] };
    if (!isOwn(items, caseOf())) return { ...found, sentence: OF_EDITED, rows: [], interfering: [] };
    const changed = state.settings.some((setting) => !same(setting, AS_TRAINED));
    return changed ? { ...found, sentence: `${OF_TRAINED} ${found.sentence}` } : found;
  }

  function show(error = "") {
    const own = caseOf();
    const now = shown.predictions(state, own).map((one) => one && one.outcome(own.target));
    const ofCase = sent.case === state.case;
    if (!ofCase || !same(now, sent.outcomes)) notice = ofCase ? noticeOf(sent.outcomes, now) : "";
    [sent.case, sent.outcomes] = [state.case, now];
    const steps = { undo: session.past.length > 0, redo: session.future.length > 0 };
    emit({ ...shown.view(state, own), ...steps, id: done, notice, error });
    if (sent.space !== state.space) {
      const { points, places } = models[state.space];
      emit(points, places ? [places] : []);
    }
    const judged = isOwn(historyOf(state, own), own) ? own.verdict.interfering : [];
    const interfering = judged.find(({ model }) => model === names[state.space])?.items ?? [];
    emit(shown.marks(state, own, interfering.map(({ item }) => item)));
    if (!sent.query || !same(sent.query, state.query)) emit(listed());
    [sent.space, sent.query] = [state.space, state.query];
    emit(verdict());
    told(state);
  }

  const actions = {
    hello() {
      for (const key of Object.keys(sent)) delete sent[key];
      emit(base);
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
    ask({ kind, value }) {
      emit({ type: "answer", kind, id: done, value: shown.answers[kind](state, caseOf(), value) });
    },
    slow: () => emit({ type: "slow", more: false, doing: "" }),
    export: () => show(NO_CSV),
  };

  function answer(content) {
    try {
      actions[content.type](content);
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
    send: (content) => setTimeout(() => answer(content)), // an answer comes after the question was sent
    load: (text) => answer({ type: "load", text }),
  };
}
