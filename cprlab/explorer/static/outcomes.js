// The cases of a query together, and edits of all their histories, as cohort.py and edits.py compute them in Python.

import { isOwn } from "./shown.js";

const LATEST = 10;
const TOP = 10;
const RESAMPLES = 1000;
const INTERVAL = [0.025, 0.975];

/** Of a history's item codes and the true next item: the edited history. */
const EDITS = {
  "remove the last item": (items) => items.slice(0, -1),
  "remove the last item wherever it is": (items) => items.filter((item) => item !== items.at(-1)),
  "remove the true next item": (items, target) => items.filter((item) => item !== target),
  "repeat the last item": (items) => [...items, items.at(-1)],
  "add the true next item": (items, target) => [...items, target],
  "keep each item once, at its last place": (items) => [...new Set(items.toReversed())].toReversed(),
  "keep the last 10 items": (items) => items.slice(-LATEST),
  "reverse the order": (items) => items.toReversed(),
};

/**
 * Compute the message on some cases together, step by step; yield the numbers of predictions done and in all.
 *
 * `outcomes` is shownBy's; of `cases`, each has its own history, target, user and number. Intervals need `few` users.
 */
export function* cohortOf(outcomes, state, cases, few) {
  const edit = EDITS[state.edit] ?? ((items) => items);
  const edited = cases.map((own) => [own, edit(own.history, own.target)]).filter(([, items]) => items.length);
  const changed = edited.filter(([own, items]) => !isOwn(items, own)).length;
  const total = edited.length + changed;
  const [before, after] = [[], []];
  const progress = () => ({ done: before.length + after.filter((one, place) => one !== before[place]).length, total });
  for (const [own, items] of edited) {
    before.push(outcomes(state, own, own.history));
    yield progress();
    after.push(isOwn(items, own) ? before.at(-1) : outcomes(state, own, items));
    yield progress();
  }
  const users = [...new Set(edited.map(([own]) => own.user || own.case))];
  const userOf = edited.map(([own]) => users.indexOf(own.user || own.case));
  const draws = users.length < few ? null : drawn(users.length);
  const meansOf = (values) => {
    const [sums, counts] = [users.map(() => 0), users.map(() => 0)];
    values.forEach((value, place) => {
      sums[userOf[place]] += value;
      counts[userOf[place]] += 1;
    });
    return sums.map((sum, user) => sum / counts[user]);
  };
  const metrics = [({ rank }) => (rank <= TOP ? 1 / Math.log2(1 + rank) : 0), ({ copy }) => copy,
    ({ repeat }) => Number(repeat), ({ target }) => -Math.log(target)];
  const cells = [];
  for (const metric of metrics) {
    cells.push([]);
    for (let model = 0; edited.length && model < before[0].length; model += 1) {
      const [first, then] = [before, after].map((side) => meansOf(side.map((one) => metric(one[model]))));
      cells.at(-1).push(cellOf(first, state.edit ? then : null, draws));
      yield progress();
    }
  }
  const counts = { cases: edited.length, users: users.length, changed, left_out: cases.length - edited.length };
  return { type: "cohort", edit: state.edit, ...counts, cells };
}

/** Return the means of users' values, and the interval of the change, or of the value without an edit. */
function cellOf(before, after, draws) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const change = after && after.map((value, user) => value - before[user]);
  if (![...before, ...(after ?? [])].every(Number.isFinite)) return null; // the head rules out a next item
  const [low, high] = draws ? interval(change ?? before, draws) : [null, null];
  return { value: mean(before), after: after && mean(after), change: change && mean(change), low, high };
}

/** Return the users drawn with replacement in each resample. */
function drawn(count) {
  let seed = 1;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator; the upper bits are used
    return seed / 2 ** 32;
  };
  return Array.from({ length: RESAMPLES }, () => Uint32Array.from({ length: count }, () => random() * count));
}

/** Return the 95% percentile interval of the resampled mean, interpolated as NumPy does. */
function interval(values, draws) {
  const means = Float64Array.from(draws, (users) => users.reduce((sum, user) => sum + values[user], 0) / users.length);
  means.sort();
  return INTERVAL.map((share) => {
    const place = share * (means.length - 1);
    const below = Math.floor(place);
    return means[below] + (place - below) * (means[Math.min(below + 1, means.length - 1)] - means[below]);
  });
}
