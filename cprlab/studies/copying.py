"""forecast_scores: scores of the copy probability as a forecast that are not means over cases."""

import pandas as pd

from cprlab.probes import copy_scores

WITHOUT_INTERVAL = ("calibration error", "AUC")


def forecast_scores(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the calibration error and the AUC of the copy probability, averaged over seeds.

    Args:
        cases: cases of `Results` with the labels `data, head, scaling`.

    Returns:
        A row for each log, head and scaling: `data, head, scaling`, "calibration error", "AUC" (NaN if no next item
        repeats).
    """
    labels = ["data", "head", "scaling"]
    rows = []
    for values, of_run in cases.groupby([*labels, "seed"], sort=False):
        scores = copy_scores(of_run).set_index("measure")["value"]
        rows.append(dict(zip(labels, values, strict=False)) | {name: scores[name] for name in WITHOUT_INTERVAL})
    return pd.DataFrame(rows).groupby(labels, sort=False, as_index=False).mean()
