"""cheapest against the rule applied by hand: SciPy's test of signs and Holm's steps in a loop."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cprlab.errors import DataError
from cprlab.probes import CHEAPEST, NOTHING, PARTS, Snapshot, cheapest, retrofit, retrofits
from tests.probes.test_retrofit import brute, snapshot


def drawn(theta, m=600, seed=2, matrix=None, vector=None):
    """A model whose users follow a head with the numbers b, s, w₁ and w₂, and a facet of its own if one is given."""
    snap = snapshot(m=m, n=30, d=3, seed=seed)
    matrix, vector = np.zeros((3, 3)) if matrix is None else matrix, np.zeros(3) if vector is None else vector
    rng = np.random.default_rng(seed)
    targets = [rng.choice(30, p=np.exp(row)) for row in brute(snap, theta, matrix, vector)]
    return Snapshot(snap.item_embeddings, snap.states, snap.histories, targets, snap.bias)


@pytest.fixture(scope="module")
def fitted():
    return retrofits(drawn((2.0, 0, 0, 0)), seed=1)


def by_hand(fitted):
    """The part named: paired differences per user, SciPy's sign flips, Holm's steps."""
    losses = {NOTHING: fitted["B"].cases["before"]["log_loss"].to_numpy(float)}
    losses |= {part: fitted[part].cases["after"]["log_loss"].to_numpy(float) for part in PARTS}
    best = min(losses, key=lambda part: losses[part].mean())
    p = {}
    for part in losses:
        if part != best:
            differences = losses[part] - losses[best]
            p[part] = stats.permutation_test(
                (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=0
            ).pvalue
    worse, open_ = set(), True
    for step, part in enumerate(sorted(p, key=p.get)):
        open_ = open_ and p[part] * (len(p) - step) < 0.05
        if open_:
            worse.add(part)
    return next(part for part in losses if part not in worse), best, p


def test_users_who_follow_one_bias_get_one_bias(fitted):
    named, best, p = by_hand(fitted)
    found = cheapest(fitted)
    assert (found.part, found.best) == (named, best)
    assert found.part == "B"
    table = found.table.set_index("part")
    assert list(table.index) == [NOTHING, *PARTS]
    assert list(table["parameters"]) == [0, 1, 4, 13, 15]
    for part in p:
        assert table.loc[part, "p"] == pytest.approx(p[part], abs=0.02)
        assert table.loc[part, "holm"] >= table.loc[part, "p"]
    losses = fitted["F"].cases["after"]["log_loss"].mean() - fitted[best].cases["after"]["log_loss"].mean()
    assert table.loc["F", "value"] == pytest.approx(losses)
    assert not table.loc[NOTHING, "within"]


def test_users_who_follow_the_model_get_nothing():
    """The best may well be a part by chance; it is not named."""
    found = cheapest(retrofits(drawn((0, 0, 0, 0)), seed=1))
    assert found.part == NOTHING


@pytest.mark.slow
def test_users_who_follow_counts_and_ages_get_f_and_a_facet_c():
    assert cheapest(retrofits(drawn((0.5, 0, 2.0, 1.5), m=1500), seed=1)).part == "F"
    rng = np.random.default_rng(0)
    far = drawn((1.0, 0, 0, 0), m=2000, matrix=2 * rng.normal(size=(3, 3)), vector=rng.normal(size=3))
    assert cheapest(retrofits(far, seed=1)).part == "C"


def test_a_difference_within_noise_is_named_cheaper_and_holms_step_is_kept():
    """Losses made by hand. One test at p = .02 alone says worse; beside three others at .9 it does not."""
    rng = np.random.default_rng(0)
    base = pd.DataFrame(
        {"case": np.arange(400), "length": 1, "target": 0, "repeat": False, "rank": 1, "rank_post": 1.0}
    ).assign(log_loss=rng.normal(2, 1, 400), copy_probability=0.5, copied=0.0)
    noise = rng.normal(size=400)
    noise -= noise.mean()
    at = noise / noise.std() / np.sqrt(400)  # its mean is 0, and its standard error 1 / 400
    step = stats.norm.isf(0.01) * at.std() / np.sqrt(400)
    shifts = {NOTHING: step, "B": 0.1 * step, "C": 0.1 * step, "C + F": 0.1 * step}
    made = {"F": base} | {
        part: base.assign(log_loss=base["log_loss"] + rng.permutation(at) + shifts[part])
        for part in ("B", "C", "C + F")
    }
    before = base.assign(log_loss=base["log_loss"] + at + shifts[NOTHING])
    real = retrofit(snapshot(m=60), "B")
    several = {part: replace(real, part=part, cases={"before": before, "after": made[part]}) for part in PARTS}
    found = cheapest(several)
    table = found.table.set_index("part")
    alone = cheapest({part: several[part] for part in ("F",)})
    assert alone.table.set_index("part").loc[NOTHING, "holm"] == pytest.approx(0.02, abs=0.008)
    assert alone.part == "F"
    assert table.loc[NOTHING, "p"] < 0.05 < table.loc[NOTHING, "holm"]
    assert found.part == NOTHING


def test_the_difference_is_over_users_and_not_cases():
    """40 users with five cases each are 20 judged users."""
    users = np.repeat(np.arange(40), 5)
    found = cheapest(retrofits(drawn((2.0, 0, 0, 0), m=200), users=users))
    assert set(found.table["n"]) == {20}


def test_users_of_the_cases_to_fit_on_weigh_the_same():
    judged, users = snapshot(m=60), np.repeat(np.arange(12), 5)
    alone = retrofit(judged, "B", validation=snapshot(m=60), validation_users=users).numbers
    assert alone == pytest.approx(retrofit(judged, "B", validation=snapshot(m=60)).numbers)  # five cases each
    uneven = np.minimum(users, 10)
    assert abs(retrofit(judged, "B", validation=snapshot(m=60), validation_users=uneven).numbers - alone).max() > 1e-4


def test_parts_of_different_cases_are_not_compared(fitted):
    other = retrofit(drawn((2.0, 0, 0, 0)), "F", seed=5)
    with pytest.raises(DataError, match="the same cases"):
        cheapest({"B": fitted["B"], "F": other})
    with pytest.raises(DataError, match="the same cases"):
        cheapest({})


def test_the_rule_in_words_names_the_order():
    assert "nothing, B, F, C, C + F" in CHEAPEST
