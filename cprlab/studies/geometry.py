"""What single states can copy, and where items and states lie, over training: what notebook 8 asks of finished runs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pydantic

from cprlab.data import Sequences
from cprlab.evaluation import estimate
from cprlab.evaluation.statistics import quantile_bins
from cprlab.probes import bottleneck_gap, copyable, geometry, interference, space
from cprlab.studies.config import StudyConfig
from cprlab.studies.words import FEW
from cprlab.subjects import Subject, open_subject
from cprlab.sweeps import Results

LABELS = ["data", "head", "epochs"]
MEASURES = {  # columns of `Geometry.cases`: what they are called in tables and figures
    "copyable": "histories that one state can copy",
    "gap": "lost by the best state (nats)",
    "interfering": "interfering items",
    "norm": "norm of h",
    "apart": "h to history, over its spread",
    "inside": "items between those of the history",
}


class GeometryConfig(StudyConfig):
    """The parameters of `notebooks/08_geometry.ipynb`."""

    cases: int = pydantic.Field(30, ge=2, description="Number of test cases that the slower probes take of a model.")

    def stages(self) -> tuple[int, ...]:
        """Return after how many epochs to look: 1, 2, 4, … and as many as the size trains.

        A run of fewer epochs is the same training stopped earlier, with the weights of its best epoch so far.
        """
        last = self.scale.epochs
        return (*(2**power for power in range((last - 1).bit_length())), last)


@dataclass(frozen=True)
class Geometry:
    """What the probes found of many runs.

    Attributes:
        cases: a row a run and probed case: `data, head, epochs, seed, case`, `copyable` (a single state ranks the whole
            history above all else, proven), `gap` and `interfering` (of `bottleneck_gap`, in the ball), `norm` (of h),
            `apart` (distance of h to the history's mean, over the history's spread), `inside` (of `geometry`).
        space: a row a run and measure of `space`: `data, head, epochs, seed, measure, value`.
        last: the models of the first seed after the most epochs, on the probed cases, by log and head.
    """

    cases: pd.DataFrame
    space: pd.DataFrame
    last: dict[tuple[str, str], Subject]


def probe_runs(results: Results, logs: dict[str, Sequences], cases: int) -> Geometry:
    """Ask the probes of every run; of a CPR head, about its item embeddings and the state that scores the vocabulary.

    Args:
        results: of `run_trials`, with the setting `epochs`.
        logs: by the label `data`.
        cases: of each log that the certificates and the bottleneck gap take, the same for all its runs.

    Raises:
        CprlabError: a head is a mixture, which has several states for the vocabulary.
    """
    of_cases, of_space, last = [], [], {}
    for row in results.table.to_dict("records"):  # of one head, those of fewer epochs first
        labels = {name: row[name] for name in (*LABELS, "seed")}
        whole = open_subject(row["folder"], logs[row["data"]])
        subject = whole.sample(cases, seed=0)
        gap, places = bottleneck_gap(subject.snapshot), geometry(subject.snapshot)
        table = places[["case", "norm", "inside"]].assign(
            copyable=copyable(subject.snapshot)["outcome"] == "yes",
            gap=gap["gap_ball"],
            interfering=gap["interfering"],
            apart=places["to_history"] / places["spread"],
        )
        of_cases.append(table.assign(**labels))
        of_space.append(space(whole.snapshot).assign(**labels))
        if row["seed"] == 0:
            last[row["data"], row["head"]] = subject
    return Geometry(pd.concat(of_cases, ignore_index=True), pd.concat(of_space, ignore_index=True), last)


def over_epochs(found: Geometry, base: str = "") -> pd.DataFrame:
    """Return each measure of the cases, or its paired difference to a head, with 95% intervals over seeds and cases.

    Args:
        found: of `probe_runs`.
        base: the head to compare the others with, case by case; none if empty.

    Returns:
        Rows `data, head, epochs, metric, value, low, high, n` (cases).
    """
    values = {
        (key, measure): rows[measure].to_numpy(dtype=float).reshape(rows["seed"].nunique(), -1)
        for key, rows in found.cases.groupby(LABELS, sort=False)
        for measure in MEASURES
    }
    rows = []
    for (key, measure), of_head in values.items():
        data, head, epochs = key
        if head != base:
            of_case = of_head - (values[(data, base, epochs), measure] if base else 0)
            rows.append((*key, MEASURES[measure], *estimate(of_case)))
    return pd.DataFrame(rows, columns=[*LABELS, "metric", "value", "low", "high", "n"])


def norms_by_popularity(found: Geometry, logs: dict[str, Sequences], bins: int = 6) -> pd.DataFrame:
    """Return how long the items' embeddings are, over their mean, in bins of about equally many items.

    Returns:
        Rows `data, head, popularity` (median training interactions of the bin's items), `value, low, high, n`.
    """
    rows = []
    for (data, head), subject in found.last.items():
        norms = np.linalg.norm(subject.snapshot.item_embeddings.astype(float), axis=1)
        counts = logs[data].training_counts()
        places = quantile_bins(counts, bins)
        for place in np.unique(places):
            chosen = norms[places == place] / norms.mean()
            median = np.median(counts[places == place])
            rows.append((data, head, median, *estimate(chosen)))
    return pd.DataFrame(rows, columns=["data", "head", "popularity", "value", "low", "high", "n"])


def interferers(subject: Subject, most: int = 5) -> pd.DataFrame:
    """Return the items that interfere with the most histories.

    Returns:
        Rows `title`, `histories` (share of the cases whose best copier lifts the item above an item of the history),
        `excess` (nats by which it does, mean over these), most of them first.
    """
    of_item = interference(subject.snapshot).groupby(["item", "title"])["excess"].agg(["size", "mean"])
    table = of_item.reset_index("title").rename(columns={"size": "histories", "mean": "excess"})
    table["histories"] /= len(subject.snapshot)
    return table.sort_values(["histories", "excess"], ascending=False).head(most).reset_index(drop=True)


def geometry_answer(found: Geometry, dials: dict[tuple[str, str], pd.DataFrame]) -> str:
    """Return Markdown: what single states can copy with each head's item embeddings, and what training does to that.

    Args:
        found: of `probe_runs`.
        dials: by log and head, `copy_dial` at 0 and 1 of the `last` models that score all items by one state.
    """
    at = over_epochs(found).set_index([*LABELS, "metric"])
    shape = found.space.groupby([*LABELS, "measure"])["value"].mean()
    base = found.cases["head"].iloc[0]
    against = over_epochs(found, base).set_index([*LABELS, "metric"])
    lines = []
    for data, of_log in found.cases.groupby("data", sort=False):
        first, last, n = of_log["epochs"].min(), of_log["epochs"].max(), of_log["case"].nunique()
        small = "" if n >= 10 * FEW else "; so few say little"
        lines += ["", f"On **{data}**, after up to {last} epochs, on {n} test cases{small}:", ""]
        for head in of_log["head"].unique():
            share, gap, items = (
                at.loc[(data, head, last, MEASURES[name])] for name in ("copyable", "gap", "interfering")
            )
            before = at.loc[(data, head, first, MEASURES["copyable"])]
            norms, cosine = (shape[data, head, last, name] for name in ("norm and popularity", "mean cosine"))
            words = (
                f"- **{head}**: a single state can copy {share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of the "
                f"histories exactly ({before.value:.0%} after the first epoch). The best in reach gives a "
                f"history's items {np.exp(gap.value):,.0f} times less than wanted, and ranks {items.value:,.0f} "
                f"[{items.low:,.0f}, {items.high:,.0f}] others above one of them. The norms of its item embeddings "
                f"correlate with popularity at {norms:+.2f} (by rank); the mean cosine of two items is {cosine:+.2f}."
            )
            if head != base:
                row = against.loc[(data, head, last, MEASURES["copyable"])]
                shown = "; no difference shown" if row.low <= 0 <= row.high else ""
                words += (
                    f" Against {base} that is {100 * row.value:+.0f} [{100 * row.low:+.0f}, {100 * row.high:+.0f}] "
                    f"percentage points of the histories{shown}."
                )
            if (data, head) in dials:
                ends = dials[data, head].groupby("alpha")[["stay", "floor_ball", "floor_context"]].mean()
                words += (
                    f" Copying alone costs it {_floors(ends.loc[1.0])}; excluding the history {_floors(ends.loc[0.0])}."
                )
            lines.append(words)
    return "\n".join(lines[1:])


def _floors(end: pd.Series) -> str:
    return (
        f"{end['stay']:.2f} nats at its own states, {end['floor_ball']:.2f} at the best in reach and "
        f"{end['floor_context']:.2f} with a context partition"
    )
