"""A model under edits against NumPy: softmaxes, principal axes and partitions made once more from its weights."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, rel_entr, softmax

from cprlab.errors import ConfigError
from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import Setting
from cprlab.models import GRU4RecConfig, MFConfig, Recommender, ablated, parse_head
from cprlab.probes import Snapshot, copy_probability
from cprlab.subjects import Subject

EDITED = [3, 3, 7, 1, 7, 3]
HEADS = [
    "Softmax",
    "Softmax + CPR:5,10 + Mi",
    "Softmax + C (post)",
    "Softmax + B",
    "MoS:2 + C + F (coefficients=linear)",
    "MoS:2 dynamic + CP",
    "MoS:3 uniform",
    "MoS:2",
    "RepeatNet",
]


def close(actual, expected, atol=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("head", HEADS)
def test_what_is_not_moved_is_the_models_own_prediction(subject, head):
    one = subject(head)
    model = Model(one)
    for case, history in [(0, EDITED), (4, one.snapshot.histories[4]), (5, list(range(25)))]:
        prediction = model.predict(case, history, Setting())
        close(prediction.scores, one.recommender.log_probs([history])[0])
        read = set(list(history)[-20:])  # the last `max_len`
        assert prediction.history.tolist() == sorted(read)
        assert prediction.copy == pytest.approx(sum(np.exp(prediction.scores[list(read)])), abs=1e-12)


def test_an_encoder_that_learns_users_reads_the_cases_own(sequences):
    torch.manual_seed(1)
    sizes, users = MFConfig(d=6), sequences.windows("test").user
    recommender = Recommender(sizes, parse_head("Softmax + C"), 40, n_users=30, max_len=20).double().eval()
    with torch.no_grad():
        recommender.get_parameter("encoder.users.weight").normal_()
    snapshot = Snapshot.from_sequences(recommender, sequences)
    model = Model(Subject("MF", snapshot, copy_probability(snapshot), False, recommender, users))
    for case in (0, 17):
        found = model.predict(case, EDITED, Setting()).scores
        close(found, recommender.log_probs([EDITED], users=[users[case]])[0])
        assert np.abs(found - recommender.log_probs([EDITED], users=[(users[case] + 1) % 30])[0]).max() > 0.01


def test_partitions_and_states_are_those_of_the_head(subject):
    prediction = Model(subject("Softmax + CR:5")).predict(0, EDITED, Setting())
    owner = prediction.partitions
    assert (owner[[1, 3, 7]] == "C").all()
    assert (np.delete(owner, [1, 3, 7]) != "C").all()
    assert set(owner) == {"V", "R:5", "C"}
    assert next(iter(prediction.states)) == "V"
    assert {name: state.shape for name, state in prediction.states.items()} == dict.fromkeys(["V", "C", "R5"], (6,))
    repeatnet = Model(subject("RepeatNet")).predict(0, EDITED, Setting())
    assert {name: state.shape for name, state in repeatnet.states.items()} == {"V": (12,)}


def test_of_a_mixture_the_component_that_gives_an_item_most_names_its_partition(subject):
    gates = []
    for seed in range(6):  # RepeatNet shares out the items, whichever of its decoders is the heavier
        model = Model(subject("RepeatNet", seed=seed))
        owner = model.predict(0, EDITED, Setting()).partitions
        assert (owner[[1, 3, 7]] == "repeat").all()
        assert (np.delete(owner, [1, 3, 7]) == "V").all()
        gates.append(model.recommender.parts([EDITED]).weights[0].argmax())
        assert (model.predict(0, range(40), Setting()).partitions[20:] == "repeat").all()
    assert set(gates) == {0, 1}
    for head in ("MoS:2 dynamic + R:5", "MoS:2 + R:5"):
        one = subject(head)
        parts, owner = one.recommender.parts([EDITED]), Model(one).predict(0, EDITED, Setting()).partitions
        logits = [component.logits[-1, 0] for component in parts.components]
        if parts.weights is not None:  # of the dynamic one alone; the other has one softmax over the largest logits
            logits = [np.log(w * softmax(z)) for w, z in zip(parts.weights[0], logits, strict=True)]
        first, second = (component.owner[0] for component in parts.components)
        assert owner.tolist() == np.where(logits[0] >= logits[1], first, second).tolist()
        assert (first != second).any()


SETTINGS = [
    Setting(toward=1),
    Setting(toward=-0.5, scale=3),
    Setting(axes=(0.5, -2, 1)),
    Setting(scale=0),
    Setting(toward=0.3, axes=(0, 1, -0.25), scale=0.7, temperature=2.5),
]


def moved(weights, state, history, axes, setting):
    """s (h + t (m − h) + ‖h‖ Σ a u), term by term."""
    mean = sum(weights[item] for item in set(history)) / len(set(history))
    along = sum(a * u for a, u in zip(setting.axes, axes, strict=True))
    return setting.scale * (state + setting.toward * (mean - state) + np.sqrt(state @ state) * along)


def own_axes(model, weights):
    """The first three principal axes by a singular value decomposition, with the signs that the model gave them."""
    axes = np.linalg.svd(weights - weights.mean(0), full_matrices=False)[2][:3]
    close(np.abs(axes @ model.axes.T), np.eye(3), 1e-8)
    return axes * np.sign((axes * model.axes).sum(1))[:, None]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_moved_state_is_the_softmax_of_the_formula(subject, setting):
    one = subject()
    model, weights = Model(one), one.snapshot.item_embeddings
    for case in (0, 11):
        history = one.snapshot.histories[case].tolist()
        state = moved(weights, one.snapshot.states[case], history, own_axes(model, weights), setting)
        prediction = model.predict(case, history, setting)
        close(prediction.scores, log_softmax(weights @ state / setting.temperature))
        close(prediction.states["V"], state)


def test_of_a_mixture_the_first_facet_is_moved(subject):
    one, setting = subject("MoS:2 uniform"), Setting(toward=0.5, axes=(1, 0, 0), scale=2)
    model, weights = Model(one), one.snapshot.item_embeddings
    second = Snapshot.from_recommender(one.recommender, [EDITED], [0], facet="V_2").states[0]
    first = Snapshot.from_recommender(one.recommender, [EDITED], [0], facet="V").states[0]
    first = moved(weights, first, EDITED, own_axes(model, weights), setting)
    expected = logsumexp([log_softmax(weights @ first), log_softmax(weights @ second)], axis=0) - np.log(2)
    close(model.predict(0, EDITED, setting).scores, expected)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 20])
@pytest.mark.parametrize("head", ["Softmax", "Softmax + CP (post)", "RepeatNet"])
def test_the_temperature_divides_all_log_probabilities(subject, head, temperature):
    one = subject(head)
    own = one.recommender.log_probs([EDITED])[0]
    with np.errstate(divide="ignore"):
        expected = np.log(np.exp(own) ** (1 / temperature) / (np.exp(own) ** (1 / temperature)).sum())
    found = Model(one).predict(0, EDITED, Setting(temperature=temperature)).scores
    close(found[expected > -500], expected[expected > -500], 1e-8)
    assert (found[expected <= -500] < -499).all()


def test_where_nothing_is_left_all_probabilities_are_0_at_any_temperature(subject):
    model = Model(subject("Softmax (post)"))
    every = range(model.snapshot.n_items)
    one = Model(replace(subject("Softmax (post)"), recommender=_reads_all(model.recommender)))
    for temperature in (1, 2):
        prediction = one.predict(0, every, Setting(temperature=temperature))
        assert (prediction.scores == -np.inf).all()
        assert prediction.outcome(3) == {"copy": 0, "rank": len(every), "target": 0}


def _reads_all(recommender):
    other = copy(recommender)
    other.max_len = recommender.n_items
    return other


@pytest.mark.parametrize(
    "name", ["Softmax", "Softmax + C", "Softmax + CP (context_merge=add)", "Softmax + CPR:3 (post)"]
)
def test_a_switched_head_is_the_ablated_model(subject, name):
    one = subject("Softmax + CPR:10")
    model, other = Model(one), ablated(one.recommender, parse_head(name))
    assert str(model.head(name).head.config) == name
    close(model.predict(0, EDITED, Setting(head=name)).scores, other.log_probs([EDITED])[0])
    assert np.abs(other.log_probs([EDITED])[0] - one.recommender.log_probs([EDITED])[0]).max() > 0.01
    with pytest.raises(ConfigError, match="Mi"):
        model.predict(0, EDITED, Setting(head="Softmax + Mi"))
    with pytest.raises(ConfigError, match="Unknown head"):
        model.predict(0, EDITED, Setting(head="Hardmax"))


def missed(own, log_probs):
    """KL(own preferences among the history's items ‖ p)."""
    wanted = np.exp(own.scores[own.history])
    return rel_entr(wanted / wanted.sum(), np.exp(log_probs[own.history])).sum()


def test_what_is_wanted_is_the_models_own_prediction_of_these_items():
    scores = np.log([0.1, 0.3, 0.4, 0.2])
    own = Prediction(scores, np.full(4, "V"), {}, np.array([1, 3]))
    close(own.wanted(copied=True), [0, 0.6, 0, 0.4])
    close(own.wanted(copied=False), [0.2, 0, 0.8, 0])
    never = Prediction(np.array([0, -np.inf, -np.inf, -np.inf]), np.full(4, "V"), {}, np.array([1, 3]))
    close(never.wanted(copied=True), [0, 0.5, 0, 0.5])
    close(never.wanted(copied=False), [1, 0, 0, 0])


def test_the_best_state_copies_better_and_stays_in_the_ball(subject):
    one = subject()
    model = Model(one)
    radius = np.percentile(np.linalg.norm(one.snapshot.states, axis=1), 99)
    rng = np.random.default_rng(0)
    for case in range(0, len(one.snapshot), 5):
        history = one.snapshot.histories[case]
        own, best = (model.predict(case, history, Setting(best=value)) for value in (False, True))
        reached = missed(own, best.scores)
        assert reached < missed(own, own.scores)
        assert np.linalg.norm(best.states["V"]) <= radius * (1 + 1e-9)
        others = best.states["V"] + rng.normal(size=(300, 6)) * rng.choice([0.01, 0.3, 2], (300, 1))
        others *= np.minimum(1, radius / np.linalg.norm(others, axis=1, keepdims=True))
        scores = log_softmax(others @ one.snapshot.item_embeddings.T, axis=1)
        assert reached <= min(missed(own, row) for row in scores) + 1e-6
    longest = int(np.linalg.norm(one.snapshot.item_embeddings, axis=1).argmax())
    far = model.predict(0, [longest], Setting(best=True)).states["V"]  # further out would copy even better
    assert np.linalg.norm(far) == pytest.approx(radius, rel=1e-6)
    half = model.predict(0, EDITED, Setting(best=True, scale=0.5)).states["V"]
    close(half, model.predict(0, EDITED, Setting(best=True)).states["V"] / 2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_recorded_states_do_not_follow_the_edits(foreign, bias, dtype):
    one = foreign(bias, dtype)  # of the states; the item embeddings are in double precision
    model, snapshot = Model(one), one.snapshot
    assert not model.encodes
    for case in (0, 9):
        b = snapshot.bias if bias else 0
        scores = snapshot.item_embeddings @ snapshot.states[case].astype(float) + b
        own = model.predict(case, snapshot.histories[case], Setting())
        close(own.scores, log_softmax(scores))
        close(own.scores, next(snapshot.log_probs())[1][case].numpy())
        edited = model.predict(case, EDITED, Setting())
        close(edited.scores, own.scores)
        assert edited.copy == pytest.approx(softmax(scores)[[1, 3, 7]].sum())
        half = model.predict(case, EDITED, Setting(scale=0.5)).scores
        close(half, log_softmax((scores + b) / 2))  # the bias stays whole
    close(model.predict(0, EDITED, Setting(head="Softmax (post)")).scores[[1, 3, 7]], -np.inf)
    with pytest.raises(ConfigError, match="C"):
        model.predict(0, EDITED, Setting(head="Softmax + C"))


def test_recorded_states_may_be_of_more_precision_than_the_items(foreign):
    one = foreign()
    weights = one.snapshot.item_embeddings.astype(np.float32)
    snapshot = replace(one.snapshot, item_embeddings=weights, bias=one.snapshot.bias.astype(np.float32))
    found = Model(replace(one, held_out=snapshot)).predict(3, EDITED, Setting()).scores
    close(found, log_softmax(weights @ snapshot.states[3] + snapshot.bias), 1e-4)


def test_a_head_with_item_biases_is_moved_and_switched():
    torch.manual_seed(3)
    recommender = Recommender(GRU4RecConfig(d=6, hidden=8), parse_head("Softmax + CP"), 30, max_len=8).double()
    with torch.no_grad():
        for weight in recommender.parameters():
            weight.normal_(std=0.7)
    recommender.item_bias = torch.nn.Parameter(torch.randn(31, dtype=torch.float64), requires_grad=False)
    snapshot = Snapshot.from_recommender(recommender.eval(), [[0, 1, 1, 29], [4]], [2, 0])
    model = Model(Subject("biased", snapshot, copy_probability(snapshot), False, recommender))
    prediction = model.predict(0, [0, 1, 1, 29], Setting())
    close(prediction.scores, recommender.log_probs([[0, 1, 1, 29]])[0])
    assert (prediction.partitions[[0, 1, 29]] == "C").all()
    assert (np.delete(prediction.partitions, [0, 1, 29]) == "V").all()
    plain = model.predict(0, [0, 1, 1, 29], Setting(head="Softmax", toward=0.5))
    state = (snapshot.states[0] + snapshot.item_embeddings[[0, 1, 29]].mean(0)) / 2
    close(plain.scores, log_softmax(snapshot.item_embeddings @ state + snapshot.bias))
    edited = model.predict(1, [28, 0], Setting())
    close(edited.scores, recommender.log_probs([[28, 0]])[0])
    close(edited.copy, np.exp(recommender.log_probs([[28, 0]])[0, [28, 0]]).sum())


def test_ties_count_against_an_item_and_the_lowest_code_is_shown_first():
    probabilities = np.array([0.1, 0.2, 0.1, 0.3, 0.1, 0.1, 0.1, 0])
    with np.errstate(divide="ignore"):
        prediction = Prediction(np.log(probabilities), np.full(8, "V"), {}, np.array([1, 7]))
    assert prediction.ranks(range(8)).tolist() == [7, 2, 7, 1, 7, 7, 7, 8]
    for k in range(1, 9):
        assert prediction.top(k).tolist() == [3, 1, 0, 2, 4, 5, 6, 7][:k]
    assert prediction.top(50).tolist() == [3, 1, 0, 2, 4, 5, 6, 7]
    alike = Prediction(np.full(1000, -np.log(1000)), np.full(1000, "V"), {}, np.array([0]))
    assert alike.top(10).tolist() == list(range(10))
    assert prediction.outcome(4) == {"copy": pytest.approx(0.2), "rank": 7, "target": pytest.approx(0.1)}


def test_a_case_for_the_probes_has_the_edits(subject):
    model = Model(subject())
    one = model.edited(3, EDITED, np.arange(6.0))
    assert len(one) == 1
    assert one.histories[0].tolist() == EDITED
    assert one.states.tolist() == [list(range(6))]
    assert one.targets.tolist() == [model.snapshot.targets[3]]
    assert model.edited(3, list(range(30))).histories[0].tolist() == list(range(10, 30))
    close(model.edited(3, EDITED).states[0], model.snapshot.states[3])
