// What the page computes of acts that the kernel has yet to answer: the same view and marks, from the same models.

import { readSafetensors } from "./model.js";
import { predictor } from "./predict.js";
import { acted, begun, same } from "./session.js";
import { historyOf, shownBy } from "./shown.js";

const NEAR = 1e-5; // difference of two numbers that look the same

/** A model whose predictions are null, since only the kernel computes them. */
function unknown(model) {
  return { ...model, heads: { parse() {}, shown() {} }, predict: () => null };
}

/** Return whether two messages show the same: numbers may differ by rounding, and other values not at all. */
export function alike(one, other) {
  if (typeof one === "number" && typeof other === "number") return Math.abs(one - other) <= NEAR;
  if (Object(one) !== one || Object(other) !== other) return one === other;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => alike(one[key], other[key]));
}

/**
 * Return the page's own models: empty until the kernel sends them. The kernel's answers remain the truth, so whatever
 * cannot be computed here, or is not known here, is null and waits for the kernel.
 */
export function liveModels() {
  let base = null;
  let shown = null; // shown.js's functions
  let session = null; // as the kernel has answered
  let told = null; // the kernel's last view
  let waiting = []; // for each model, whether only the kernel computes it
  let judged = null; // the last verdict, and what it is of
  const cases = new Map(); // user, own history and target, by case

  const caseOf = (state) => {
    if (!cases.has(state.case)) throw Error("Only the kernel knows this case.");
    return cases.get(state.case);
  };
  const rules = {
    historyOf: (state) => historyOf(state, caseOf(state)),
    switched: (...given) => shown.switched(...given),
    loaded() {
      throw Error("The kernel reads states.");
    },
    check() {},
  };

  function attempt(compute) {
    try {
      return shown && compute();
    } catch {
      return null; // the kernel answers, and says what is wrong
    }
  }

  function isJudged(state) {
    return judged?.state.case === state.case && same(judged.history, rules.historyOf(state));
  }

  function verdictOf(state) {
    return isJudged(state) && same(judged.state.settings, state.settings) ? judged.message : null;
  }

  function marksOf(state, own) {
    if (state.projection !== "pca" || waiting[state.space]) return null;
    const named = isJudged(state) ? judged.message.interfering : [];
    const items = named.find(({ model }) => model === state.models[state.space])?.items ?? [];
    return shown.marks(state, own, items.map(({ item }) => item));
  }

  /** Return a view with what the kernel said last, marked as late, of the models that only it computes. */
  function completed(view) {
    const { predictions, heads, selected } = told;
    const late = (index) => (view.history.length ? { ...predictions[index], late: true } : view.predictions[index]);
    return {
      ...view,
      predictions: view.predictions.map((one, index) => (waiting[index] ? late(index) : one)),
      heads: view.heads.map((one, index) => (waiting[index] ? heads[index] : one)),
      selected: view.selected.map((one, index) => (waiting[index] ? selected[index] : one)),
    };
  }

  return {
    onBase(message) {
      [base, shown, session, judged] = [message, null, null, null];
      cases.clear();
    },
    /** Open the models; return the message of each one's points on the map, and the points. */
    onModels({ models, grammar }, buffers) {
      if (!buffers.length) return [];
      const given = [...buffers];
      waiting = models.map(({ description }) => !description);
      const opened = models.map((model, index) => {
        if (waiting[index]) return unknown(model);
        const { buffer, byteOffset, byteLength } = given.shift();
        return predictor(model, readSafetensors(buffer.slice(byteOffset, byteOffset + byteLength)), grammar);
      });
      shown = shownBy(base, opened, grammar);
      return opened.filter(({ places }) => places).map(({ points, places }) => [points, places]);
    },
    onCases(found) {
      for (const one of found) cases.set(one.case, { ...one, place: -1 });
    },
    onVerdict(message, { state, history }) {
      judged = { message, state, history };
    },
    /** The kernel has answered an act, or undefined, with a view. */
    onView(view, act) {
      told = view;
      const expected = session && act ? attempt(() => acted(session, act, rules)) : session;
      const steps = [expected?.past.length > 0, expected?.future.length > 0];
      const known = expected && same([expected.state, ...steps], [view.state, view.undo, view.redo]);
      session = known ? expected : begun(view.state, view);
    },
    /** Return {view, marks, verdict} after acts, or null; marks and verdict are null if they are not known. */
    after: (acts) =>
      attempt(() => {
        const { state, past, future } = acts.reduce((before, act) => acted(before, act, rules), session);
        const own = caseOf(state);
        const steps = { undo: past.length > 0, redo: future.length > 0 };
        return {
          view: { ...completed(shown.view(state, own)), ...steps, id: acts.at(-1).id },
          marks: marksOf(state, own),
          verdict: verdictOf(state),
        };
      }),
    /** Return the answer to a question about a state, or null. */
    answer: (kind, state, value) => attempt(() => !waiting.includes(true) && shown.answers[kind](state, caseOf(state), value)),
  };
}
