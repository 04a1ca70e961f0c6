"""The survey of a study's heads on a small log, and its answer."""

import pandas as pd
import pytest

from cprlab.evaluation import gains, means, recommended
from cprlab.models import GRU4RecConfig
from cprlab.studies.diversity import TAKEN, diversity_answer, measured, survey
from cprlab.sweeps import Trial, run_trials
from cprlab.training import RunConfig, TrainingConfig

HEADS = ("Softmax", "Softmax + C")


@pytest.fixture(scope="module")
def results(sequences, tmp_path_factory):
    trials = [
        Trial(
            {"data": "log", "encoder": "GRU4Rec", "head": head, "seed": seed},
            RunConfig(
                encoder=GRU4RecConfig(d=8, hidden=8),
                head=head,
                training=TrainingConfig(epochs=2, batch_size=8, seed=seed),
            ),
        )
        for head in HEADS
        for seed in (0, 1)
    ]
    return run_trials(trials, {"log": sequences}, tmp_path_factory.mktemp("runs"), "cpu")


def test_the_survey_measures_all_seeds_and_agrees_with_means_and_gains(results, sequences):
    found = survey(results, {"log": sequences}).set_index(["against", "lists", "metric"])
    names = ["Softmax", "Softmax (post)", "Softmax + C"]
    assert list(found.loc[""].index.get_level_values("lists").unique()) == [*names, TAKEN]
    columns = ["value", "low", "high"]
    of_means = means(results.cases).query("cases == 'all'").set_index(["head", "ranking"])[columns]
    for name, key in zip(names, [("Softmax", "raw"), ("Softmax", "post"), ("Softmax + C", "raw")], strict=True):
        assert found.loc[("", name, "NDCG@10"), columns].tolist() == pytest.approx(of_means.loc[key].tolist())
    gained = gains(results.cases, {"head": "Softmax"}).query("cases == 'all' and ranking == 'raw'").iloc[0]
    row = found.loc[("Softmax", "Softmax + C", "NDCG@10")]
    assert row[columns].tolist() == pytest.approx(gained[columns].tolist())
    models = [results.run(head="Softmax + C", seed=seed).recommender for seed in (0, 1)]
    share = recommended(models, sequences).repeats.mean()
    assert found.loc[("", "Softmax + C", "repeats"), "value"] == pytest.approx(share)
    assert found.loc[("", "Softmax (post)", "repeats"), "value"] == 0
    text = measured(found.reset_index().query("against == ''"), 2)
    assert float(text.loc[("log", "Softmax + C"), "repeats"].partition(" [")[0]) == pytest.approx(share, abs=0.006)
    assert text.loc[("log", TAKEN), "NDCG@10"] == ""


def rows(against, lists, measures, n=400):
    return [(against, lists, metric, value, value - 0.01, value + 0.01, n) for metric, value in measures.items()]


def test_the_answer_says_what_accuracy_costs():
    alike = {"repeats": 0.3, "novelty": 5.0, "coverage": 0.2, "Gini of exposure": 0.7, "intra-list distance": 0.5}
    more = {"NDCG@10": 0.05, "novelty": -0.5, "coverage": 0.002, "Gini of exposure": 0.1, "intra-list distance": 0.1}
    worse = {"NDCG@10": -0.05, "Gini of exposure": -0.1}
    found = pd.DataFrame(
        rows("", "Softmax", {"NDCG@10": 0.1} | alike)
        + rows("", "Softmax + C", {"NDCG@10": 0.15, "repeats": 0.9})
        + rows("", "RepeatNet", {"repeats": 0.4})
        + rows("", TAKEN, alike | {"repeats": 0.4})
        + rows("Softmax", "Softmax + C", more)
        + rows("Softmax", "RepeatNet", worse)
        + rows("Softmax", TAKEN, {"novelty": 3.0})
        + rows(TAKEN, "Softmax", {"repeats": -0.1})
        + rows(TAKEN, "Softmax + C", {"repeats": 0.5})
        + rows(TAKEN, "RepeatNet", {"repeats": 0.0}),
        columns=["against", "lists", "metric", "value", "low", "high", "n"],
    ).assign(data="a_log")
    answer = diversity_answer(found)
    assert answer.startswith("**a\\_log.** 40.0% of what users took were repeats.\n")
    assert (
        "- **Softmax** recommends 30.0% repeats: fewer than users take (-10.0 [-11.0, -9.0] percentage points)."
        in answer
    )
    assert "**Softmax + C** recommends 90.0% repeats: more than users take" in answer
    assert "**RepeatNet** recommends 40.0% repeats: no difference shown (+0.0" in answer
    assert (
        "Diversity against Softmax: less diverse by novelty (-0.500 [-0.510, -0.490]), "
        "Gini of exposure (+0.100 [+0.090, +0.110]); no difference shown in coverage; "
        "more diverse by intra-list distance (+0.100 [+0.090, +0.110]).\n"
    ) in answer
    assert "Diversity against Softmax: more diverse by Gini of exposure (-0.100 [-0.110, -0.090]).\n" in answer
    assert f"**{TAKEN}**" not in answer
    assert answer.endswith(
        "Softmax + C is more accurate than Softmax, less diverse by novelty and Gini of exposure, "
        "and gives more repeats than users take, 40.0%."
    )
    assert "small sample" not in answer
    none = diversity_answer(found[found["lists"] != "Softmax + C"].assign(n=100))
    assert none.endswith("No other head is shown to be more accurate than Softmax.")
    assert "small sample, of 100 test users" in none
