"""What single states can copy, and the geometry of items and states, for the notebook on geometry."""

import numpy as np
import pandas as pd

from cprlab.evaluation import estimate
from cprlab.evaluation.statistics import quantile_bins
from cprlab.probes import bottleneck_gap, copyable, geometry, interference
from cprlab.subjects import Subject

MEASURES = {  # columns of `of_cases`, and their names in tables and figures
    "copyable": "histories that one state can copy",
    "gap": "lost by the best state (nats)",
    "interfering": "interfering items",
    "norm": "norm of h",
    "inside": "items between those of the history",
}


def of_cases(subject: Subject) -> pd.DataFrame:
    """Return the probes of a model; for a CPR head, of its item embeddings and the state that scores the vocabulary.

    Returns:
        Rows `case, norm` (‖h‖), `inside` (as in `geometry`), `copyable` (whether it is proven that a single state ranks
        the whole history above all other items), `gap` and `interfering` (as in `bottleneck_gap`, in the ball).

    Raises:
        CprlabError: the head is a mixture, which has several states for the vocabulary.
    """
    gap, places = bottleneck_gap(subject.snapshot), geometry(subject.snapshot)
    return places[["case", "norm", "inside"]].assign(
        copyable=copyable(subject.snapshot)["outcome"] == "yes",
        gap=gap["gap_ball"],
        interfering=gap["interfering"],
    )


def measured(cases: dict[str, pd.DataFrame], base: str = "") -> pd.DataFrame:
    """Return the mean of each measure, or of its paired difference to a model, with 95% intervals over cases.

    Args:
        cases: by model, rows of `of_cases` on the same cases.
        base: the model to compare the others with, paired by case; none if empty.

    Returns:
        Rows `head, metric, value, low, high, n` (number of cases).
    """
    rows = []
    for measure, name in MEASURES.items():
        for head, of_head in cases.items():
            if head != base:
                values = of_head[measure].to_numpy(float) - (cases[base][measure].to_numpy(float) if base else 0)
                rows.append((head, name, *estimate(values)))
    return pd.DataFrame(rows, columns=["head", "metric", "value", "low", "high", "n"])


def norms_by_popularity(subjects: dict[str, Subject], bins: int = 6) -> pd.DataFrame:
    """Return the norm of item embeddings, divided by the mean norm, in popularity bins of about the same size.

    Args:
        subjects: models by name.
        bins: maximum number of bins; items that are read equally often are in the same bin.

    Returns:
        Rows `head, popularity` (how often the bin's median item is in the histories), `value, low, high, n`.
    """
    rows = []
    for head, subject in subjects.items():
        norms = np.linalg.norm(subject.snapshot.item_embeddings.astype(float), axis=1)
        counts = np.bincount(np.concatenate(subject.snapshot.histories), minlength=len(norms))
        places = quantile_bins(counts, bins)
        for place in np.unique(places):
            chosen = norms[places == place] / norms.mean()
            rows.append((head, np.median(counts[places == place]), *estimate(chosen)))
    return pd.DataFrame(rows, columns=["head", "popularity", "value", "low", "high", "n"])


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
