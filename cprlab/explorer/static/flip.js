// A small edit of the history that changes whether the true next item is among a model's best, as flips.py finds it.

const MOST = 3; // edits
const TRIED = 10; // items of each kind that are tried as insertions

/**
 * Return an edit of a history after which `target` enters the model's k best items, or leaves them.
 *
 * `predict` returns the model's prediction after a history, `near` the codes of the items nearest to an item; `edit` is
 * "" if no edit was found.
 */
export function flip(predict, near, given, target, k) {
  const now = predict(given);
  const hit = now.margin(target, k) > 0;
  const likely = now.top(TRIED + 1).filter((item) => item !== target).slice(0, TRIED);
  const tried = [...new Set([...likely, ...near(target, TRIED)])];

  function search(edits, most) {
    let history = given;
    const items = [];
    while (items.length < most) {
      const possible = edits(history);
      if (!possible.length) break;
      const margins = possible.map(([, edited]) => predict(edited).margin(target, k));
      const best = margins.indexOf(hit ? Math.min(...margins) : Math.max(...margins));
      items.push(possible[best][0]);
      history = possible[best][1];
      if (margins[best] > 0 !== hit) return { items, history };
    }
    return { items: [], history: given };
  }

  const without = (history, items) => items.map((item) => [item, history.filter((other) => other !== item)]);
  const removed = search((history) => without(history, [...new Set(history)]).filter(([, left]) => left.length), MOST);
  const most = removed.items.length ? removed.items.length - 1 : MOST;
  const inserted = search((history) => tried.map((item) => [item, [...history, item]]), most);
  const found = inserted.items.length ? inserted : removed;
  const edit = found.items.length ? (found === inserted ? "inserted" : "removed") : "";
  return { k, edit, ...found, before: now.rank(target), after: predict(found.history).rank(target) };
}
