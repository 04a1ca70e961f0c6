// A model's predictions in a page, as explorer/model.py makes them: of a switched head, a moved f_V, a temperature.

import { openCounting } from "./counting.js";
import { headsOf } from "./heads.js";
import { logSoftmax, openModel } from "./model.js";
import { dot, neighbourhood } from "./neighbourhood.js";

const NEAR = 5; // items on an item's card

/**
 * Return a model of the page: its heads, its maps, and `predict`.
 *
 * `description` is page_model.py's, `name` the trained head's, `note` that of the map of all items. Of the tensors,
 * those named "page." are not weights: the first principal `axes` of the item embeddings; the `best` state of each
 * case, which copies its own history best; and, if there is a map, the `points` of all items, and the `mean` and `plane` of
 * their projection.
 */
export function predictor({ description, name, note }, tensors, grammar) {
  const trained = (description.counts ? openCounting : openModel)(description, tensors);
  const heads = headsOf(description.head, name, grammar, description.n_items);
  const d = trained.outputs.weight.shape[1];
  const embeddings = trained.outputs.weight.data.subarray(0, description.n_items * d); // without padding
  const rowsOf = (tensor) => {
    const { shape, data } = tensors.get(`page.${tensor}`) ?? { shape: [0] };
    return Array.from({ length: shape[0] }, (_, row) => data.subarray(row * shape[1], (row + 1) * shape[1]));
  };
  const [axes, best] = [rowsOf("axes"), rowsOf("best")];
  const opened = new Map([["", trained]]);

  function open(head) {
    if (!opened.has(head)) opened.set(head, trained.switched(...heads.ablation(heads.parse(head))));
    return opened.get(head);
  }

  /** Return s (h + t (mean w − h) + ‖h‖ Σ a_j u_j), (d,), for a state h and the distinct items read. */
  function moved(state, items, { toward, axes: along, scale }) {
    const norm = Math.hypot(...state);
    return Float64Array.from(state, (h, i) => {
      const mean = items.reduce((sum, item) => sum + embeddings[item * d + i], 0) / items.length;
      const shift = axes.reduce((sum, axis, j) => sum + along[j] * axis[i], 0);
      return scale * (h + toward * (mean - h) + norm * shift);
    });
  }

  /** Return the head's model, the distinct items read, its facets with f_V moved, and the parts of the prediction. */
  function explained(history, setting, place) {
    const model = open(setting.head);
    const items = [...new Set(model.read(history))].sort((one, other) => one - other);
    const facets = model.facets(history);
    const moves = setting.temperature !== 1 || setting.toward || setting.axes.some(Boolean) || setting.scale !== 1;
    if (!facets.V && (moves || setting.best)) throw Error(`${name} has no hidden state. So nothing can be moved.`);
    if (facets.V) facets.V = moved(setting.best ? best[place] : facets.V, items, setting);
    return { model, items, facets, parts: model.explain(facets, history) };
  }

  /** Return what each partition gave an item, as why.py's `given`. */
  function given(history, setting, place, item) {
    const { weights, components } = explained(history, setting, place).parts;
    return components.map(({ names, logits }, k) => ({
      weight: weights && weights[k],
      steps: names.map((name, step) => ({ name, ...stepOf(logits[step - 1]?.[item] ?? 0, logits[step], item) })),
    }));
  }

  /** Return the prediction after a history; `place` is the index of the case whose own history it is, −1 for none. */
  function predict(history, setting, place) {
    if (setting.best && place < 0) {
      throw Error(
        "The state that best copies is known for the cases' own histories only: reset the history or the state, or " +
          "use cprlab explore.",
      );
    }
    const { model, items, facets, parts } = explained(history, setting, place);
    const { logProbs, weights, components } = parts;
    const warm = setting.temperature !== 1 && logProbs.some(Number.isFinite); // (post) may leave nothing
    const scores = warm ? logSoftmax(logProbs, setting.temperature) : logProbs;
    const states = statesOf(model.description.head, facets);
    const alone = aloneOf(components, scores, setting.temperature);
    return predictionOf(scores, items, ownersOf(components, weights), states, alone, description.ordered);
  }

  const all = tensors.has("page.points")
    ? { places: tensors.get("page.points").data, mean: tensors.get("page.mean").data, axes: rowsOf("plane") }
    : { places: null };
  const vectorOf = (item) => embeddings.subarray(item * d, (item + 1) * d);
  let [around, of] = [null, null]; // the last neighbourhood, and its history

  /** Return the k items with the largest cosine to one, as `near` in model.py does; none without embeddings. */
  function near(item, k = NEAR) {
    const own = vectorOf(item);
    const cosines = Array.from({ length: description.n_items }, (_, code) => {
      const other = vectorOf(code);
      const norms = Math.sqrt(dot(own, own) * dot(other, other));
      return Math.round((1e6 * dot(own, other)) / Math.max(norms, Number.MIN_VALUE)) / 1e6;
    });
    const others = cosines.map((_, code) => code).filter((code) => code !== item);
    others.sort((one, other) => cosines[other] - cosines[one] || one - other);
    return others.slice(0, d ? k : 0).map((code) => ({ item: code, cosine: cosines[code] }));
  }

  /** Return the map of all items, or of the neighbourhood of a history; `places` is null if there is none. */
  function mapOf(projection, history) {
    if (projection === "pca" || !history.length || !all.places) return { ...all, note };
    if (of !== String(history)) [around, of] = [neighbourhood(embeddings, d, history), String(history)];
    return around;
  }

  /** Return the place of a vector on a map. */
  const placeOf = ({ mean, axes }, vector) => axes.map((axis) => dot(axis, vector) - dot(axis, mean));

  /** Return the slope of a hidden state's scores on a map, as `Plane.slope` in maps.py; null if all are equal. */
  function slopeOf({ places, axes }, state) {
    const gradient = axes.map((axis) => dot(axis, state));
    const shown = [...Array(places.length / 2).keys()].filter((item) => !Number.isNaN(places[2 * item]));
    const variance = (values) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    };
    const varies = variance(shown.map((item) => dot(state, vectorOf(item))));
    const held = variance(shown.map((item) => dot(gradient, places.subarray(2 * item, 2 * item + 2))));
    return varies > 0 ? { gradient, share: held / varies } : null;
  }

  return { predict, given, near, heads, maxLen: description.max_len, mapOf, placeOf, vectorOf, slopeOf };
}

/** Return a prediction: log-probabilities (n,), or scores if `ordered`, the distinct items read, and what is asked. */
function predictionOf(scores, items, ownerOf, states, { alone, constant }, ordered) {
  const probability = (item) => (ordered ? null : Math.exp(scores[item]));
  const total = (codes) => codes.reduce((before, item) => before + probability(item), 0);
  const sum = (codes) => (ordered && codes.length ? null : total(codes));
  let sorted = null;
  const rank = (item) => {
    sorted ??= scores.slice().sort();
    let [least, most] = [0, sorted.length]; // the number of items below this one; tied items have the worst rank
    while (least < most) {
      const middle = (least + most) >> 1;
      if (sorted[middle] < scores[item]) least = middle + 1;
      else most = middle;
    }
    return sorted.length - least;
  };
  const top = (k) => {
    const order = scores.map((_, item) => item).sort((one, other) => scores[other] - scores[one] || one - other);
    return Array.from(order.subarray(0, k));
  };
  /** How far an item's score is above the k-th best of the others: above 0 if its rank is at most k. */
  const margin = (item, k) => {
    const others = scores.filter((_, code) => code !== item).sort();
    if (scores[item] === -Infinity) return -Infinity;
    return k > others.length ? Infinity : scores[item] - others.at(-k);
  };
  const logit = (item) => (constant !== null && Number.isFinite(scores[item]) ? scores[item] + constant : null);
  const of = (item) => ({ rank: rank(item), p: probability(item), logit: logit(item) });
  const outcome = (target) => ({ copy: sum(items), rank: rank(target), target: probability(target) });
  return { scores, items, states, ownerOf, probability, sum, rank, top, margin, of, outcome, alone, constant, ordered };
}

/**
 * Return `alone`, a function of an item: the score that f_V alone would give, with the normaliser of `scores`; and the
 * `constant` that a logit, divided by the temperature, is above the score. Both are null for mixtures.
 */
function aloneOf(components, scores, temperature) {
  const [{ names, logits }] = components;
  const best = scores.reduce((most, score, item) => (score > scores[most] ? item : most), 0);
  const single = components.length === 1 && names[0] === "V" && Number.isFinite(scores[best]);
  if (!single) return { alone: null, constant: null };
  const constant = logits.at(-1)[best] / temperature - scores[best];
  return { alone: (item) => logits[0][item] / temperature - constant, constant };
}

/** Return what a partition did to an item's logit, given the logits (n,) after it; null if a number is infinite. */
function stepOf(before, after, item) {
  const finite = (value) => (Number.isFinite(value) ? value : null);
  const logit = after[item];
  const rank = after.reduce((sum, value) => sum + (value >= logit), 0);
  return { change: logit === before ? 0 : finite(logit - before), logit: finite(logit), rank };
}

/** Return a function of an item: the partition that scored it last, in the component that gives it most. */
function ownersOf(components, weights) {
  const given = components.map(({ logits }, k) => {
    const last = logits.at(-1);
    return weights ? logSoftmax(last).map((z) => z + Math.log(weights[k])) : last;
  });
  return (item) => {
    const most = given.reduce((before, scores, k) => (scores[item] > given[before][item] ? k : before), 0);
    const { names, owner } = components[most];
    return names[owner[item]] ?? "";
  };
}

/** Return the hidden states at the last position by name, in the order of the head's components. */
function statesOf({ components }, facets) {
  const found = new Map();
  for (const { vocabulary, partitions } of components) {
    if (vocabulary) found.set(vocabulary, facets[vocabulary]);
    for (const { k, reads } of partitions) {
      for (const { name, width, everywhere } of reads) {
        if (width === null && !everywhere) found.set(name.replace(/^R\d+/, `R${k}`), facets[name]); // of another k
      }
    }
  }
  return found;
}
