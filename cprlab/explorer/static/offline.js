// The explorer's kernel in a page: it answers the widget's messages as session.py, payload.py and widget.py do.

import { percent } from "./base.js";

const UNDOABLE = ["case", "history", "settings", "pinned"];
const AS_TRAINED = { head: "", temperature: 1, toward: 0, axes: [0, 0, 0], scale: 1, best: false };
const KEPT = 64; // predictions
const CLIPPED = 200; // characters of a label
const OF_EDITED =
  "The history was edited. This page has the verdicts on the cases' own histories only; cprlab explore has others.";
const OF_TRAINED = "The heads were changed; this is the verdict on them as they were trained.";
const NO_CSV = "This page writes no CSV. Take its state with State…, and give it to cprlab explore --state.";

/** Return whether two values are the same in JSON, in whatever order their keys are. */
function same(one, other) {
  const isPlain = (value) => Object(value) === value && !Array.isArray(value);
  const sorted = (_, value) => (isPlain(value) ? Object.fromEntries(Object.entries(value).sort()) : value);
  return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
}

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
  const plain = { ...data.state, history: null, settings: names.map(() => AS_TRAINED), pinned: null };
  const handlers = new Set();
  const known = new Map(); // predictions
  const sent = {};
  const [past, future] = [[], []];
  let state = plain;
  let dragging = false;
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

  function change(next, live = false) {
    if (!rowOf.has(next.case)) throw Error(`Case ${next.case} is not in this page; use cprlab explore.`);
    fits(next, shape, "a state");
    predictions(next); // an Error if one is not possible
    if (next.pinned) predictions({ ...next, ...next.pinned });
    const undoable = UNDOABLE.some((key) => !same(next[key], state[key]));
    if (undoable) {
      if (!dragging) past.push(state);
      future.length = 0;
    }
    dragging = live && (undoable || dragging);
    state = next;
  }

  function step(source, other) {
    if (!source.length) return;
    const before = source.pop();
    other.push(state);
    dragging = false;
    state = { ...state, ...Object.fromEntries(UNDOABLE.map((key) => [key, before[key]])) };
  }

  function patch(changes, live) {
    const other = "case" in changes && changes.case !== state.case;
    change({ ...state, ...(other ? { history: null, pinned: null } : {}), ...changes }, live);
  }

  function load(text) {
    let found = null;
    try {
      found = JSON.parse(text);
    } catch (error) {
      throw Error(`The explorer's state is not JSON (${error.message}); paste the whole text that was saved.`);
    }
    if (Object(found) !== found) throw Error("The explorer's state must be a JSON object; paste the whole text.");
    change({ ...plain, ...found });
  }

  const commands = {
    undo: () => step(past, future),
    redo: () => step(future, past),
    pin: () => patch({ pinned: { history: history(), settings: state.settings } }),
    unpin: () => patch({ pinned: null }),
    load,
    head({ model, ...switches }) {
      const { heads } = models[model];
      const field = (key) => data.grammar.parts.find(({ letter }) => letter === key)?.field ?? key;
      const options = Object.fromEntries(Object.entries(switches).map(([key, value]) => [field(key), value]));
      const trained = base.models[model].trained;
      const name = heads.nameOf(heads.switched(heads.parse(state.settings[model].head), options));
      const setting = { ...state.settings[model], head: name === trained ? "" : name };
      patch({ settings: state.settings.with(model, setting) });
    },
  };

  // What is shown

  const caseOf = (one = state) => data.cases[rowOf.get(one.case)];
  const history = (one = state) => one.history ?? caseOf(one).history;
  const isOwn = (items, one = state) => String(items) === String(caseOf(one).history);

  /** Return each model's prediction in a state; null for an empty history. */
  function predictions(one) {
    const items = history(one);
    const place = isOwn(items, one) ? rowOf.get(one.case) : -1;
    return models.map((model, index) => {
      if (!items.length) return null;
      const key = JSON.stringify([index, one.settings[index], one.settings[index].best ? one.case : null, items]);
      const found = known.get(key) ?? model.predict(items, one.settings[index], place);
      known.delete(key); // the last ones are kept
      known.set(key, found);
      if (known.size > KEPT) known.delete(known.keys().next().value);
      return found;
    });
  }

  const pinnedOnes = () => (state.pinned ? predictions({ ...state, ...state.pinned }) : models.map(() => null));
  const kindOf = (item) => (item === caseOf().target ? "target" : history().includes(item) ? "history" : "new");

  function predicted(now, pinned) {
    if (!now) return { rank: null, copy: null, target: null, top: [], pinned: null, settled: "" };
    const { target } = caseOf();
    const top = now.top(state.k).map((item, place) => ({
      item,
      place: place + 1,
      p: now.probability(item),
      kind: kindOf(item),
      partition: now.ownerOf(item),
      moved: pinned && pinned.rank(item) - now.rank(item),
      was: pinned && pinned.probability(item),
    }));
    return { ...now.outcome(target), top, pinned: pinned && pinned.outcome(target), settled: "" };
  }

  function view() {
    const [now, pinned, items] = [predictions(state), pinnedOnes(), history()];
    const longest = Math.max(...models.map(({ maxLen }) => maxLen));
    let note = "";
    if (!items.length) note = "The history is empty, so nothing can be predicted: insert an item, undo or reset.";
    else if (items.length > longest) note = `The models read the last ${longest} of these ${items.length} items.`;
    return {
      type: "view",
      state,
      case: { user: caseOf().user, target: caseOf().target, edited: state.history !== null, note },
      history: items,
      predictions: now.map((one, index) => predicted(one, pinned[index])),
      heads: models.map(({ heads }, index) => heads.shown(heads.parse(state.settings[index].head))),
      selected: now.map((one) => (one ? one.sum(state.selection) : 0)),
    };
  }

  /** Return the items that the map marks, each with its kind; the last kind of an item counts. */
  function marked() {
    const now = predictions(state)[state.space];
    const verdict = isOwn(history()) ? caseOf().verdict : { interfering: [] };
    const interfering = verdict.interfering.find(({ model }) => model === names[state.space])?.items ?? [];
    const fresh = (now?.top(state.k) ?? []).filter((item) => !history().includes(item));
    const kinds = {
      new: fresh.sort((one, other) => one - other),
      interfering: interfering.map(({ item }) => item),
      history: history(),
      target: [caseOf().target],
    };
    return new Map(Object.entries(kinds).flatMap(([kind, items]) => items.map((item) => [item, kind])));
  }

  function marks() {
    const { places, placeOf, points } = models[state.space];
    if (!places) return { type: "marks", marks: [], lines: [], note: points.note };
    const found = [...marked()].map(([item, kind]) => {
      return { item, kind, label: base.titles[item], x: places[2 * item], y: places[2 * item + 1] };
    });
    const at = new Map(found.map(({ item, x, y }) => [item, [x, y]]));
    for (const [name, vector] of predictions(state)[state.space]?.states ?? []) {
      const [x, y] = placeOf(vector);
      found.push({ item: -1, kind: "hidden state", label: `hidden state ${name}`.slice(0, CLIPPED), x, y });
    }
    const lines = [
      { kind: "history", points: history().map((item) => at.get(item)) },
      { kind: "states", points: found.filter(({ item }) => item < 0).map(({ x, y }) => [x, y]) },
    ];
    return { type: "marks", marks: found, lines: lines.filter((line) => line.points.length > 1), note: "" };
  }

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
      const { history: items, target, user } = data.cases[row];
      return titles[target] || items.some((item) => titles[item]) || user.toLowerCase().includes(letters);
    };
  }

  function cases() {
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
    if (!history().length) return { ...found, sentence: data.empty, rows: [], interfering: [] };
    if (!isOwn(history())) return { ...found, sentence: OF_EDITED, rows: [], interfering: [] };
    const changed = state.settings.some((setting) => !same(setting, AS_TRAINED));
    return changed ? { ...found, sentence: `${OF_TRAINED} ${found.sentence}` } : found;
  }

  function show(error = "") {
    const now = predictions(state).map((one) => one && one.outcome(caseOf().target));
    const ofCase = sent.case === state.case;
    if (!ofCase || !same(now, sent.outcomes)) notice = ofCase ? noticeOf(sent.outcomes, now) : "";
    [sent.case, sent.outcomes] = [state.case, now];
    emit({ ...view(), id: done, undo: past.length > 0, redo: future.length > 0, notice, error });
    if (sent.space !== state.space) {
      const { points, places } = models[state.space];
      emit(points, places ? [places] : []);
    }
    emit(marks());
    if (!sent.query || !same(sent.query, state.query)) emit(cases());
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
    act({ id, set, live, command, value }) {
      if (id !== done) {
        done = id;
        if (set) patch(set, live);
        else commands[command](value);
      }
      show();
    },
    load({ text }) {
      load(text);
      show();
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
    load(first);
  } catch (error) {
    failed = error.message;
  }
  past.length = 0;

  return {
    on: (name, handler) => handlers.add(handler),
    off: (name, handler) => handlers.delete(handler),
    send: (content) => setTimeout(() => answer(content)), // an answer comes after the question was sent
    load: (text) => answer({ type: "load", text }),
  };
}
