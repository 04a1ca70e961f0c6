import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit, rel_entr

from cprlab.probes import RULE, Snapshot, copy_dial, copy_probability, judge, loss_parts, wanted_share
from tests.probes.test_bottleneck import make

PARTS = ["bottleneck", "learning", "noise", "lost", "left by one bias", "left by a context partition", "copy excess"]
PARTS += ["copy probability of repeats", "copy probability of new items", "AUC"]


def cases_of(p, repeat):
    return pd.DataFrame({"copy_probability": p, "repeat": repeat})


def parts_of(bottleneck, learning, bias, left, excess, wide=0.001):
    values = [bottleneck, learning, 0.3, bottleneck + learning, bias, left, excess, 0.587, 0.235, 0.785]
    rows = [(part, value, value - wide, value + wide, 100) for part, value in zip(PARTS, values, strict=True)]
    return pd.DataFrame(rows, columns=["part", "value", "low", "high", "n"])


def test_the_wanted_share_undoes_a_known_miscalibration():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.9, 20_000)
    repeat = rng.random(20_000) < truth
    told = expit(0.5 * logit(truth) - 2)
    np.testing.assert_allclose(wanted_share(cases_of(told, repeat)), truth, atol=0.03)


@pytest.mark.parametrize(("repeats", "share"), [(0, 0.0), (9, 0.09), (95, 0.95)])
def test_with_few_of_a_kind_the_observed_share_is_wanted_of_all(repeats, share):
    p = np.random.default_rng(0).uniform(0.1, 0.9, 100)
    np.testing.assert_allclose(wanted_share(cases_of(p, np.arange(100) < repeats)), share)


def test_the_parts_add_up_to_the_expected_loss_on_whether_to_copy():
    snapshot = make(n=60, m=40, far=0.8)
    cases = copy_probability(snapshot)
    wanted = np.random.default_rng(1).uniform(0, 1, len(cases))
    dial = copy_dial(snapshot, [wanted])
    of = loss_parts(cases, wanted, dial).set_index("part")["value"]
    p = cases["copy_probability"]
    assert of["bottleneck"] + of["learning"] + of["noise"] == pytest.approx(
        np.mean(-wanted * np.log(p) - (1 - wanted) * np.log1p(-p)), rel=1e-6
    )
    assert of["lost"] == pytest.approx(dial["stay"].mean(), rel=1e-5)
    assert of["bottleneck"] == pytest.approx(np.minimum(dial["floor_ball"], dial["stay"]).mean(), rel=1e-6)
    assert of["copy excess"] == pytest.approx((p - cases["repeat"]).mean())
    own = loss_parts(cases, wanted, None).set_index("part")["value"]
    assert (own["bottleneck"], own["learning"]) == (0, pytest.approx(of["lost"]))
    assert "left by a context partition" not in own
    assert "left by one bias" not in own


def test_a_head_that_never_copies_loses_without_end_where_users_repeat():
    parts = loss_parts(cases_of(np.zeros(50), np.arange(50) < 25), np.full(50, 0.5), None).set_index("part")
    assert np.isinf(parts.loc["lost", "value"])
    verdict = judge(parts.reset_index(), 0.5, own_state=True)
    assert (verdict.failure, verdict.advice) == ("copies too little", ("keep the history at inference",))
    assert "inf" not in verdict.words


def test_a_copy_probability_that_rounds_to_one_loses_what_it_loses_in_double_precision():
    single = Snapshot(np.array([[40.0], [0], [1]], np.float32), np.ones((2, 1), np.float32), [[0], [0]], [0, 1])
    cases, wanted = copy_probability(single), np.full(2, 0.5)
    assert cases["copy_probability"].tolist() == [1, 1]
    lost = loss_parts(cases, wanted, copy_dial(single, [wanted])).set_index("part").loc["lost", "value"]
    rest = np.log1p(np.exp(1)) - 40  # log of what is left for the other items, over what the history has
    assert lost == pytest.approx(np.log(0.5) - 0.5 * rest, rel=1e-9)


def test_a_bottleneck_is_what_the_certificate_leaves_of_the_floor():
    dial = pd.DataFrame({"stay": [3.0, 3.0], "floor_ball": [2.0, 1.0], "floor_context": 0.0, "certificate": [0.5, 9.0]})
    of = loss_parts(cases_of(np.full(2, 0.5), [True, False]), np.full(2, 0.5), dial).set_index("part")["value"]
    assert (of["bottleneck"], of["learning"]) == (0.75, 2.25)


def test_a_single_case_is_no_evidence():
    parts = loss_parts(cases_of([0.1], [True]), np.ones(1), None)
    assert parts["low"].isna().all()
    assert judge(parts, 1.0, own_state=True).words.endswith("It loses 2.303 nats per case.")


def test_a_head_with_a_state_of_its_own_need_not_learn_what_can_be_removed():
    parts = loss_parts(cases_of(np.full(50, 0.3), np.zeros(50, bool)), np.zeros(50), None)
    assert judge(parts, 0.0, own_state=True).advice == ("remove the history at inference", "better training")
    assert judge(parts, 0.1, own_state=True).advice == ("better training",)


REMOVE, TRAIN = "remove the history at inference", "better training"
BIAS, COUNTS = "one bias on the history's items (Softmax + B)", "counts and ages (Softmax + F)"
CONTEXT = "a context partition (Softmax + C)"


@pytest.mark.parametrize(
    ("numbers", "repeats", "failure", "advice"),
    [
        ((0.002, 0.003, 0.004, 0.0, -0.1), 0.4, "", ()),
        ((0.16, 0.68, 0.0, 0.01, 0.5), 0.0, "copies too much", (REMOVE, CONTEXT, TRAIN)),
        ((0.16, 0.68, 0.1, 0.01, -0.5), 0.4, "copies too little", (BIAS, COUNTS, CONTEXT, TRAIN)),
        ((0.2, 0.1, 0.009, 0.01, -0.2), 0.4, "copies too little", (BIAS, CONTEXT)),
        ((0.2, 0.1, 0.151, 0.19, -0.2), 0.4, "copies too little", (COUNTS,)),
        ((0.005, 0.01, 0.009, 0.004, 0.2), 0.4, "copies too much", (COUNTS, TRAIN)),
        ((0.2, 0.1, 0.29, 0.01, 0.0), 0.4, "copies too much or too little, it is not shown which",
         (COUNTS, CONTEXT)),
    ],
)  # fmt: skip
def test_the_rule_turns_numbers_into_advice(numbers, repeats, failure, advice):
    verdict = judge(parts_of(*numbers), repeats)
    assert (verdict.failure, verdict.advice) == (failure, advice)
    assert ("No evidence" in verdict.words) == (not failure)
    assert f"{repeats:.1%}" in verdict.words


def test_words_say_how_much_and_how_it_is_shared():
    words = judge(parts_of(0.16, 0.68, 0.1, 0.01, 0.3), 0.0).words
    assert "30.0% of its probability" in words
    assert "0.840 nats per case [0.839, 0.841]" in words
    assert "training could remove 81% of this" in words
    assert "no single hidden state in reach can remove the other 19%" in words
    assert "keep the model's own preferences" in words
    assert "would leave 0.100 nats, a context partition at most 0.010" in words


def test_words_give_the_auc_and_what_it_is_of():
    words = judge(parts_of(0.2, 0.1, 0.29, 0.01, 0.0), 0.4).words
    assert "Where the target is in the history this is 58.7%, where it is new 23.5%; the AUC is 0.785" in words


def test_the_auc_is_the_share_of_pairs_in_order_and_is_left_out_where_all_are_of_a_kind():
    p, repeat = np.array([0.1, 0.4, 0.4, 0.8, 0.2]), np.array([False, True, False, True, False])
    of = loss_parts(cases_of(p, repeat), np.full(5, 0.4), None).set_index("part")["value"]
    pairs = [(a > b) + (a == b) / 2 for a in p[repeat] for b in p[~repeat]]
    assert of["AUC"] == pytest.approx(np.mean(pairs))
    assert of["copy probability of repeats"] == pytest.approx(p[repeat].mean())
    assert of["copy probability of new items"] == pytest.approx(p[~repeat].mean())
    for repeats in (np.zeros(5, bool), np.ones(5, bool)):
        assert "AUC" not in set(loss_parts(cases_of(p, repeats), np.full(5, 0.4), None)["part"])


@pytest.mark.parametrize("numbers", [(0.002, 0.003, 0.004, 0.0, -0.1), (0.2, 0.1, 0.29, 0.01, -0.2)])
def test_a_model_behind_counting_is_said_so_first(numbers):
    behind = "GRU4Rec, Softmax ranks worse than Counts."
    assert judge(parts_of(*numbers), 0.4, behind=behind).words == f"{behind} {judge(parts_of(*numbers), 0.4).words}"


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_one_bias_leaves_what_the_best_shift_of_all_logits_leaves(share):
    snapshot = make(n=60, m=40, far=0.8)
    cases = copy_probability(snapshot)
    wanted = np.random.default_rng(2).uniform(0, 1, len(cases)) if share is None else np.full(len(cases), share)
    left = loss_parts(cases, wanted, copy_dial(snapshot, [wanted])).set_index("part").loc["left by one bias", "value"]
    shifts = np.linspace(-60, 60, 120_001)[:, None]  # steps of 0.001
    p = np.clip(expit(logit(cases["copy_probability"].to_numpy()) + shifts), 1e-300, 1 - 1e-16)
    divergences = (rel_entr(wanted, p) + rel_entr(1 - wanted, 1 - p)).mean(1)
    assert left == pytest.approx(divergences.min(), abs=1e-6)


def test_the_rule_names_its_limits():
    for limit in ("10 cases", "0.01 nats", "95%", "half"):
        assert limit in RULE
