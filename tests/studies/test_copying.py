import numpy as np
import pandas as pd
import pytest

from cprlab.studies.copying import forecast_scores


def test_scores_are_means_over_the_seeds_of_each_scaling():
    """Against all pairs of a repeat and a new item, counted."""
    rng = np.random.default_rng(0)
    repeat = rng.random(40) < 0.4
    runs = [
        {"data": "log", "head": "H", "scaling": scaling, "seed": seed, "user": range(40), "repeat": repeat}
        | {"copy_probability": rng.random(40).round(1), "log_loss": 1.0}
        for scaling in ("as trained", "history shifted")
        for seed in (0, 1)
    ]
    found = forecast_scores(pd.concat([pd.DataFrame(run) for run in runs])).set_index("scaling")
    for scaling, rows in found.iterrows():
        areas = []
        for run in runs:
            if run["scaling"] == scaling:
                p = np.array(run["copy_probability"])
                pairs = [(a > b) + (a == b) / 2 for a in p[repeat] for b in p[~repeat]]
                areas.append(np.mean(pairs))
        assert rows["AUC"] == pytest.approx(np.mean(areas))
    nobody = pd.DataFrame(runs[0] | {"repeat": False})
    assert forecast_scores(nobody)["AUC"].isna().all()
