"""Snapshots as models: their scores, cases, and where they come from."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from cprlab.errors import ConfigError, DataError
from cprlab.models import GRU4RecConfig, MFConfig, Recommender, SASRecConfig, parse_head
from cprlab.probes import Snapshot, copy_probability
from tests.probes.test_arrays import D, M, N, parts


@pytest.mark.parametrize("biased", [True, False])
def test_log_probs_are_those_of_a_loop(biased, monkeypatch):
    given = parts(dtype=np.float64) | ({} if biased else {"bias": None})
    snapshot = Snapshot(**given)
    for at_once in (1, 3, 256):
        monkeypatch.setattr("cprlab.probes.snapshot.AT_ONCE", at_once)
        rows = {}
        for cases, log_probs in snapshot.log_probs():
            rows |= dict(zip(range(M)[cases], log_probs.numpy(), strict=True))
        for case, state in enumerate(given["states"]):
            loop = [sum(weight * h for weight, h in zip(w, state, strict=True)) for w in given["item_embeddings"]]
            scores = np.array(loop) + (given["bias"] if biased else 0)
            np.testing.assert_allclose(rows[case], log_softmax(scores), rtol=0, atol=1e-13)


def test_the_radius_and_the_distinct_items():
    states = np.zeros((101, D))
    states[:, 1] = np.arange(101)  # norms 0, 1, … 100, so the 99th percentile is 99
    snapshot = Snapshot(np.ones((N, D)), states, [[3, 1, 3]] * 101, [0] * 101)
    assert snapshot.radius == pytest.approx(99)
    assert snapshot.distinct[100].tolist() == [1, 3]


def test_a_sample_keeps_cases_whole_and_in_order():
    m = 50
    states = np.arange(m, dtype=np.float64)[:, None]
    whole = Snapshot(
        np.ones((m, 1)), states, [[case] for case in range(m)], np.arange(m), np.zeros(m), titles=["x"] * m
    )
    some = whole.sample(20, seed=3)
    drawn = some.states[:, 0].astype(int)
    assert len(set(drawn)) == 20
    assert (np.diff(drawn) > 0).all()
    assert some.targets.tolist() == [history[0] for history in some.histories] == drawn.tolist()
    assert some.titles[0] == "x"
    assert whole.sample(20, seed=3).states.tolist() == some.states.tolist() != whole.sample(20, seed=4).states.tolist()
    assert whole.sample(m) is whole


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        (GRU4RecConfig(d=6, hidden=5, dropout=0), "Softmax"),
        (SASRecConfig(d=6, layers=1, heads=2, inner=8, dropout=0, attention_dropout=0), "Softmax (tied=False)"),
        (MFConfig(d=6), "Softmax"),
    ],
)
def test_a_recommenders_own_probabilities_come_back(sequences, encoder, head):
    torch.manual_seed(0)
    model = Recommender(
        encoder, parse_head(head), sequences.n_items, n_users=sequences.n_users, max_len=sequences.max_len
    )
    model.double().train()
    snapshot = Snapshot.from_sequences(model, sequences, "validation")
    assert model.training
    begin, end = sequences.offsets[:-1], sequences.offsets[1:]
    histories = [sequences.items[start : stop - 2] for start, stop in zip(begin, end, strict=True)]
    assert [row.tolist() for row in snapshot.histories] == [row[-20:].tolist() for row in histories]
    assert snapshot.targets.tolist() == sequences.items[end - 2].tolist()
    assert snapshot.item_ids.tolist() == sequences.item_ids.tolist()
    assert snapshot.titles.tolist() == sequences.titles.tolist()
    expected = model.log_probs(histories, users=range(sequences.n_users))
    np.testing.assert_allclose(torch.cat([rows for _, rows in snapshot.log_probs()]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("encoder", [GRU4RecConfig(d=6, hidden=5, dropout=0), MFConfig(d=6)])
def test_each_history_is_read_once_for_each_user(encoder):
    torch.manual_seed(0)
    model = Recommender(encoder, parse_head("Softmax"), 9, n_users=3, max_len=4).double()
    histories, users = [[1, 2], [8, 3, 5, 1, 2], [1, 2], [2, 1], [3, 5, 1, 2], [1, 2]], [0, 1, 0, 0, 1, 2]
    read = []
    model.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    snapshot = Snapshot.from_recommender(model, histories, [0] * 6, users=users)
    assert read == [4]
    one_by_one = [model.log_probs([one], users=[user])[0] for one, user in zip(histories, users, strict=True)]
    np.testing.assert_allclose(torch.cat([rows for _, rows in snapshot.log_probs()]), one_by_one, rtol=0, atol=1e-12)


def test_the_items_biases_are_taken_and_must_be_finite(sequences):
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=6, hidden=5, dropout=0), parse_head("Softmax"), sequences.n_items).double()
    model.item_bias = nn.Parameter(torch.randn(sequences.n_items + 1, dtype=torch.float64))
    histories, targets = [[5, 3, 1], [1, 4, 4], [0, 2]], [2, 5, 4]
    snapshot = Snapshot.from_recommender(model, histories, targets, titles=[f"t{i}" for i in range(sequences.n_items)])
    assert snapshot.item_ids.tolist() == list(range(sequences.n_items))
    assert snapshot.titles.tolist() == [f"t{item}" for item in range(sequences.n_items)]
    assert [row.tolist() for row in snapshot.histories] == histories
    assert snapshot.targets.tolist() == targets
    (_, rows), *_ = snapshot.log_probs()
    np.testing.assert_allclose(rows, model.log_probs(histories), rtol=0, atol=1e-12)
    with torch.no_grad():
        model.item_bias[3] = -torch.inf
    with pytest.raises(DataError, match="bias"):
        Snapshot.from_recommender(model, histories, targets)


def test_the_states_of_a_cpr_head_are_taken_by_name(sequences):
    torch.manual_seed(0)
    model = Recommender(
        GRU4RecConfig(d=6, hidden=5, dropout=0), parse_head("Softmax + CPR:4"), sequences.n_items
    ).double()
    histories, targets = [[1, 2], [3]], [4, 5]
    items, at, _ = model.collate(histories)
    for facet in ("V", "C", "R4", "P"):
        snapshot = Snapshot.from_recommender(model, histories, targets, facet=facet)
        assert snapshot.states.tolist() == model(items, at)[facet][:, 0].tolist()
    with pytest.raises(ConfigError, match="no hidden state 'R5'; it has: V, R4, C, P"):
        Snapshot.from_recommender(model, histories, targets, facet="R5")
    other = Recommender(GRU4RecConfig(d=6, hidden=5, dropout=0), parse_head("Softmax + CP + F"), sequences.n_items)
    for facet in ("F", "L"):
        with pytest.raises(ConfigError, match=f"no hidden state '{facet}'; it has: V, C, P\\.$"):
            Snapshot.from_recommender(other, histories, targets, facet=facet)


def test_one_state_of_a_mixture_is_taken_by_name(sequences):
    torch.manual_seed(0)
    model = Recommender(
        GRU4RecConfig(d=6, hidden=5, dropout=0), parse_head("MoS:2 dynamic"), sequences.n_items
    ).double()
    items, at, _ = model.collate([[1, 2], [3]])
    for facet in ("V", "V_2"):
        snapshot = Snapshot.from_recommender(model, [[1, 2], [3]], [4, 5], facet=facet)
        assert snapshot.states.tolist() == model(items, at)[facet][:, 0].tolist()
    with pytest.raises(ConfigError, match=r"name the one to probe as the facet \(V, V_2\)"):
        Snapshot.from_sequences(model, sequences)
    assert len(Snapshot.from_sequences(model, sequences, facet="V_2")) == sequences.n_users


def test_what_a_recommender_cannot_give_is_refused(sequences):
    def model(head):
        return Recommender(GRU4RecConfig(d=6, hidden=5, dropout=0), parse_head(head), sequences.n_items)

    with pytest.raises(ConfigError, match="mixture of softmaxes has several hidden states"):
        Snapshot.from_recommender(model("MoS:2"), [[1]], [2])
    softmax = model("Softmax")
    with pytest.raises(DataError, match="no history"):
        Snapshot.from_recommender(softmax, [], [])
    with pytest.raises(ConfigError, match="History 1 is empty"):
        Snapshot.from_recommender(softmax, [[1], []], [1, 2])
    with pytest.raises(DataError, match="targets must be 1 item codes"):
        Snapshot.from_recommender(softmax, [[1]], [2, 3])
    with pytest.raises(DataError, match="target of case 0 is item 99"):
        Snapshot.from_recommender(softmax, [[1]], [99])
    with pytest.raises(DataError, match="item_ids must have one entry for each of the"):
        Snapshot.from_recommender(softmax, [[1]], [2], item_ids=["a"])


class TinyLM(nn.Module):
    """A causal Transformer over V tokens with an output head of its own, with a bias."""

    def __init__(self, vocabulary, d, longest):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, d), nn.Embedding(longest, d)
        layer = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(d, vocabulary)

    def states(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.body(self.tokens(tokens) + self.places.weight[: tokens.shape[1]], mask=mask, is_causal=True)


def test_a_language_model_is_probed_at_its_output_head():
    torch.manual_seed(0)
    vocabulary, length = 40, 6
    model = TinyLM(vocabulary, 32, 2 * length)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def prompts(m):  # six tokens, and the same again
        return torch.randint(vocabulary, (m, length)).repeat(1, 2)

    def loss():
        text = prompts(32)
        logits = model.head(model.states(text[:, :-1]))[:, length - 1 :]
        return nn.functional.cross_entropy(logits.flatten(0, 1), text[:, length:].flatten())

    def probe():
        torch.manual_seed(1)
        text = prompts(50)[:, : length + 3]
        prompt, target = text[:, :-1], text[:, -1]
        with torch.no_grad():
            states = model.states(prompt)[:, -1]
            own = model.head(states).double().softmax(1).numpy()
        snapshot = Snapshot(model.head.weight, states, prompt.numpy(), target, bias=model.head.bias)
        cases = copy_probability(snapshot)
        mass = [own[case, sorted(set(tokens))].sum() for case, tokens in enumerate(prompt.tolist())]
        np.testing.assert_allclose(cases["copy_probability"], mass, rtol=0, atol=1e-5)
        assert cases["repeat"].all()
        assert cases["length"].eq(length + 2).all()
        return cases["copy_probability"].mean()

    before = probe()
    for _ in range(70):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    after = probe()
    assert before < 0.4 < 0.8 < after  # six tokens of 40 have a seventh of the mass by chance
