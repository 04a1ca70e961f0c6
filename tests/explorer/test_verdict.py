"""The verdict on a case against the probes with the radius of all cases, and against sums by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import Setting
from cprlab.explorer.verdict import COLUMNS, CaseVerdict, case_verdict, losses, row, sentence
from cprlab.probes import Certificate, copy_dial, interference

EDITED = [3, 3, 7, 1, 7, 3]
LONG = [3, 7, 1, 12, 30, 22, 9, 38]


def work(generator):
    """What a generator returns, and how often it gave way."""
    pauses = 0
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            return stop.value, pauses
        pauses += 1


def edited(snapshot, case, history):
    """The cases with another history for one, so that the radius is that of all."""
    histories = list(snapshot.histories)
    histories[case] = np.array(history)
    return replace(snapshot, histories=histories)


def ranked(weights, bias, chosen, above):
    """Whether a state scores all the chosen items above (or below) all others: a linear program in h and a level."""
    signs = np.where(np.isin(np.arange(len(weights)), chosen) == above, 1, -1)[:, None]
    sides = np.hstack([-signs * weights, signs])  # s (w·h + b − t) ≥ 1e−3
    limits = signs[:, 0] * bias - 1e-3
    free = [(None, None)] * sides.shape[1]
    return linprog(np.zeros(sides.shape[1]), sides, limits, bounds=free).status == 0


@pytest.mark.parametrize("kind", ["followed", "recorded", "with biases"])
def test_a_verdict_is_the_probes_in_the_ball_of_all_cases(subject, foreign, kind):
    one = subject() if kind == "followed" else foreign(bias=kind == "with biases")
    model, case = Model(one), 5
    state = model.predict(case, LONG, Setting()).states["V"]
    verdict, pauses = work(case_verdict(model, case, LONG, state))
    assert pauses == 3
    states = one.snapshot.states.copy()
    states[case] = state
    whole = edited(one.snapshot, case, LONG)
    dial = copy_dial(replace(whole, states=states), [1.0, 0.0], radius=one.snapshot.radius)
    dial = dial[dial["case"] == case].set_index("alpha")["floor_ball"]
    assert verdict.least_copying == pytest.approx(dial[1.0], abs=2e-6)
    assert verdict.least_excluding == pytest.approx(dial[0.0], abs=2e-6)
    assert verdict.least_copying > 0.005
    lifted = interference(whole, radius=one.snapshot.radius)
    lifted = lifted[lifted["case"] == case]["item"].tolist()
    assert list(verdict.interfering) == lifted[:8]
    assert len(lifted) > 8


@pytest.mark.parametrize("bias", [False, True])
def test_what_one_state_can_rank_is_what_a_linear_program_finds(foreign, bias):
    one, rng = foreign(bias), np.random.default_rng(5)
    model, found = Model(one), []
    offsets = one.snapshot.bias if bias else np.zeros(one.snapshot.n_items)
    for case in range(6):
        history = rng.choice(one.snapshot.n_items, 2 + case % 3, replace=False).tolist()
        verdict, _ = work(case_verdict(model, case, history, one.snapshot.states[case]))
        found.append((verdict.copying.outcome, verdict.excluding.outcome))
        for outcome, above in zip(found[-1], (True, False), strict=True):
            possible = ranked(one.snapshot.item_embeddings, offsets, history, above)
            assert outcome == ("yes" if possible else "no")
    assert len(set(found)) > (2 if bias else 1)


def test_losses_are_those_of_the_two_answers(subject):
    prediction = Model(subject()).predict(2, EDITED, Setting())
    p = np.exp(prediction.scores)
    on = sum(p[item] for item in {1, 3, 7})
    off = sum(p[item] for item in range(len(p)) if item not in {1, 3, 7})
    assert losses(prediction) == (pytest.approx(-math.log(on)), pytest.approx(-math.log(off)))


def certain(*log_probs):
    return Prediction(np.array(log_probs), np.full(len(log_probs), "V"), {}, np.array([0, 1]))


def test_a_head_that_is_certain_and_wrong_loses_infinitely_much():
    half = math.log(0.5)
    assert losses(certain(half, half, -np.inf, -np.inf)) == (0, math.inf)
    assert losses(certain(-np.inf, -np.inf, half, half)) == (math.inf, 0)
    assert losses(certain(half, half)) == (0, math.inf)
    tiny = losses(certain(half, half, -100.0, -np.inf))
    assert tiny == (0, pytest.approx(100))
    above = losses(certain(half, half + 1e-12, -40.0, -np.inf))
    assert above[0] == 0
    assert not any(map(math.isnan, (*tiny, *above)))


@pytest.fixture
def model(subject):
    return Model(replace(subject(), name="<b>GRU4Rec</b>"))


def judged(copying, excluding):
    return CaseVerdict(Certificate(copying, 0, 0), Certificate(excluding, 0, 0), 0.125, 0.25, ())


def test_sentences(model):
    two = certain(math.log(0.3), math.log(0.2), math.log(0.5))
    assert sentence(model, judged("no", "yes"), two, repeat=True) == (
        "<b>GRU4Rec</b>: no hidden state can rank all 2 items above everything else, one hidden state can rank them "
        "below. The next item is in the history: the head loses 0.69 nats on that, the best single state would lose "
        "0.12."
    )
    single = Prediction(np.log([0.2, 0.8]), np.full(2, "V"), {}, np.array([0]))
    assert sentence(model, judged("yes", "undecided"), single, repeat=False) == (
        "<b>GRU4Rec</b>: one hidden state can rank the item above everything else, it is undecided whether one can "
        "rank it below. The next item is new: the head loses 0.22 nats on that, the best single state would lose 0.25."
    )
    certainly = certain(-np.inf, -np.inf, 0.0)
    assert "loses inf nats" in sentence(model, judged("no", "no"), certainly, repeat=True)


def test_a_row_of_the_table(model):
    two = certain(math.log(0.3), math.log(0.2), math.log(0.5))
    values = row(model, judged("no", "undecided"), two)
    assert values == [
        "<b>GRU4Rec</b>", "no", "undecided", "50.0%", "0.69 nats", "0.12 nats", "0.69 nats", "0.25 nats"
    ]  # fmt: skip
    assert len(values) == len(COLUMNS)
