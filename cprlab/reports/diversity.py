"""Does better repetition cost diversity? The lists of a study's heads, what is measured of them, and the answer."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from cprlab.data import Sequences
from cprlab.evaluation import METRICS, Lists, diversity, interval, item_vectors, recommended, side_by_side, taken
from cprlab.models import ablated, parse_head
from cprlab.reports.answer import caution, judgement
from cprlab.reports.numbers import as_text
from cprlab.sweeps import Results

TAKEN = "taken by users"
ACCURACY = "NDCG@10"
UNITS = {
    "repeats": "share of a list",
    "intra-list distance": "1 − cosine",
    "novelty": "bits an item",
    "coverage": "share of all items",
    "Gini of exposure": "0: all items alike",
}
MORE_DIVERSE = {"intra-list distance": 1, "novelty": 1, "coverage": 1, "Gini of exposure": -1}  # the sign of a gain


@dataclass(frozen=True)
class Survey:
    """What is measured of lists, on every log: rows `data, lists, metric, value, low, high, n`.

    Attributes:
        values: of each head's lists, of the first head's with the history removed at inference, and of what users took.
        gains: what each of the others has over the first head, user by user.
        excess: what each head has over what users took, user by user.
    """

    values: pd.DataFrame
    gains: pd.DataFrame
    excess: pd.DataFrame


def survey(results: Results, logs: dict[str, Sequences], seed: int = 0) -> Survey:
    """Measure the lists that each head recommends to every test user: `evaluation.diversity`, and NDCG@10.

    Args:
        results: of runs that differ in nothing but data, head and seed.
        logs: by the label `data`.
        seed: of the bootstraps.
    """
    tables: list[list[pd.DataFrame]] = [[], [], []]
    for data, sequences in logs.items():
        lists, accuracy = _heads(results, data, sequences)
        first, vectors = next(iter(lists)), item_vectors(sequences)
        everything = lists | {TAKEN: taken(sequences)}
        for of_kind, named, against in zip(tables, (everything, lists, everything), ("", first, TAKEN), strict=True):
            found = [diversity(named, sequences, vectors, against, seed)]
            if against != TAKEN:
                found.insert(0, _accuracies(accuracy, against, seed))
            of_kind.append(pd.concat(found).assign(data=data))
    return Survey(*(pd.concat(of_kind, ignore_index=True) for of_kind in tables))


def _heads(results: Results, data: str, sequences: Sequences) -> tuple[dict[str, Lists], dict[str, np.ndarray]]:
    """Return each head's lists, and each user's NDCG@10 (m,), averaged over seeds; behind the first its (post)."""
    of_data = results.table[results.table["data"] == data]
    lists, accuracy = {}, {}
    for head, rows in of_data.groupby("head", sort=False):
        runs = [results.run(data=data, head=head, seed=seed) for seed in rows["seed"]]
        variants = {head: ("rank", [run.recommender for run in runs])}
        post = parse_head(head).switched(post=True)
        if not lists and str(post) != head:
            variants[str(post)] = "rank_post", [ablated(run.recommender, post) for run in runs]
        for name, (rank, recommenders) in variants.items():
            lists[name] = recommended(recommenders, sequences)
            accuracy[name] = np.mean([METRICS[ACCURACY](run.cases, rank) for run in runs], axis=0)
    return lists, accuracy


def _accuracies(accuracy: dict[str, np.ndarray], against: str, seed: int) -> pd.DataFrame:
    rows = []
    for name, values in accuracy.items():
        if name != against:
            values = values - (accuracy[against] if against else 0)
            rows.append((name, ACCURACY, values.mean(), *interval(values, seed), len(values)))
    return pd.DataFrame(rows, columns=["lists", "metric", "value", "low", "high", "n"])


def measured(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Return rows of a `Survey` as text, `value [low, high]`: for each log, a row for each lists, a column a metric."""
    texts = {}
    for data, of_data in table.groupby("data", sort=False):
        texts[data] = side_by_side(dict(iter(of_data.groupby("metric", sort=False))), "lists", digits)
    return pd.concat(texts, names=["data", "lists"])


def diversity_answer(found: Survey) -> str:
    """Return Markdown: what each head gains in accuracy over the first, and what diversity that costs."""
    lines = []
    for data, gains in found.gains.groupby("data", sort=False):
        values, excess = (table[table["data"] == data] for table in (found.values, found.excess))
        first, by_users = values["lists"].iloc[0], _row(values, TAKEN, "repeats")
        lines += [
            f"**{as_text(data)}.** {by_users.value:.1%} of what users took were repeats.",
            caution(by_users.n),
            "",
        ]
        lines += [f"- **{first}** recommends {_repeats(values, excess, first)}."]
        paid = []
        for head, of_head in gains.groupby("lists", sort=False):
            accuracy = _row(gains, head, ACCURACY)
            verdict, changes = judgement(accuracy), _changes(of_head)
            said = "; ".join(f"{how} {', '.join(of)}" for how, of in changes.items())
            lines += [
                f"- **{head}** recommends {_repeats(values, excess, head)}.",
                f"    - NDCG@10 against {first}: {_difference(accuracy)}, {verdict}.",
                f"    - Diversity against {first}: {said}.",
            ]
            if verdict == "better":
                costs = [cost.partition(" (")[0] for cost in changes.get("less in", ["nothing that could be shown"])]
                paid.append(f"{head} is more accurate, and less diverse in {' and '.join(costs)}")
        nobody = f"No other head is shown to be more accurate than {first}."
        lines += ["", f"So {'; '.join(paid)}." if paid else nobody, ""]
    return "\n".join(lines).strip()


def _changes(gains: pd.DataFrame) -> dict[str, list[str]]:
    """Return in which metrics a head's lists are more, less or not shown to be otherwise diverse, and by how much."""
    changes: dict[str, list[str]] = {}
    for row in gains[gains["metric"].isin(MORE_DIVERSE)].itertuples():
        verdict = judgement(row)
        if verdict in ("better", "worse"):
            how = "more in" if (verdict == "better") == (MORE_DIVERSE[row.metric] > 0) else "less in"
            changes.setdefault(how, []).append(f"{row.metric} ({_difference(row)})")
        else:
            changes.setdefault(f"{verdict} in", []).append(row.metric)
    return changes


def _repeats(values: pd.DataFrame, excess: pd.DataFrame, name: str) -> str:
    share, more = _row(values, name, "repeats"), _row(excess, name, "repeats")
    verdicts = {"better": "more than users take", "worse": "fewer than users take"}
    points = f"{100 * more.value:+.1f} [{100 * more.low:+.1f}, {100 * more.high:+.1f}] percentage points"
    return f"{share.value:.1%} repeats: {verdicts.get(judgement(more), judgement(more))} ({points})"


def _difference(row: NamedTuple) -> str:
    return f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def _row(table: pd.DataFrame, name: str, metric: str) -> NamedTuple:
    return next(table[(table["lists"] == name) & (table["metric"] == metric)].itertuples())
