"""The verdict on a case against the probes with the radius of all cases, and against sums by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.special import rel_entr, softmax

from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import Setting
from cprlab.explorer.verdict import COLUMNS, CaseVerdict, case_verdict, given, losses, possible, row, sentence
from cprlab.models import parse_head
from cprlab.probes import Certificate, copy_dial, interference

EDITED = [3, 3, 7, 1, 7, 3]
KEPT = "in the trained model's proportions"
ABOVE, BELOW = (f"rank all of them {side} everything else" for side in ("above", "below"))
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
    own = model.predict(case, LONG, Setting())
    state = own.states["V"]
    verdict, pauses = work(case_verdict(model, case, LONG, own))
    assert pauses == 3
    states = one.snapshot.states.copy()
    states[case] = state
    whole = replace(edited(one.snapshot, case, LONG), states=states)
    dial = copy_dial(whole, [1.0, 0.0], radius=one.snapshot.radius)
    dial = dial[dial["case"] == case].set_index("alpha")["floor_ball"]
    assert verdict.least_copying == pytest.approx(dial[1.0], abs=2e-6)
    assert verdict.least_excluding == pytest.approx(dial[0.0], abs=2e-6)
    assert verdict.least_copying > 0.005
    lifted = interference(whole, radius=one.snapshot.radius)
    lifted = lifted[lifted["case"] == case]
    assert list(verdict.interfering) == lifted["item"].tolist()[:8]
    np.testing.assert_allclose(verdict.taken, lifted["takes"][:8], rtol=0.01, atol=1e-5)
    assert len(lifted) > 8


@pytest.mark.parametrize("head", ["Softmax", "Softmax + C"])
def test_no_state_loses_less_than_the_best_and_the_state_that_copies_best_loses_as_much(subject, head):
    model, case = Model(subject(head)), 5
    own = model.predict(case, LONG, Setting())
    verdict, _ = work(case_verdict(model, case, LONG, own))
    best = model.predict(case, LONG, Setting(head="Softmax", best=True))
    assert losses(own, best)[0] == pytest.approx(verdict.least_copying, abs=2e-6)
    weights, rng = model.snapshot.item_embeddings, np.random.default_rng(0)
    for copied, least in ((True, verdict.least_copying), (False, verdict.least_excluding)):
        wanted = own.wanted(copied)
        found = []
        for start in rng.normal(size=(6, weights.shape[1])):
            ball = {"type": "ineq", "fun": lambda h: model.radius**2 - h @ h, "jac": lambda h: -2 * h}
            result = minimize(
                lambda h, wanted=wanted: (
                    float(np.sum(rel_entr(wanted, softmax(weights @ h)))), (softmax(weights @ h) - wanted) @ weights
                ),
                start, jac=True, method="SLSQP", constraints=[ball], options={"ftol": 1e-12, "maxiter": 500},
            )  # fmt: skip
            state = result.x * min(1, model.radius / np.linalg.norm(result.x))
            found.append(np.sum(rel_entr(wanted, softmax(weights @ state))))
        assert least <= min(found)
        assert least == pytest.approx(min(found), abs=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_what_one_state_can_rank_is_what_a_linear_program_finds(foreign, bias):
    one, rng = foreign(bias), np.random.default_rng(5)
    model, found = Model(one), []
    offsets = one.snapshot.bias if bias else np.zeros(one.snapshot.n_items)
    for case in range(6):
        history = rng.choice(one.snapshot.n_items, 2 + case % 3, replace=False).tolist()
        verdict, _ = work(case_verdict(model, case, history, model.predict(case, history, Setting())))
        found.append((verdict.copying.outcome, verdict.excluding.outcome))
        for outcome, above in zip(found[-1], (True, False), strict=True):
            possible = ranked(one.snapshot.item_embeddings, offsets, history, above)
            assert outcome == ("yes" if possible else "no")
    assert len(set(found)) > (2 if bias else 1)


def test_losses_are_those_of_the_two_answers(subject):
    model = Model(subject())
    prediction = model.predict(2, EDITED, Setting())
    p = np.exp(prediction.scores)
    on = sum(p[item] for item in {1, 3, 7})
    off = sum(p[item] for item in range(len(p)) if item not in {1, 3, 7})
    assert losses(prediction, prediction) == (pytest.approx(-math.log(on)), pytest.approx(-math.log(off)))
    moved = model.predict(2, EDITED, Setting(toward=0.7, temperature=2))
    others = set(range(len(p))) - {1, 3, 7}
    for items, lost, share in zip(({1, 3, 7}, others), losses(prediction, moved), (on, off), strict=True):
        expected = sum(p[item] / share * (math.log(p[item] / share) - moved.scores[item]) for item in items)
        assert lost == pytest.approx(expected)


def certain(*log_probs):
    return Prediction(np.array(log_probs), np.full(len(log_probs), "V"), {}, np.array([0, 1]))


def test_a_head_that_is_certain_and_wrong_loses_infinitely_much():
    half = math.log(0.5)
    for own, expected in (
        (certain(half, half, -np.inf, -np.inf), (0, math.inf)),
        (certain(-np.inf, -np.inf, half, half), (math.inf, 0)),
        (certain(half, half), (0, math.inf)),
        (certain(half, half, -100.0, -np.inf), (0, pytest.approx(100))),
    ):
        assert losses(own, own) == expected
    above = certain(half, half + 1e-12, -40.0, -np.inf)
    assert losses(above, above)[0] == 0
    assert losses(certain(half, half, half), certain(-np.inf, 0.0, half))[0] == math.inf


@pytest.fixture
def model(subject):
    return Model(replace(subject(), name="<b>GRU4Rec</b>"))


def judged(copying, excluding, least=(0.125, 0.25)):
    return CaseVerdict(least[0], least[1], Certificate(copying, 0, 0), Certificate(excluding, 0, 0), (), ())


def of_two(*probabilities, **states):
    return replace(certain(*np.log(probabilities)), states={"V": np.zeros(6)} | states)


@pytest.mark.parametrize(
    ("head", "target", "k", "expected"),
    [
        ("Softmax", 1, 2, "gives these 2 different items 50.0% and misses the next item, one of them, at rank 3."),
        ("Softmax", 2, 1, "50.0% and has the next item, which is new, in its top 1, at rank 1."),
        ("Softmax + CPR:2", 0, 2, "in its top 2, at rank 2. Here the history has a state of its own."),
        ("Softmax + F", 0, 2, "Here the history's items gain by how often and how recently they were consumed."),
        ("Softmax + B", 0, 2, "Here one learned number is added to the logits of the history's items."),
        ("Softmax + C (post)", 2, 2, "rules these 2 different items out and has the next item, which is new, in its"),
        ("RepeatNet", 0, 1, "50.0% and misses the next item, one of them, at rank 2."),
    ],
)  # fmt: skip
def test_what_a_model_gives_in_words(head, target, k, expected):
    assert expected in given(of_two(0.3, 0.2, 0.5), parse_head(head), target, k)


def test_of_one_item_and_of_an_order_without_probabilities_the_words_are_others():
    single = Prediction(np.log([0.2, 0.8]), np.full(2, "V"), {}, np.array([0]))
    assert given(single, parse_head("Softmax"), 0, 1) == (
        "gives the one item of the history 20.0% and misses the next item, the same, at rank 2."
    )
    assert given(replace(single, ordered=True), parse_head("Recent"), 0, 2) == (
        "gives no probabilities and has the next item, the same, in its top 2, at rank 2."
    )


@pytest.mark.parametrize(
    ("verdict", "repeat", "expected"),
    [
        (("no", "yes"), True, f"gives them more than 88.3% {KEPT}, and none of any length can {ABOVE}."),
        (("yes", "no"), True, f"gives them more than 88.3% {KEPT}; but one can {ABOVE}."),
        (("undecided", "no"), True, f"{KEPT}; it is undecided whether one can {ABOVE}."),
        (("no", "yes"), False, f"leaves them less than 22.1% {KEPT} among the others; but one can {BELOW}."),
        (("no", "no", (0.01, 3e-6)), True, f"gives them 99.0% or more, nearly {KEPT}; but none of any length can"),
        (("no", "yes", (3.0, 0.0101)), False, f"leaves them 1.1% or less, nearly {KEPT} among the others, and one can"),
    ],
)  # fmt: skip
def test_what_a_single_state_could_do_in_words(model, verdict, repeat, expected):
    words = possible(model, judged(*verdict), of_two(0.3, 0.2, 0.5), repeat)
    assert expected in words
    assert words.startswith("The best single state" if "nearly" in expected else "No single state") or "unde" in words


def test_proportions_and_reach_are_said_to_be_what_they_are(model):
    excluded = replace(of_two(0.3, 0.2, 0.5), scores=np.array([-np.inf, -np.inf, 0]))
    assert "in equal proportions, and" in possible(model, judged("no", "no"), excluded, True)
    for norm, beyond in ((0.99, False), (1.01, True)):
        state = np.eye(6)[0] * norm * model.radius
        words = possible(model, judged("no", "no"), of_two(0.3, 0.2, 0.5, V=state), True)
        assert words.endswith("The model's own state is beyond this reach.") == beyond


def test_the_best_state_gives_at_least_what_is_said_and_one_in_these_proportions_no_more(subject):
    model = Model(subject())
    for case in range(8):
        own = model.predict(case, LONG, Setting())
        verdict, _ = work(case_verdict(model, case, LONG, own))
        best = model.predict(case, LONG, Setting(best=True))
        assert np.exp(-verdict.least_copying) - 1e-5 <= best.copy
        wanted, inside = own.wanted(copied=True), np.exp(best.scores) * np.isin(np.arange(40), LONG)
        apart = np.sum(rel_entr(wanted, inside / inside.sum()))  # its proportions are others, by so much
        assert best.copy == pytest.approx(np.exp(apart - verdict.least_copying), rel=1e-4)


def test_a_sentence_is_both(model):
    two = of_two(0.3, 0.2, 0.5)
    softmax = parse_head("Softmax")
    assert sentence(model, judged("no", "yes"), two, two, softmax, 1, 2) == (
        f"<b>GRU4Rec</b> {given(two, softmax, 1, 2)} {possible(model, judged('no', 'yes'), two, True)}"
    )
    assert "It has no hidden state" in sentence(model, None, two, two, softmax, 1, 2)


def test_a_row_of_the_table(model):
    two = certain(math.log(0.3), math.log(0.2), math.log(0.5))
    values = row(model, judged("no", "undecided"), two, two)
    assert values == [
        "<b>GRU4Rec</b>", "50.0%", "0.69 nats", "0.12 nats", "0.69 nats", "0.25 nats", "no", "undecided"
    ]  # fmt: skip
    assert len(values) == len(COLUMNS)
