// A recommender that counts, in the page: what cprlab/models/counting.py computes for one history.

import { logSoftmax } from "./model.js";

/** Return a recommender with the functions that predict.js needs of one; it has no hidden states. */
export function openCounting(description, tensors) {
  const { n_items: n, max_len: maxLen, head } = description;
  const [popularity, starts, columns, values, weights, decays] = [
    "popularity", "starts", "columns", "values", "weights", "decays",
  ].map((name) => tensors.get(`head.${name}`).data);
  const total = popularity.reduce((sum, count) => sum + count, 0);

  const read = (history) => history.slice(-maxLen);

  /** Return the sum of decay^age over the positions of each item, (n,); the latest item read has age 0. */
  function decayed(items, decay) {
    const sums = new Float64Array(n);
    items.forEach((item, t) => (sums[item] += decay ** (items.length - 1 - t)));
    return sums;
  }

  const divided = (sums) => {
    const norm = sums.reduce((sum, value) => sum + value, 0);
    return sums.map((value) => value / norm);
  };

  /** Return scores that order the items: the history's above 1, by their last position, and the others' below. */
  function ordered(items, byCount) {
    const most = popularity.reduce((before, count) => Math.max(before, count), 0);
    const scores = popularity.map((count) => count / (1 + most));
    for (const item of new Set(items)) {
      const count = byCount ? items.filter((other) => other === item).length : 0;
      scores[item] = 1 + 1 / (1 + items.length - items.lastIndexOf(item)) + count;
    }
    return scores;
  }

  const components = {
    Popular: () => popularity.slice(),
    Recent: (items) => ordered(items, false),
    Frequent: (items) => ordered(items, true),
    frequency: (items) => divided(decayed(items, decays[0])),
    Markov(items) {
      const followed = decayed(items, decays[1]).map((weight, item) => (starts[item + 1] > starts[item] ? weight : 0));
      if (!followed.some((weight) => weight > 0)) return popularity.map((count) => count / total);
      const sums = new Float64Array(n);
      divided(followed).forEach((weight, item) => {
        if (!weight) return;
        for (let at = starts[item]; at < starts[item + 1]; at++) sums[columns[at]] += weight * values[at];
      });
      return sums;
    },
    popularity: () => popularity.map((count) => count / total),
    uniform: () => new Float64Array(n).fill(1 / n),
  };

  /** Return the prediction as `explain` of model.js does; if the head only orders, its scores for `logProbs`. */
  function explain(facets, history) {
    const items = read(history);
    const given = description.counts.map((name) => components[name](items));
    const shares = divided(weights);
    const z = description.ordered
      ? given[0]
      : given[0].map((_, item) => Math.log(given.reduce((sum, one, k) => sum + shares[k] * one[item], 0)));
    if (head.post) for (const item of items) z[item] = -Infinity;
    return {
      logProbs: description.ordered ? z : logSoftmax(z),
      weights: description.ordered ? [1] : Array.from(shares),
      components: given.map((one, k) => ({
        names: [description.counts[k]],
        logits: [description.ordered ? one : one.map(Math.log)],
        owner: new Int16Array(n),
      })),
    };
  }

  return {
    description,
    outputs: { weight: { shape: [n, 0], data: new Float64Array(0) } },
    read,
    facets: () => ({}),
    explain,
    switched: (changed, { post }) => openCounting({ ...description, head: { ...head, post } }, tensors),
  };
}
