"""What single states can copy, and where items and states lie, over training: what notebook 8 asks of finished runs."""

import numpy as np
import pandas as pd
import pydantic

from cprlab.data import Sequences
from cprlab.evaluation import estimate
from cprlab.evaluation.statistics import quantile_bins
from cprlab.probes import bottleneck_gap, copyable, geometry, interference
from cprlab.studies.config import StudyConfig
from cprlab.subjects import Subject

LABELS = ["data", "head", "epochs"]
MEASURES = {  # columns of `of_cases`: what they are called in tables and figures
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


def of_cases(subject: Subject) -> pd.DataFrame:
    """Ask the probes of a model; of a CPR head, about its item embeddings and the state that scores the vocabulary.

    Returns:
        Rows `case, norm` (of h), `inside` (of `geometry`), `copyable` (a single state ranks the whole history above all
        else, proven), `gap` and `interfering` (of `bottleneck_gap`, in the ball), `apart` (distance of h to the
        history's mean, over the history's spread).

    Raises:
        CprlabError: the head is a mixture, which has several states for the vocabulary.
    """
    gap, places = bottleneck_gap(subject.snapshot), geometry(subject.snapshot)
    return places[["case", "norm", "inside"]].assign(
        copyable=copyable(subject.snapshot)["outcome"] == "yes",
        gap=gap["gap_ball"],
        interfering=gap["interfering"],
        apart=places["to_history"] / places["spread"],
    )


def over_epochs(cases: pd.DataFrame, base: str = "") -> pd.DataFrame:
    """Return each measure of the cases, or its paired difference to a head, with 95% intervals over seeds and cases.

    Args:
        cases: of `of_cases`, the same of all runs on a log, with the labels `data, head, epochs, seed`.
        base: the head to compare the others with, case by case; none if empty.

    Returns:
        Rows `data, head, epochs, metric, value, low, high, n` (cases).
    """
    values = {
        (key, measure): rows[measure].to_numpy(dtype=float).reshape(rows["seed"].nunique(), -1)
        for key, rows in cases.groupby(LABELS, sort=False)
        for measure in MEASURES
    }
    rows = []
    for (key, measure), of_head in values.items():
        data, head, epochs = key
        if head != base:
            of_case = of_head - (values[(data, base, epochs), measure] if base else 0)
            rows.append((*key, MEASURES[measure], *estimate(of_case)))
    return pd.DataFrame(rows, columns=[*LABELS, "metric", "value", "low", "high", "n"])


def norms_by_popularity(
    subjects: dict[tuple[str, str], Subject], logs: dict[str, Sequences], bins: int = 6
) -> pd.DataFrame:
    """Return how long the items' embeddings are, over their mean, in bins of about equally many items.

    Args:
        subjects: models by log and head.
        logs: by the label `data`.
        bins: at most; items of equally many interactions share one.

    Returns:
        Rows `data, head, popularity` (median training interactions of the bin's items), `value, low, high, n`.
    """
    rows = []
    for (data, head), subject in subjects.items():
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
