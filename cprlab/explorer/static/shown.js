// What the views show of a state, computed in the page by the models in it, as explorer.py and payload.py do in Python.

import { flip } from "./flip.js";

const KEPT = 64; // predictions
const NO_FLIP = "This needs a history, and the model's own state: reset the history or the state.";
const CLIPPED = 200; // characters of a label

/** Return whether a history is the case's own one. */
export const isOwn = (items, { history }) => String(items) === String(history);

/** Return the item codes shown, oldest first: the case's own history, or the edited one. */
export const historyOf = (state, own) => state.history ?? own.history;

/**
 * Return the functions that compute what is shown.
 *
 * `base` is payload.py's, `models` are predictor's in the same order, and `grammar` is page_model.py's. In all functions
 * `own` is the state's case: its user, its own history and target, and its `place` among the models' best states.
 */
export function shownBy(base, models, grammar) {
  const known = new Map(); // predictions

  /** Return each model's prediction in a state; null for an empty history. */
  function predictions(state, own) {
    const items = historyOf(state, own);
    const place = isOwn(items, own) ? own.place : -1;
    return models.map((model, index) => {
      if (!items.length) return null;
      const setting = state.settings[index];
      const key = JSON.stringify([index, setting, setting.best ? state.case : null, items]);
      const found = known.get(key) ?? model.predict(items, setting, place);
      known.delete(key); // the last ones are kept
      known.set(key, found);
      if (known.size > KEPT) known.delete(known.keys().next().value);
      return found;
    });
  }

  function pinned(state, own) {
    return state.pinned ? predictions({ ...state, ...state.pinned }, own) : models.map(() => null);
  }

  function kept(state, own) {
    return state.kept.map(({ history, settings }) => predictions({ ...state, history, settings }, own));
  }

  /** Return the state's `settings` with another head of a model. */
  function switched(state, { model, ...switches }) {
    const { heads } = models[model];
    const field = (key) => grammar.parts.find(({ letter }) => letter === key)?.field ?? key;
    const options = Object.fromEntries(Object.entries(switches).map(([key, value]) => [field(key), value]));
    const trained = base.models[model].trained;
    const name = heads.nameOf(heads.switched(heads.parse(state.settings[model].head), options));
    return state.settings.with(model, { ...state.settings[model], head: name === trained ? "" : name });
  }

  /** Return the view: all that is shown, except the table of cases, the map and the verdict. */
  function view(state, own) {
    const items = historyOf(state, own);
    const kindOf = (item) => (item === own.target ? "target" : items.includes(item) ? "history" : "new");
    const now = predictions(state, own);
    const before = pinned(state, own);
    const longest = Math.max(...models.map(({ maxLen }) => maxLen));
    let note = "";
    if (!items.length) note = "The history is empty, so nothing can be predicted: insert an item, undo or reset.";
    else if (items.length > longest) note = `The models read the last ${longest} of these ${items.length} items.`;
    return {
      type: "view",
      state,
      case: { user: own.user, target: own.target, edited: state.history !== null, note },
      history: items,
      predictions: now.map((one, index) => predicted(one, before[index], state, own, kindOf)),
      heads: models.map(({ heads }, index) => heads.shown(heads.parse(state.settings[index].head))),
      selected: now.map((one) => (one ? one.sum(state.selection) : 0)),
      kept: kept(state, own).map((given) => given.map((one) => one && one.outcome(own.target))),
    };
  }

  /** Return the items that the map marks, each with its kind; the last kind of an item counts. */
  function marked(state, own, interfering) {
    const items = historyOf(state, own);
    const fresh = (predictions(state, own)[state.space]?.top(state.k) ?? []).filter((item) => !items.includes(item));
    const kinds = {
      new: fresh.sort((one, other) => one - other),
      interfering,
      history: items,
      target: [own.target],
    };
    return new Map(Object.entries(kinds).flatMap(([kind, codes]) => codes.map((item) => [item, kind])));
  }

  /** Return the map's marks and lines; `interfering` are the codes of the items that the verdict names. */
  function marks(state, own, interfering) {
    const { places, placeOf, points } = models[state.space];
    if (!places) return { type: "marks", marks: [], lines: [], note: points.note };
    const found = [...marked(state, own, interfering)].map(([item, kind]) => {
      return { item, kind, label: base.titles[item], x: places[2 * item], y: places[2 * item + 1] };
    });
    const at = new Map(found.map(({ item, x, y }) => [item, [x, y]]));
    for (const [name, vector] of predictions(state, own)[state.space]?.states ?? []) {
      const [x, y] = placeOf(vector);
      found.push({ item: -1, kind: "hidden state", label: `hidden state ${name}`.slice(0, CLIPPED), x, y });
    }
    const lines = [
      { kind: "history", points: historyOf(state, own).map((item) => at.get(item)) },
      { kind: "states", points: found.filter(({ item }) => item < 0).map(({ x, y }) => [x, y]) },
    ];
    return { type: "marks", marks: found, lines: lines.filter((line) => line.points.length > 1), note: "" };
  }

  const answers = {
    item(state, own, code) {
      const given = (one, index) => one && { ...one.of(code), near: models[index].near(code) };
      const of = predictions(state, own).map(given);
      return { item: code, count: base.counts[code], cases: base.cases, models: of };
    },
    flip(state, own, model) {
      const items = historyOf(state, own);
      const setting = state.settings[model];
      if (setting.best || !items.length) throw Error(NO_FLIP);
      const predict = (history) => models[model].predict(history, setting, -1);
      const near = (item, k) => models[model].near(item, k).map(({ item: code }) => code);
      return { model, ...flip(predict, near, items, own.target, state.k) };
    },
  };

  return { predictions, pinned, kept, switched, view, marks, answers };
}

/** Return what the view shows of a prediction, and of the pinned one. */
function predicted(now, pinned, state, own, kindOf) {
  if (!now) return { rank: null, copy: null, target: null, top: [], pinned: null, settled: "" };
  const top = now.top(state.k).map((item, place) => ({
    item,
    place: place + 1,
    p: now.probability(item),
    kind: kindOf(item),
    partition: now.ownerOf(item),
    moved: pinned && pinned.rank(item) - now.rank(item),
    was: pinned && pinned.probability(item),
  }));
  return { ...now.outcome(own.target), top, pinned: pinned && pinned.outcome(own.target), settled: "" };
}
