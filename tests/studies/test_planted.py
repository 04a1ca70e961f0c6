from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab import plots
from cprlab.data import CopyingPlan, ExcludingPlan
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import Snapshot, copy_dial
from cprlab.studies.planted import probe_cyclic, probe_plan, right

LOSSES = pd.DataFrame(
    [
        ("tight", "A", 1.0, 0.25, 1.3),
        ("tight", "A", 3.0, 0.35, 3.3),
        ("tight", "B", 1.0, 0.25, 1.01),
        ("tight", "B", 3.0, 0.35, 3.01),
        ("free", "A", 2.0, 0.0, 2.5),
        ("free", "B", 2.0, 0.0, 2.1),
    ],
    columns=["plan", "head", "best", "floor", "loss"],
)
PROBES = pd.DataFrame(
    [("tight", 0.25, 0.2502, "no", 1.0), ("tight", 0.35, 0.35, "no", 1.0), ("free", 0.0, 0.0, "yes", 0.0)],
    columns=["plan", "planted", "gap_free", "separable", "blamed"],
)
PLANS = (CopyingPlan(groups=3, users=60, share=0.5), ExcludingPlan(clusters=3, users=60, size=6))


def untrained(plan):
    torch.manual_seed(0)
    embeddings, sequences = plan.embeddings(), plan.sequences()
    encoder = GRU4RecConfig(d=embeddings.shape[1], hidden=4)
    recommender = Recommender(encoder, parse_head("Softmax"), sequences.n_items, max_len=sequences.max_len).double()
    recommender.freeze_items(embeddings)
    return recommender


@pytest.mark.parametrize("bottleneck", [True, False])
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_the_probes_find_what_was_planted_in_untrained_models_too(plan, bottleneck):
    plan = plan.but(bottleneck=bottleneck)
    recommender = untrained(plan)
    probed = probe_plan(plan, recommender, cases=8, seed=3)
    assert len(probed) == 8
    assert right(probed).all()
    assert (probed["gap_ball"] > probed["gap_free"] + 0.01).all()  # such short states do not come near
    snapshot = Snapshot.from_sequences(recommender, plan.sequences()).sample(8, 3)
    pooled = [np.count_nonzero(history >= 3 * 7) for history in snapshot.distinct]
    share = 0.5 + 0.5 * np.array(pooled) / 40 if isinstance(plan, CopyingPlan) else 0.0
    dial = copy_dial(snapshot, [share])
    np.testing.assert_allclose(probed["dial"], dial["floor_free"], atol=1e-6)
    np.testing.assert_allclose(probed["dial_context"], dial["floor_context"], atol=1e-6)


def test_what_was_missed_is_wrong():
    assert right(PROBES).all()
    for column, value in (("gap_free", 0.252), ("separable", "undecided"), ("blamed", 0.9)):
        wrong = PROBES.copy()
        wrong.loc[0, column] = value
        assert right(wrong).tolist() == [False, True, True]


def test_the_figure_shows_means_beside_the_planted_floor():
    a, b, floor = plots.planted(LOSSES).data
    assert (a.name, b.name) == ("A", "B")
    assert list(a.x) == list(b.x) == list(floor.x) == ["tight", "free"]
    for trace, expected in ((a, [0.3, 0.5]), (b, [0.01, 0.1]), (floor, [0.3, 0.0])):
        assert [round(float(y), 9) for y in trace.y] == expected


def test_on_the_moment_curve_every_small_set_can_be_copied_and_a_larger_one_by_its_number_of_runs():
    probed = probe_cyclic(12, 6, norms=(10, 1000))
    sets = [(0, *rest) for size in range(4) for rest in combinations(range(1, 12), size)]
    assert list(probed["size"]) == [len(chosen) for chosen in sets]
    runs = [sum((item - 1) % 12 not in chosen for item in chosen) for chosen in sets]
    assert list(probed["runs"]) == runs
    assert list(probed["separable"]) == ["yes" if number <= 3 else "no" for number in runs]
    small = probed["size"] <= 3
    assert (probed["separable"][small] == "yes").all()
    assert 0 < (probed["separable"][~small] == "yes").mean() < 1
    assert probed["norm 1000"][small].min() > 0.999
    assert probed["norm 10"][small].min() < 0.9
    assert (probed["norm 1000"] >= probed["norm 10"])[small].all()


def test_the_best_copy_of_a_point_on_the_circle_is_its_own_direction():
    probed = probe_cyclic(7, 2, norms=(5,))
    scores = 5 * np.cos(2 * np.pi / 7 * np.arange(7))
    assert probed["norm 5"][0] == pytest.approx(np.exp(5) / np.exp(scores).sum(), abs=1e-4)
