import numpy as np
import pandas as pd
import pytest
import torch

from cprlab import plots
from cprlab.data import CopyingPlan, ExcludingPlan
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import Snapshot, copy_dial
from cprlab.studies.planted import planted_answer, probe_plan

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
    assert "On 8 of 8 histories they found what was planted" in planted_answer(LOSSES, probed)
    assert (probed["gap_ball"] > probed["gap_free"] + 0.01).all()  # such short states do not come near
    snapshot = Snapshot.from_sequences(recommender, plan.sequences()).sample(8, 3)
    pooled = [np.count_nonzero(history >= 3 * 7) for history in snapshot.distinct]
    share = 0.5 + 0.5 * np.array(pooled) / 40 if isinstance(plan, CopyingPlan) else 0.0
    dial = copy_dial(snapshot, [share])
    np.testing.assert_allclose(probed["dial"], dial["floor_free"], atol=1e-6)
    np.testing.assert_allclose(probed["dial_context"], dial["floor_context"], atol=1e-6)


def test_the_answer_says_what_was_found_and_what_was_closed():
    assert planted_answer(LOSSES, PROBES).splitlines() == [
        "- **Probes.** On 3 of 3 histories they found what was planted. Where a bottleneck was planted (2 histories), "
        "the gap is 0.300 nats (planted: 0.300); elsewhere it is 0.000.",
        "- **tight.** A single state misses the best loss by 15.0% or more. "
        "A ends 15.0% above it; B ends 0.5% above it.",
        "- **free.** A single state can have the best loss. A ends 25.0% above it; B ends 5.0% above it.",
        "",
        "The probes find the bottleneck where it was planted, and none elsewhere; "
        "B comes within 1% of the best loss where one was planted.",
    ]


def test_the_answer_admits_what_was_missed():
    for column, value in (("gap_free", 0.252), ("separable", "undecided"), ("blamed", 0.9)):
        wrong = PROBES.copy()
        wrong.loc[0, column] = value
        assert planted_answer(LOSSES, wrong).splitlines()[-1].startswith("The probes are wrong on 1 of 3 histories;")
    open_still = LOSSES.assign(loss=LOSSES["loss"] + 0.04)
    assert "B does not always come within 1%" in planted_answer(open_still, PROBES).splitlines()[-1]


def test_the_figure_shows_means_beside_the_planted_floor():
    a, b, floor = plots.planted(LOSSES).data
    assert (a.name, b.name) == ("A", "B")
    assert list(a.x) == list(b.x) == list(floor.x) == ["tight", "free"]
    for trace, expected in ((a, [0.3, 0.5]), (b, [0.01, 0.1]), (floor, [0.3, 0.0])):
        assert [round(float(y), 9) for y in trace.y] == expected
