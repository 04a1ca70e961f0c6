"""The feedback loop's tables; each simulation is kept and found again."""

import numpy as np
import pandas as pd
import pytest

from cprlab.errors import ConfigError
from cprlab.evaluation.bootstrap import resampled_means
from cprlab.simulation import EVERYBODY
from cprlab.studies import feedback


@pytest.fixture
def table():
    """Two seeds of 30 users; the head gains 0.2 in the first round and 0.1 in the last, on everybody alike."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(2):
        for round_ in (1, 2, 3):
            base = rng.random(30) / 2
            for head, gain in (
                ("Softmax", 0.0),
                ("Softmax + C", 0.25 - 0.05 * round_),
                ("oracle", 0.4),
                ("popular", 0),
            ):
                for user in range(30):
                    rows.append(("a world", head, seed, round_, user, "engagement", base[user] + gain))
                rows.append(("a world", head, seed, round_, EVERYBODY, "Gini", round_ / 10 + seed / 100))
    return pd.DataFrame(rows, columns=["world", "head", "seed", "round", "user", "measure", "value"])


def test_averages_are_over_users_and_seeds(table):
    averaged = feedback.averages(table).set_index(["head", "measure", "round"])
    chosen = table.query("head == 'Softmax' and measure == 'engagement' and round == 2")
    row = averaged.loc[("Softmax", "engagement", 2)]
    assert row["value"] == pytest.approx(chosen["value"].mean())
    drawn = resampled_means(chosen["value"].to_numpy().reshape(2, 30))
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(drawn, (2.5, 97.5)))
    assert row["n"] == 30
    whole = averaged.loc[("Softmax", "Gini", 3)]
    assert whole[["value", "low", "high", "n"]].tolist() == pytest.approx([0.305, 0.3, 0.31, 1])


def test_a_gain_is_followed_from_the_first_round_to_the_last(table):
    gained = feedback.lasting(table, "Softmax").query("measure == 'engagement' and head == 'Softmax + C'")
    assert gained["when"].tolist() == ["first round", "last round", "change"]
    for column in ("value", "low", "high"):
        assert gained[column].tolist() == pytest.approx([0.2, 0.1, -0.1])
    with pytest.raises(ConfigError, match="no simulation with Softmax \\+ P"):
        feedback.lasting(table, "Softmax + P")


def test_a_simulation_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setitem(feedback.SCALES, "smoke", feedback.Scale(12, 30, 2, 2, 1, 8, 4))
    study = feedback.FeedbackConfig(heads="Softmax", device="cpu", runs=str(tmp_path), seeds=2)
    assert study.but(users=9, epochs=4).simulated == feedback.Scale(9, 30, 2, 2, 4, 8, 4)
    worlds = {"one": study.population(consumables=1.0), "other": study.population(consumables=0.0)}
    table = study.run(worlds)
    assert table.groupby(["world", "head", "seed"]).ngroups == 2 * 3 * 2
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    assert len(files) == 12
    pd.testing.assert_frame_equal(study.run(worlds), table)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")} == files
    by_seed = table.query("head == 'popular' and measure == 'engagement'").groupby("seed")["value"].mean()
    assert by_seed[0] != by_seed[1]
    with pytest.raises(ConfigError, match="'organic' cannot be 2"):
        study.population(organic=2)
