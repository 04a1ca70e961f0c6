"""What the planted logs are for: a plain softmax stays at its floor, a context partition reaches the best loss."""

import numpy as np
import pytest

from cprlab.data import CopyingPlan, ExcludingPlan
from cprlab.training import fit_plan, planted_losses


@pytest.mark.parametrize("plan", [CopyingPlan(users=1200), ExcludingPlan(users=1200)], ids=lambda p: type(p).__name__)
def test_softmax_ends_at_the_floor_and_a_context_partition_at_the_best_loss(plan):
    softmax, cpr = (fit_plan(plan, head) for head in ("Softmax", "Softmax + C"))
    for recommender in (softmax, cpr):
        np.testing.assert_array_equal(recommender.embedding.weight[:-1].numpy(), plan.embeddings())
    cases = planted_losses(plan, softmax)
    lowest = cases["best"] + cases["floor"]
    assert (cases["loss"] >= lowest - 1e-6).all()
    assert cases["loss"].mean() < 1.02 * lowest.mean()
    cases = planted_losses(plan, cpr)
    assert (cases["loss"] >= cases["best"] - 1e-6).all()
    assert cases["loss"].mean() < 1.01 * cases["best"].mean()
    assert cases["floor"].mean() > 0.1 * cases["best"].mean()  # so the two claims are apart


def test_without_the_conflict_softmax_goes_below_the_planted_floor():
    plan = CopyingPlan(users=1200)
    planted = plan.best_loss([[0, 1, 2, 3]]) + plan.floor([[0, 1, 2, 3]])
    cases = planted_losses(plan.but(bottleneck=False), fit_plan(plan.but(bottleneck=False), "Softmax"))
    assert (cases["floor"] == 0).all()
    assert cases["loss"].mean() < 1.02 * cases["best"].mean() < 0.95 * planted


def test_to_exclude_without_the_conflict_takes_a_softmax_more_epochs():
    plan = ExcludingPlan(users=1200).but(bottleneck=False)
    short, long = (planted_losses(plan, fit_plan(plan, "Softmax", epochs=epochs)) for epochs in (1, 8))
    best = short["best"].mean()
    assert best < long["loss"].mean() < best + 0.6 < best + 0.8 < short["loss"].mean()
