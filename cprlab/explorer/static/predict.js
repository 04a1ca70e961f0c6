// A model's predictions in a page, as explorer/model.py makes them: of a switched head, a moved f_V, a temperature.

import { headsOf } from "./heads.js";
import { dot, largest, logSoftmax, openModel } from "./model.js";

const NEAR = 5; // items on an item's card

/**
 * Return a model of the page: its heads, its map, and `predict`.
 *
 * `description` is page_model.py's, `name` the trained head's, `points` the message of the map's points. Of the
 * tensors, those named "page." are not weights: the first principal `axes` of the item embeddings; if they are known, the
 * `best` state of each case, which copies its own history best; and, if there is a map, its `points`, and the `mean` and `plane` of its
 * projection.
 */
export function predictor({ description, name, points }, tensors, grammar) {
  const trained = openModel(description, tensors);
  const heads = headsOf(description.head, name, grammar, description.n_items);
  const [d, embeddings] = [trained.outputs.weight.shape[1], trained.outputs.weight.data];
  const rowsOf = (tensor) => {
    const { shape, data } = tensors.get(`page.${tensor}`);
    return Array.from({ length: shape[0] }, (_, row) => data.subarray(row * shape[1], (row + 1) * shape[1]));
  };
  const [axes, copying] = [rowsOf("axes"), tensors.has("page.best") ? rowsOf("best") : []];
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

  /** Return the prediction after a history; `place` is the index of the case whose own history it is, −1 for none. */
  function predict(history, setting, place) {
    if (setting.best && place < 0) {
      throw Error(
        "The state that best copies is known for the cases' own histories only: reset the history or the state, or " +
          "use cprlab explore.",
      );
    }
    const model = open(setting.head);
    const items = [...new Set(model.read(history))].sort((one, other) => one - other);
    const facets = model.facets(history);
    facets.V = moved(setting.best ? copying[place] : facets.V, items, setting);
    const { logProbs, weights, components } = model.explain(facets, history);
    const warm = setting.temperature !== 1 && logProbs.some(Number.isFinite); // (post) may leave nothing
    const scores = warm ? logSoftmax(logProbs, setting.temperature) : logProbs;
    return predictionOf(scores, items, ownersOf(components, weights), statesOf(model.description.head, facets));
  }

  /** Return the items with the largest cosine to one, rounded as in model.py, without it; ties in the order of the codes. */
  function near(item) {
    const row = (code) => embeddings.subarray(code * d, (code + 1) * d);
    const own = row(item);
    const cosines = new Float64Array(description.n_items).map((_, code) => {
      const norms = Math.sqrt(dot(own, own, 0) * dot(row(code), row(code), 0));
      return Math.round((1e6 * dot(own, embeddings, code * d)) / Math.max(norms, Number.MIN_VALUE)) / 1e6;
    });
    cosines[item] = -Infinity;
    return best(cosines, Math.min(NEAR, cosines.length - 1)).map((code) => ({ item: code, cosine: cosines[code] }));
  }

  const placeOf = tensors.has("page.points") ? placing(rowsOf("plane"), tensors.get("page.mean").data) : null;
  return { predict, near, heads, maxLen: description.max_len, points, places: tensors.get("page.points")?.data, placeOf };
}

/** Return the codes of the k largest values, largest first; of equal ones, the smallest codes first. */
function best(values, k) {
  return largest(values, k).sort((one, other) => values[other] - values[one] || one - other);
}

/** Return a prediction: log-probabilities (n,), the distinct items read, and what is asked of them. */
function predictionOf(scores, items, ownerOf, states) {
  const probability = (item) => Math.exp(scores[item]);
  const sum = (codes) => codes.reduce((before, item) => before + probability(item), 0);
  const top = (k) => best(scores, Math.min(k, scores.length));
  function rank(item) {
    let worst = 0; // of tied items
    for (let other = 0; other < scores.length; other++) if (scores[other] >= scores[item]) worst += 1;
    return worst;
  }

  const of = (item) => ({ rank: rank(item), p: probability(item) });
  const outcome = (target) => ({ copy: sum(items), rank: rank(target), target: probability(target) });
  return { items, states, ownerOf, probability, sum, rank, top, of, outcome };
}

/** Return a function of an item: the partition that scored it last, in the component that gives it most. */
function ownersOf(components, weights) {
  const given = components.map(({ logits }, k) => {
    const last = logits.at(-1);
    return components.length > 1 && weights ? logSoftmax(last).map((z) => z + Math.log(weights[k])) : last;
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

/** Return the projection of a vector to the map. */
function placing(plane, mean) {
  return (vector) => plane.map((axis) => vector.reduce((sum, value, i) => sum + (value - mean[i]) * axis[i], 0));
}
