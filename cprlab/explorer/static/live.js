// What the page computes of acts that the kernel has yet to answer: what that will say, from the same models.

import { readSafetensors } from "./model.js";
import { predictor } from "./predict.js";
import { acted, begun, same } from "./session.js";
import { historyOf, shownBy } from "./shown.js";

const OF_KERNEL = ["flip"]; // questions that would keep the page busy for up to a second
const NEAR = 1e-5; // difference of two numbers up to 1, or of larger ones in relation to them, that look the same

/** A model whose predictions are null, since only the kernel computes them. */
function unknown(model) {
  return { ...model, heads: { parse() {}, shown() {} }, predict: () => null };
}

/** Return whether two messages show the same: numbers may differ by rounding, and other values not at all. */
export function alike(one, other) {
  if (one === other) return true;
  if (typeof one === "number" && typeof other === "number") {
    return Math.abs(one - other) <= NEAR * Math.max(1, Math.abs(one));
  }
  if (Object(one) !== one || Object(other) !== other) return false;
  if (ArrayBuffer.isView(one)) return one.length === other.length && one.every((value, i) => alike(value, other[i]));
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
  let scored = null; // the kernel's last scores
  let waiting = []; // for each model, whether only the kernel computes it
  let mapped = ""; // key of the points on the map
  const cases = new Map(); // user, own history and target, by case
  const judged = new Map(); // verdicts, by case and history

  const caseOf = (state) => {
    if (!cases.has(state.case)) throw Error("Only the kernel knows this case.");
    return cases.get(state.case);
  };
  const ofKernel = () => {
    throw Error("Only the kernel knows this.");
  };
  const rules = {
    historyOf: (state) => historyOf(state, caseOf(state)),
    switched: (...given) => shown.switched(...given),
    named: ofKernel,
    loaded: ofKernel,
    check() {},
  };

  function attempt(compute) {
    try {
      return shown && compute();
    } catch {
      return null; // the kernel answers, and says what is wrong
    }
  }

  /** Return a view with what the kernel said last, marked as late, of the models that only it computes. */
  function completed(view) {
    const { predictions, heads, selected } = told;
    const late = (index) => (view.history.length ? { ...predictions[index], late: true } : view.predictions[index]);
    const pick = (list, of) => list.map((one, index) => (waiting[index] ? of(index) : one));
    const kept = same(view.state.kept, told.state.kept) ? told.kept : null;
    return {
      ...view,
      predictions: pick(view.predictions, late),
      heads: pick(view.heads, (index) => heads[index]),
      selected: pick(view.selected, (index) => selected[index]),
      kept: view.kept.map((outcomes, place) => pick(outcomes, (index) => kept && kept[place][index])),
    };
  }

  function scoresOf(state, own, interfering) {
    const [message, buffers] = shown.scores(state, own, interfering);
    const late = (index) => waiting[index] && historyOf(state, own).length;
    const models = message.models.map((one, index) => (late(index) ? scored.message.models[index] : one));
    return [{ ...message, models }, buffers.map((one, index) => (late(index) ? scored.buffers[index] : one))];
  }

  /** Return whether the page computes the map of a projection and a model itself. */
  const maps = (projection, model) => shown !== null && projection !== "tsne" && !waiting[model];

  /** Return the message with the map's points and its buffers, if they are others than before; else null. */
  function pointsOf(state, own) {
    const key = shown.mapKey(state, own);
    if (key === mapped || !maps(state.projection, state.space)) return null;
    mapped = key;
    return shown.points(state, own);
  }

  return {
    maps,
    onBase(message) {
      [base, shown, session, scored] = [message, null, null, null];
      cases.clear();
      judged.clear();
    },
    /** Open the models. */
    onModels({ models, grammar }, buffers) {
      if (!buffers.length) return;
      const given = [...buffers];
      waiting = models.map(({ description }) => !description);
      const opened = models.map((model, index) => {
        if (waiting[index]) return unknown(model);
        const { buffer, byteOffset, byteLength } = given.shift();
        return predictor(model, readSafetensors(buffer.slice(byteOffset, byteOffset + byteLength)), grammar);
      });
      shown = shownBy(base, opened, grammar);
      mapped = shown.mapKey(told.state, told);
    },
    onCases(found) {
      for (const one of found) cases.set(one.case, { ...one, place: -1 });
    },
    onScores(message, buffers) {
      scored = { message, buffers };
    },
    onVerdict(message) {
      if (!message.note) judged.set(String([message.case, ...message.history]), message);
    },
    /** The kernel has answered an act, or undefined, with a view. */
    onView(view, act) {
      told = view;
      const expected = session && act ? attempt(() => acted(session, act, rules)) : session;
      const steps = [expected?.past.length > 0, expected?.future.length > 0];
      const known = expected && same([expected.state, ...steps], [view.state, view.undo, view.redo]);
      session = known ? expected : begun(view.state, view);
    },
    /** Return the map's points of the kernel's last view, if others are on the map; else null. */
    settled: () => attempt(() => pointsOf(told.state, told)),
    /**
     * Return {view, verdict, scores, points, marks} after acts, or null. The last three are computed when called;
     * `points()` is null if they are on the map, and `marks` is null if only the kernel makes the map.
     */
    after: (acts) =>
      attempt(() => {
        const { state, past, future } = acts.reduce((before, act) => acted(before, act, rules), session);
        const own = caseOf(state);
        const found = judged.get(String([state.case, ...historyOf(state, own)]));
        const verdict = found ? shown.verdict(state, { ...own, verdict: found }, "") : null;
        const interfering = verdict?.interfering ?? [];
        const steps = { undo: past.length > 0, redo: future.length > 0 };
        return {
          view: { ...completed(shown.view(state, own)), ...steps, id: acts.at(-1).id },
          verdict,
          scores: () => scoresOf(state, own, interfering),
          points: () => pointsOf(state, own),
          marks: maps(state.projection, state.space) ? () => shown.marks(state, own, interfering) : null,
        };
      }),
    /** Return the answer to a question about a state, or null; a long one ends early if it is no longer `wanted()`. */
    async answer(kind, state, value, wanted) {
      if (waiting.includes(true) || OF_KERNEL.includes(kind)) return null;
      try {
        return await shown.answers[kind](state, caseOf(state), value, wanted);
      } catch {
        return null; // the kernel answers, and says what is wrong
      }
    },
  };
}
