"""What single states can copy, and the geometry of items and states, over training, for the notebook on geometry."""

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
MEASURES = {  # columns of `of_cases`, and their names in tables and figures
    "copyable": "histories that one state can copy",
    "gap": "lost by the best state (nats)",
    "interfering": "interfering items",
    "norm": "norm of h",
    "apart": "h to history, over its spread",
    "inside": "items between those of the history",
}


class GeometryConfig(StudyConfig):
    """The parameters of `notebooks/appendix/geometry.ipynb`."""

    cases: int = pydantic.Field(30, ge=2, description="Number of a model's test cases for the slower probes.")

    def stages(self) -> tuple[int, ...]:
        """Return the numbers of epochs to probe: 1, 2, 4, … and the number of epochs of the size.

        A run with fewer epochs is the same training, stopped earlier, with the weights of its best epoch so far.
        """
        last = self.scale.epochs
        return (*(2**power for power in range((last - 1).bit_length())), last)


def of_cases(subject: Subject) -> pd.DataFrame:
    """Return the probes of a model; for a CPR head, of its item embeddings and the state that scores the vocabulary.

    Returns:
        Rows `case, norm` (‖h‖), `inside` (as in `geometry`), `copyable` (whether it is proven that a single state ranks
        the whole history above all other items), `gap` and `interfering` (as in `bottleneck_gap`, in the ball), `apart`
        (distance of h to the history's mean, divided by the history's spread).

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
    """Return the mean of each measure, or of its paired difference to a head, with 95% intervals over seeds and cases.

    Args:
        cases: rows of `of_cases` with the labels `data, head, epochs, seed`; all runs on a log have the same cases.
        base: the head to compare the others with, paired by case; none if empty.

    Returns:
        Rows `data, head, epochs, metric, value, low, high, n` (number of cases).
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
    """Return the norm of item embeddings, divided by the mean norm, in popularity bins of about the same size.

    Args:
        subjects: models by log and head.
        logs: logs by name.
        bins: maximum number of bins; items with the same number of interactions are in the same bin.

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
        Rows `title`, `histories` (share of the cases where the item scores above an item of the history at the state
        that copies best), `excess` (nats by which it does, mean over these cases), the largest share first.
    """
    of_item = interference(subject.snapshot).groupby(["item", "title"])["excess"].agg(["size", "mean"])
    table = of_item.reset_index("title").rename(columns={"size": "histories", "mean": "excess"})
    table["histories"] /= len(subject.snapshot)
    return table.sort_values(["histories", "excess"], ascending=False).head(most).reset_index(drop=True)
