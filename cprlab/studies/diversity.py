"""Does better repetition cost diversity? The lists of a study's heads, what is measured of them, and the answer."""

import itertools

import numpy as np
import pandas as pd

from cprlab.data import Sequences
from cprlab.evaluation import MAIN, METRICS, Lists, diversity, estimate, recommended, side_by_side, taken
from cprlab.models import ablated, parse_head
from cprlab.numbers import as_text
from cprlab.studies.words import Row, caution, judgement
from cprlab.sweeps import Results

TAKEN = "taken by users"
UNITS = {
    "repeats": "share of a list",
    "intra-list distance": "1 − cosine",
    "novelty": "bits an item",
    "coverage": "share of all items",
    "Gini of exposure": "0: all items alike",
}
MORE, LESS = "more diverse by", "less diverse by"
MORE_DIVERSE = {"intra-list distance": 1, "novelty": 1, "coverage": 1, "Gini of exposure": -1}  # the sign of a gain


def survey(results: Results, logs: dict[str, Sequences], seed: int = 0) -> pd.DataFrame:
    """Measure the lists that each head recommends to every test user, on every log.

    Args:
        results: of runs that differ in nothing but data, head and seed.
        logs: by the label `data`.
        seed: of the bootstraps.

    Returns:
        Rows `data`, then those of `evaluation.diversity`, and of NDCG@10: each head's; the first's with the history
        removed at inference; what users took. `against` is "", the first head, or what users took.
    """
    tables = []
    for data, sequences in logs.items():
        lists, accuracy = _heads(results, data, sequences)
        first = next(iter(lists))
        found = diversity(lists | {TAKEN: taken(sequences)}, sequences, ("", first, TAKEN), seed)
        tables += [_accuracies(accuracy, ("", first), seed).assign(data=data), found.assign(data=data)]
    return pd.concat(tables, ignore_index=True)


def _heads(results: Results, data: str, sequences: Sequences) -> tuple[dict[str, Lists], dict[str, np.ndarray]]:
    """Return each head's lists and NDCG@10 (S seeds, m users); behind the first head its (post)."""
    of_data = results.table[results.table["data"] == data]
    lists: dict[str, Lists] = {}
    accuracy: dict[str, np.ndarray] = {}
    for head, rows in of_data.groupby("head", sort=False):
        runs = [results.run(data=data, head=head, seed=seed) for seed in rows["seed"]]
        variants = {head: ("rank", [run.recommender for run in runs])}
        post = parse_head(head).switched(post=True)
        if not lists and str(post) != head:
            variants[str(post)] = "rank_post", [ablated(run.recommender, post) for run in runs]
        for name, (rank, recommenders) in variants.items():
            lists[name] = recommended(recommenders, sequences)
            accuracy[name] = np.stack([METRICS[MAIN](run.cases, rank) for run in runs])
    return lists, accuracy


def _accuracies(accuracy: dict[str, np.ndarray], against: tuple[str, ...], seed: int) -> pd.DataFrame:
    rows = []
    for base, name in itertools.product(against, accuracy):
        if name != base:
            values = accuracy[name] - (accuracy[base] if base else 0)
            rows.append((base, name, MAIN, *estimate(values, seed)))
    return pd.DataFrame(rows, columns=["against", "lists", "metric", "value", "low", "high", "n"])


def measured(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return rows of `survey` as text, `value [low, high]`: for each log, a row for each lists, a column a metric."""
    texts = {}
    for data, of_data in table.groupby("data", sort=False):
        texts[data] = side_by_side(dict(iter(of_data.groupby("metric", sort=False))), "lists", digits)
    return pd.concat(texts, names=["data", "lists"])


def diversity_answer(found: pd.DataFrame) -> str:
    """Return Markdown: what each head gains in accuracy over the first, and what diversity that costs.

    Args:
        found: of `survey`.
    """
    lines = []
    for data, of_data in found.groupby("data", sort=False):
        first = of_data["lists"].iloc[0]
        gains = of_data[of_data["against"] == first]
        by_users = _row(of_data, "", TAKEN, "repeats")
        lines += [
            f"**{as_text(data)}.** {by_users.value:.1%} of what users took were repeats.",
            caution(by_users.n),
            "",
        ]
        lines += [f"- **{first}** recommends {_repeats(of_data, first)}."]
        paid = []
        for head in dict.fromkeys(gains["lists"]):
            if head == TAKEN:
                continue
            accuracy, changes = _row(gains, first, head, MAIN), _changes(gains[gains["lists"] == head])
            verdict, said = judgement(accuracy), "; ".join(f"{how} {', '.join(of)}" for how, of in changes.items())
            lines += [
                f"- **{head}** recommends {_repeats(of_data, head)}.",
                f"    - NDCG@10 against {first}: {_difference(accuracy)}, {verdict}.",
                f"    - Diversity against {first}: {said}.",
            ]
            if verdict == "better":
                costs = [cost.partition(" (")[0] for cost in changes.get(LESS, ["none of these measures"])]
                repeats = judgement(_row(of_data, TAKEN, head, "repeats")) == "better"
                paid.append(
                    f"{head} is more accurate than {first}, less diverse by {' and '.join(costs)}"
                    + f", and gives more repeats than users take, {by_users.value:.1%}" * repeats
                )
        nobody = f"No other head is shown to be more accurate than {first}"
        lines += ["", ("; ".join(paid) or nobody) + ".", ""]
    return "\n".join(lines).strip()


def _changes(gains: pd.DataFrame) -> dict[str, list[str]]:
    """Return by which metrics a head's lists are more, less, or not shown to be otherwise diverse, and by how much."""
    changes: dict[str, list[str]] = {}
    for row in gains[gains["metric"].isin(MORE_DIVERSE)].itertuples():
        verdict = judgement(row)
        if verdict in ("better", "worse"):
            how = MORE if (verdict == "better") == (MORE_DIVERSE[row.metric] > 0) else LESS
            changes.setdefault(how, []).append(f"{row.metric} ({_difference(row)})")
        else:
            changes.setdefault(f"{verdict} in", []).append(row.metric)
    return changes


def _repeats(found: pd.DataFrame, name: str) -> str:
    share, more = _row(found, "", name, "repeats"), _row(found, TAKEN, name, "repeats")
    verdicts = {"better": "more than users take", "worse": "fewer than users take"}
    points = f"{100 * more.value:+.1f} [{100 * more.low:+.1f}, {100 * more.high:+.1f}] percentage points"
    return f"{share.value:.1%} repeats: {verdicts.get(judgement(more), judgement(more))} ({points})"


def _difference(row: Row) -> str:
    return f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def _row(found: pd.DataFrame, against: str, name: str, metric: str) -> Row:
    chosen = found[(found["against"] == against) & (found["lists"] == name) & (found["metric"] == metric)]
    return next(chosen.itertuples())
