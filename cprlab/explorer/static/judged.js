// What a prediction is said to give and to lose, as verdict.py says it.

import { integer } from "./base.js";
import { logSoftmax } from "./model.js";

/** Return what a model gives the history and the next item; `remedy` says what its head has for the history, or "". */
export function given({ items, rank, sum, ordered }, post, remedy, target, k) {
  const place = rank(target);
  const many = items.length > 1;
  const them = many ? `these ${items.length} different items` : "the one item of the history";
  const oneOf = many ? "one of them" : "the same";
  const following = `the next item, ${items.includes(target) ? oneOf : "which is new"}`;
  const verb = place <= k ? "has" : "misses";
  const found = `${verb} ${following}${place <= k ? `, in its top ${k}` : ""}, at rank ${integer(place)}`;
  if (ordered) return `gives no probabilities and ${found}.`;
  if (post) return `rules ${them} out and ${found}.`;
  return `gives ${them} ${(100 * sum(items)).toFixed(1)}% and ${found}.${remedy && ` Here ${remedy}.`}`;
}

/**
 * Return a prediction's divergences, in nats, from all probability on the history and from none there, divided as
 * `own`, the prediction as trained, divides it; null if infinite.
 */
export function losses(own, now) {
  const read = new Set(own.items);
  return [true, false].map((copied) => {
    const wanted = Array.from(own.scores.keys()).filter((item) => read.has(item) === copied);
    const scores = Float64Array.from(wanted, (item) => own.scores[item]);
    const shares = logSoftmax(scores.some(Number.isFinite) ? scores : scores.fill(0)); // all the same if none is likely
    const divergence = shares.reduce((sum, share, i) => {
      return share === -Infinity ? sum : sum + Math.exp(share) * (share - now.scores[wanted[i]]);
    }, 0);
    return wanted.length && Number.isFinite(divergence) ? Math.max(0, divergence) : null;
  });
}
