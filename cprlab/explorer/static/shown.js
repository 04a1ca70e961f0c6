// What the views show of a state, computed in the page by the models in it, as explorer.py and payload.py do in Python.

import { flip } from "./flip.js";
import { given, losses } from "./judged.js";

export const AS_TRAINED = { head: "", temperature: 1, toward: 0, axes: [0, 0, 0], scale: 1, best: false };
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
  const ofOwn = { settings: "", outcomes: new Map() }; // of the cases' own histories, with the last settings

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

  /** Return each model's prediction as it was trained. */
  function trained(state, own) {
    return predictions({ ...state, settings: models.map(() => AS_TRAINED) }, own);
  }

  /** Return each model's outcome (`predictor`'s) after some items of a case, and whether the target is a repeat. */
  function outcomes(state, own, items) {
    const place = isOwn(items, own) ? own.place : -1;
    const settings = JSON.stringify(state.settings);
    if (settings !== ofOwn.settings) Object.assign(ofOwn, { settings, outcomes: new Map() });
    if (ofOwn.outcomes.has(place)) return ofOwn.outcomes.get(place);
    const found = models.map((model, index) => {
      const one = model.predict(items, state.settings[index], place);
      return { ...one.outcome(own.target), repeat: one.items.includes(own.target) };
    });
    if (place >= 0) ofOwn.outcomes.set(place, found);
    return found;
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
    const usual = trained(state, own);
    const heads = models.map(({ heads: one }, index) => one.shown(one.parse(state.settings[index].head)));
    const words = (one, index) => {
      const remedy = base.remedies.find(([part]) => heads[index][part])?.[1] ?? "";
      return given(one, heads[index].post, remedy, own.target, state.k);
    };
    const longest = Math.max(...models.map(({ maxLen }) => maxLen));
    let note = "";
    if (!items.length) note = "The history is empty, so nothing can be predicted: insert an item, undo or reset.";
    else if (items.length > longest) note = `The models read the last ${longest} of these ${items.length} items.`;
    return {
      type: "view",
      state,
      case: { user: own.user, target: own.target, edited: state.history !== null, note },
      history: items,
      predictions: now.map((one, index) => ({
        ...predicted(one, before[index], state, own, kindOf),
        given: one ? words(one, index) : "",
        repeat: one && one.items.includes(own.target),
        lost: one && !one.ordered ? losses(usual[index], one) : [null, null],
      })),
      heads,
      selected: now.map((one) => (one ? one.sum(state.selection) : 0)),
      kept: kept(state, own).map((given) => given.map((one) => one && one.outcome(own.target))),
    };
  }

  /** Return the items that views of a model mark, each with its kind; the last kind of an item counts. */
  function marked(state, own, index, interfering) {
    const items = historyOf(state, own);
    const named = interfering.find(({ model }) => model === base.models[index].name)?.items ?? [];
    const fresh = (predictions(state, own)[index]?.top(state.k) ?? []).filter((item) => !items.includes(item));
    const kinds = {
      new: fresh.sort((one, other) => one - other),
      interfering: named.map(({ item }) => item),
      history: items,
      target: [own.target],
    };
    return new Map(Object.entries(kinds).flatMap(([kind, codes]) => codes.map((item) => [item, kind])));
  }

  /** Return the key of the map's points, which change only if the key does. */
  function mapKey(state, own) {
    return JSON.stringify([state.projection, state.space, state.projection === "local" && historyOf(state, own)]);
  }

  /** Return the message with the map's points, and its buffers. */
  function points(state, own) {
    const { places, note } = models[state.space].mapOf(state.projection, historyOf(state, own));
    return [{ type: "points", projection: state.projection, model: state.space, note }, places ? [places] : []];
  }

  /** Return the map's marks, lines and levels; `interfering` is the verdict's. */
  function marks(state, own, interfering) {
    const { mapOf, placeOf, vectorOf, slopeOf } = models[state.space];
    const map = mapOf(state.projection, historyOf(state, own));
    if (!map.places) return { type: "marks", marks: [], lines: [], levels: null, note: map.note };
    const found = [...marked(state, own, state.space, interfering)].map(([item, kind]) => {
      const [x, y] = placeOf(map, vectorOf(item));
      return { item, kind, label: base.titles[item], x, y };
    });
    const at = new Map(found.map(({ item, x, y }) => [item, [x, y]]));
    const states = predictions(state, own)[state.space]?.states ?? new Map();
    for (const [name, vector] of states) {
      const [x, y] = placeOf(map, vector);
      found.push({ item: -1, kind: "hidden state", label: `hidden state ${name}`.slice(0, CLIPPED), x, y });
    }
    const lines = [
      { kind: "history", points: historyOf(state, own).map((item) => at.get(item)) },
      { kind: "states", points: found.filter(({ item }) => item < 0).map(({ x, y }) => [x, y]) },
    ];
    const levels = states.has("V") ? slopeOf(map, states.get("V")) : null;
    return { type: "marks", marks: found, lines: lines.filter((line) => line.points.length > 1), levels, note: "" };
  }

  /** Return the message of all items' scores, and a buffer for each model; `interfering` as for `marks`. */
  function scores(state, own, interfering) {
    const finite = (value) => (Number.isFinite(value) ? value : null);
    const found = predictions(state, own).map((one, index) => {
      if (!one || one.ordered) return { marks: [], constant: null };
      const kinds = [...marked(state, own, index, interfering)].filter(([, kind]) => kind !== "new");
      const marks = kinds.map(([item, kind]) => {
        const alone = one.alone ? finite(one.alone(item)) : null;
        return { item, kind, score: finite(one.scores[item]), alone, rank: one.rank(item) };
      });
      return { marks, constant: one.constant };
    });
    const buffers = predictions(state, own).map((one) => Float32Array.from(one && !one.ordered ? one.scores : []));
    return [{ type: "scores", models: found }, buffers];
  }

  /** Return the case's `verdict`, on the history shown, with the ranks shown, or with a note why there is none. */
  function verdict(state, own, note) {
    const now = predictions(state, own);
    const of = ({ model, items }) => {
      const shown = now[base.models.findIndex(({ name }) => name === model)];
      return { model, items: items.map((one) => ({ ...one, rank: shown?.rank(one.item) ?? one.rank })) };
    };
    const { case: place } = state;
    const found = { type: "verdict", case: place, history: historyOf(state, own), note };
    if (note) return { ...found, models: models.map(() => null), interfering: [] };
    return { ...found, models: own.verdict.models, interfering: own.verdict.interfering.map(of) };
  }

  const answers = {
    item(state, own, code) {
      const items = historyOf(state, own);
      const place = isOwn(items, own) ? own.place : -1;
      const of = predictions(state, own).map((one, index) => {
        const model = models[index];
        const softmaxes = one && model.given(items, state.settings[index], place, code);
        return one && { ...one.of(code), near: model.near(code), softmaxes };
      });
      return { item: code, count: base.counts[code], cases: base.cases, models: of };
    },

    /** Between the predictions, each without one item, the page can do something else; null if it is no longer `wanted`. */
    async left_out(state, own, { model, item }, wanted) {
      const [items, rows] = [historyOf(state, own), []];
      const { maxLen, predict } = models[model];
      const [read, first] = [items.slice(-maxLen), Math.max(0, items.length - maxLen)];
      const of = (history) => predict(history, { ...AS_TRAINED, head: state.settings[model].head }, -1);
      const full = read.length > 1 && !base.models[model].ordered ? of(read) : null;
      for (let position = 0; full && position < read.length; position += 1) {
        await new Promise((resume) => setTimeout(resume));
        if (!wanted()) return null;
        const less = of(read.toSpliced(position, 1));
        const gained = full.scores[item] - less.scores[item];
        const copied = full.sum(full.items) - less.sum(full.items);
        rows.push({ position: first + position, copied, gained: Number.isFinite(gained) ? gained : null });
      }
      return { model, item, rows };
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

  return {
    predictions, trained, outcomes, pinned, kept, switched, view, mapKey, points, marks, scores, verdict, answers,
  };
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
