"""What notebook 7 asks of runs: each scaling's cases beside those as trained, and words that follow from them."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr

from cprlab.data import Sequences
from cprlab.evaluation import evaluate, fit_temperature
from cprlab.probes import copy_scores
from cprlab.studies.copying import copying_answer, forecast_scores, scale_runs
from cprlab.sweeps import Grid, Results, run_trials
from tests.conftest import random_log


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    logs = {"log": Sequences.from_log(random_log(users=60, items=30), max_len=20)}
    grid = Grid(data=("log",), head=("Softmax", "Softmax + C"), settings={"d": (8,), "epochs": (1,)}, seeds=2)
    results = run_trials(grid.trials(), logs, tmp_path_factory.mktemp("runs"), "cpu")
    return logs["log"], results, scale_runs(results, logs, "cpu")


def test_the_cases_are_those_of_the_run_as_trained_and_scaled(scaled):
    sequences, results, found = scaled
    assert list(found.cases.columns[:7]) == ["data", "encoder", "head", "d", "epochs", "seed", "scaling"]
    trained = found.cases[found.cases["scaling"] == "as trained"].reset_index(drop=True)
    pd.testing.assert_frame_equal(trained[results.cases.columns], results.cases, check_dtype=False)
    assert found.cases["gap"].notna().equals(found.cases["repeat"])
    run = results.run(head="Softmax + C", seed=1)
    scale = fit_temperature(run.recommender, sequences)
    row = found.table.query("head == 'Softmax + C' and seed == 1").iloc[0]
    assert row["temperature"] == scale.temperature
    rows = found.cases.query("head == 'Softmax + C' and seed == 1 and scaling == 'one temperature'")
    expected = evaluate(run.recommender, sequences, scale=scale)
    pd.testing.assert_frame_equal(rows[expected.columns].reset_index(drop=True), expected, check_dtype=False)


def test_scores_are_means_over_seeds(scaled):
    *_, found = scaled
    scores = forecast_scores(found.cases).set_index(["head", "scaling"])
    of_seeds = [
        copy_scores(found.cases.query("head == 'Softmax' and scaling == 'history shifted' and seed == @seed"))
        for seed in (0, 1)
    ]
    for name in ("AUC", "calibration error"):
        values = [table.set_index("measure").loc[name, "value"] for table in of_seeds]
        assert scores.loc[("Softmax", "history shifted"), name] == pytest.approx(np.mean(values))


def made_up(trained, cooled, shifted, repeat):
    """The results of one head that puts these probabilities on the history, the items of either side being alike."""
    cases = []
    for scaling, copied in (("as trained", trained), ("one temperature", cooled), ("history shifted", shifted)):
        side = np.where(repeat, copied, 1 - np.array(copied))
        frame = pd.DataFrame(
            {"data": "log", "head": "H", "seed": 0, "scaling": scaling, "user": np.arange(len(repeat))}
        )
        cases.append(frame.assign(repeat=repeat, copy_probability=copied, log_loss=-np.log(side / 10)))
    table = pd.DataFrame({"data": ["log"], "head": ["H"], "seed": [0], "temperature": [0.8], "shift": [1.5]})
    return Results(table, pd.concat(cases, ignore_index=True))


REPEAT = np.arange(100) % 5 < 2
AT = {copied: np.array([[0.4, 0.6], [copied, 1 - copied]]) for copied in (0.1, 0.2)}  # what is true, and what is said


@pytest.mark.parametrize(
    ("cooled", "shifted", "words"),
    [
        (0.1, 0.4, "That a temperature mends it is not shown."),
        (0.05, 0.4, "A temperature makes copying worse."),
        (
            0.2,
            0.4,
            f"A temperature mends {1 - rel_entr(*AT[0.2]).sum() / rel_entr(*AT[0.1]).sum():.0%} of what a shift",
        ),
        (0.2, 0.1, "That there was anything to mend is not shown."),
    ],
)
def test_the_answer_follows_from_the_numbers(cooled, shifted, words):
    spread = np.linspace(-1e-3, 1e-3, 100)
    results = made_up(0.1 + spread, cooled + spread, shifted + spread, REPEAT)
    answer = copying_answer(results, forecast_scores(results.cases))
    assert "On **log** 40.0% of 100 users next took an item of their history; so few users say little." in answer
    assert "**H** puts 10.0% [10.0%, 10.0%] there, too little; its AUC" in answer
    assert "One temperature (0.8) changes" in answer
    assert "shifting the history by +1.50 nats" in answer
    assert words in answer
