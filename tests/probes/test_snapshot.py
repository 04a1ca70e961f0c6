"""Snapshot: round trips, refusals, and scores against loops and against the models that the arrays come from."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from scipy.special import log_softmax
from torch import nn

from cprlab.errors import ConfigError, DataError
from cprlab.models import GRU4RecConfig, MFConfig, Recommender, SASRecConfig, parse_head
from cprlab.probes import Snapshot, copy_probability

N, D, M = 7, 3, 4


def parts(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {
        "item_embeddings": rng.normal(size=(N, D)).astype(dtype),
        "states": rng.normal(size=(M, D)).astype(dtype),
        "histories": [[0, 2, 2], [6], [1, 5, 3, 1], [4, 0]],
        "targets": np.array([2, 0, 6, 4]),
        "bias": rng.normal(size=N).astype(dtype),
        "item_ids": np.array([f"i{item}" for item in range(N)]),
        "titles": np.array([f"Title <b>{item}</b>" for item in range(N)]),
    }


def table(histories, width=None):
    rows = np.full((len(histories), width or max(map(len, histories))), -1)
    for row, history in zip(rows, histories, strict=True):
        row[: len(history)] = history
    return rows


def write_npz(path, **changed):
    given = parts() | changed
    given["histories"] = table(given["histories"]) if isinstance(given["histories"], list) else given["histories"]
    np.savez(path, **{name: array for name, array in given.items() if array is not None})
    return path


def assert_same(left, right):
    for name in ("item_embeddings", "states", "targets", "item_ids", "titles"):
        one, other = getattr(left, name), getattr(right, name)
        assert one.tolist() == other.tolist(), name
        assert one.dtype.kind == other.dtype.kind or name == "item_ids"
    assert left.item_embeddings.dtype == right.item_embeddings.dtype
    assert [row.tolist() for row in left.histories] == [row.tolist() for row in right.histories]
    assert (left.bias is None) == (right.bias is None)
    assert left.bias is None or left.bias.tolist() == right.bias.tolist()


@st.composite
def snapshots(draw):
    n, d, m = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    numbers = st.floats(-1e6, 1e6, width=32)
    code = st.integers(0, n - 1)
    return Snapshot(
        draw(arrays(dtype, (n, d), elements=numbers)),
        draw(arrays(dtype, (m, d), elements=numbers)),
        draw(st.lists(st.lists(code, min_size=1, max_size=5), min_size=m, max_size=m)),
        draw(st.lists(code, min_size=m, max_size=m)),
        draw(st.none() | arrays(dtype, n, elements=numbers)),
        draw(st.none() | st.lists(st.text(max_size=4), min_size=n, max_size=n, unique=True)),
        draw(st.none() | st.lists(st.text(max_size=4), min_size=n, max_size=n)),
    )


@settings(max_examples=40, deadline=None)
@given(snapshots())
def test_what_is_saved_is_loaded(tmp_path_factory, snapshot):
    path = tmp_path_factory.mktemp("snapshot") / "model.safetensors"
    snapshot.save(path)
    assert_same(Snapshot.load(path), snapshot)
    assert [found.name for found in path.parent.iterdir()] == ["model.safetensors"]


def test_a_file_needs_four_arrays_and_the_rest_has_defaults(tmp_path):
    path = write_npz(tmp_path / "a.npz", bias=None, item_ids=None, titles=None)
    snapshot = Snapshot.load(path)
    assert snapshot.bias is None
    assert snapshot.item_ids.tolist() == list(range(N))
    assert snapshot.titles.tolist() == [str(item) for item in range(N)]
    assert (len(snapshot), snapshot.n_items) == (M, N)
    named = Snapshot.load(write_npz(tmp_path / "b.npz", titles=None))
    assert named.titles.tolist() == named.item_ids.tolist() == parts()["item_ids"].tolist()
    assert_same(Snapshot.load(write_npz(tmp_path / "c.npz")), Snapshot(**parts()))
    assert_same(Snapshot.load(str(tmp_path / "c.npz")), Snapshot(**parts()))


def test_histories_come_from_a_parquet_file_by_ids_or_by_codes(tmp_path):
    given = parts()
    ids = given["item_ids"]
    by_ids = tmp_path / "ids.parquet"
    named = [[ids[item] for item in history] for history in given["histories"]]
    pd.DataFrame({"history": named, "target": ids[given["targets"]]}).to_parquet(by_ids)
    arrays = write_npz(tmp_path / "a.npz", histories=None, targets=None)
    assert_same(Snapshot.load(arrays, histories=by_ids), Snapshot(**given))

    by_codes = tmp_path / "codes.parquet"
    pd.DataFrame({"history": given["histories"], "target": given["targets"]}).to_parquet(by_codes)
    nameless = write_npz(tmp_path / "b.npz", histories=None, targets=None, item_ids=None)
    assert_same(Snapshot.load(nameless, by_codes), Snapshot(**given | {"item_ids": None}))

    numbered = {"item_ids": np.arange(N)[::-1] * 10}  # ids that are numbers, but not the codes
    pd.DataFrame(
        {
            "history": [[(N - 1 - item) * 10 for item in history] for history in given["histories"]],
            "target": (N - 1 - given["targets"]) * 10,
        }
    ).to_parquet(by_ids)
    both = write_npz(tmp_path / "c.npz", **numbered, histories=[[3]] * M)  # the Parquet file's go before its own
    assert_same(Snapshot.load(both, by_ids), Snapshot(**given | numbered))


def test_a_safetensors_file_of_others_needs_no_header(tmp_path):
    given = parts()
    arrays = {name: given[name] for name in ("item_embeddings", "states", "targets", "bias")}
    save_file(arrays | {"histories": table(given["histories"], 9)}, tmp_path / "a.safetensors")
    assert_same(
        Snapshot.load(tmp_path / "a.safetensors"), Snapshot(**given | dict.fromkeys(("item_ids", "titles"), None))
    )


def test_saved_ids_and_titles_stand_in_the_header_as_json(tmp_path):
    Snapshot(**parts()).save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["titles"]) == parts()["titles"].tolist()
        assert file.get_tensor("histories").tolist() == table(parts()["histories"]).tolist()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.dtype(">f8"), np.float64),
        (np.dtype(">f4"), np.float32),
        (np.longdouble, np.float64),
        (np.int64, np.float32),
    ],
)
def test_precision_is_kept_where_torch_has_it(given, kept):
    snapshot = Snapshot(**parts() | {"item_embeddings": np.eye(N, D).astype(given)})
    assert snapshot.item_embeddings.dtype == kept
    assert snapshot.item_embeddings.tolist() == np.eye(N, D).tolist()
    assert len(list(snapshot.log_probs())) == 1


def test_tensors_are_taken_with_gradients_and_in_bfloat16():
    given = parts()
    weight = nn.Parameter(torch.eye(N, D, dtype=torch.bfloat16))
    snapshot = Snapshot(**given | {"item_embeddings": weight, "targets": torch.from_numpy(given["targets"])})
    assert snapshot.item_embeddings.dtype == np.float32
    assert snapshot.item_embeddings.tolist() == np.eye(N, D).tolist()
    assert snapshot.targets.tolist() == given["targets"].tolist()


def changed(name, at, value):
    array = parts()[name].copy()
    array[at] = value
    return {name: array}


REFUSED = [
    (
        {"item_embeddings": np.zeros(N)},
        r"item_embeddings must have a row for each of the items .* not \(7,\)",
    ),
    ({"item_embeddings": np.zeros((0, D))}, r"item_embeddings must have a row .* not \(0, 3\)"),
    ({"states": np.zeros((M, 0))}, r"states must have a row for each of the cases and a column a dimension"),
    ({"states": np.zeros((M, D + 1))}, r"states are of size 4 and item_embeddings of size 3"),
    ({"states": np.zeros((M + 1, D))}, r"There are 5 states and 4 histories"),
    ({"item_embeddings": [["a"] * D] * N}, "item_embeddings must be a table of numbers"),
    ({"item_embeddings": [[0.0] * D, [0.0]]}, "item_embeddings must be a table of numbers"),
    ({"item_embeddings": np.ones((N, D)) * 1j}, "item_embeddings must be a table of numbers"),
    (changed("item_embeddings", (3, 1), np.nan), "item_embeddings holds nan in row 3"),
    (changed("states", (2, 0), -np.inf), "states holds -inf in row 2"),
    (changed("bias", 5, np.inf), "bias holds inf in row 5"),
    ({"bias": np.zeros(N + 1)}, r"bias must hold a number for each of the 7 items, not \(8,\)"),
    ({"histories": [[0], [1], [], [2]]}, "history of case 2 must be a list of one or more item codes"),
    ({"histories": [[0], [1.5], [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], "1", [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], [[1], [1, 2]], [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], [1], [2], [3, N]]}, "history of case 3 holds item 7; codes go from 0 to 6"),
    ({"histories": [[0], [1], [-1, 2], [3]]}, "history of case 2 holds item -1"),
    ({"targets": [0, 1, 2]}, "targets must be 4 item codes"),
    ({"targets": [0.0, 1, 2, 3]}, "targets must be 4 item codes"),
    ({"targets": [0, 1, N, -1]}, "target of case 2 is item 7; codes go from 0 to 6"),
    ({"item_ids": ["a"]}, r"item_ids must have one for each of the 7 items, not \(1,\)"),
    ({"titles": [["a", "b"]] * N}, r"titles must have one for each of the 7 items, not \(7, 2\)"),
    ({"titles": [["a"], ["a", "b"]]}, "titles must have one for each of the 7 items"),
]


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        Snapshot(**parts() | wrong)


def test_a_file_is_named_where_its_arrays_are_refused(tmp_path):
    path = write_npz(tmp_path / "a.npz", targets=np.array([0, 1, 2, N]))
    with pytest.raises(DataError, match=r"a\.npz: The target of case 3 is item 7"):
        Snapshot.load(path)
    with pytest.raises(DataError, match=r"b\.npz: histories must be a table of item codes, with -1 behind"):
        Snapshot.load(write_npz(tmp_path / "b.npz", histories=np.zeros((M, 2))))
    with pytest.raises(DataError, match=r"c\.npz has no histories and no targets; a Snapshot needs: item_emb"):
        Snapshot.load(write_npz(tmp_path / "c.npz", histories=None, targets=None))
    with pytest.raises(DataError, match=r"d\.npz holds W, h; a Snapshot has: item_embeddings, states"):
        Snapshot.load(write_npz(tmp_path / "d.npz", W=np.zeros(2), h=np.zeros(2)))
    with pytest.raises(DataError, match=r"e\.pt is no Snapshot; use a file that ends in \.safetensors or \.npz"):
        Snapshot.load(tmp_path / "e.pt")
    with pytest.raises(DataError, match=r"f\.npz cannot be read as arrays \(.*No such file"):
        Snapshot.load(tmp_path / "f.npz")
    with pytest.raises(DataError, match=r"g\.safetensors cannot be read as arrays"):
        Snapshot.load(tmp_path / "g.safetensors")
    with pytest.raises(DataError, match=r"saved as NAME\.safetensors, not as h\.npz"):
        Snapshot(**parts()).save(tmp_path / "h.npz")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        Snapshot(**parts()).save(tmp_path / "file" / "i.safetensors")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        write_npz(path)
    else:
        Snapshot(**parts()).save(path)
    good = path.read_bytes()
    for length in range(0, len(good), 61):
        path.write_bytes(good[:length])
        with pytest.raises(DataError, match=r"a\.\w+ cannot be read as arrays"):
            Snapshot.load(path)
    rng = np.random.default_rng(0)
    for _ in range(60):  # may be read, where a number alone was changed
        damaged = bytearray(good)
        for place in rng.integers(0, len(good), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            Snapshot.load(path)
        except DataError:
            continue
    path.write_bytes(rng.bytes(4000))
    with pytest.raises(DataError, match="cannot be read as arrays"):
        Snapshot.load(path)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path):
    ran = tmp_path / "ran"
    harmful = np.array([Harmful(ran)] * N, dtype=object)
    path = write_npz(tmp_path / "a.npz", titles=harmful)
    with np.load(path, allow_pickle=True) as file:
        file["titles"]
    assert ran.exists()  # so it would harm
    ran.unlink()
    with pytest.raises(DataError, match=r"a\.npz cannot be read as arrays \(Object arrays cannot be loaded"):
        Snapshot.load(path)
    for suffix in (".npz", ".safetensors"):
        path = tmp_path / f"b{suffix}"
        path.write_bytes(pickle.dumps(Harmful(ran)))
        with pytest.raises(DataError, match="cannot be read as arrays"):
            Snapshot.load(path)
    np.save(tmp_path / "c.npy", parts()["states"])
    (tmp_path / "c.npy").rename(tmp_path / "c.npz")
    with pytest.raises(DataError, match=r"c\.npz cannot be read as arrays"):
        Snapshot.load(tmp_path / "c.npz")
    assert not ran.exists()


def test_a_header_that_is_no_json_and_numbers_that_numpy_lacks_are_refused(tmp_path):
    given = parts()
    arrays = {name: given[name] for name in ("item_embeddings", "states", "targets")}
    arrays["histories"] = table(given["histories"])
    path = tmp_path / "a.safetensors"
    for header, sentence in (
        ("[1, 2", "cannot be read as arrays"),
        ("5", "titles must have one for each of the 7 items"),
        ("[[1], [1, 2]]", "cannot be read as arrays"),
    ):
        save_file(arrays, path, {"titles": header})
        with pytest.raises(DataError, match=rf"a\.safetensors.*{sentence}"):
            Snapshot.load(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(tensors | {"states": tensors["states"].bfloat16()}, path)
    with pytest.raises(DataError, match="cannot be read as arrays"):
        Snapshot.load(path)


def test_a_parquet_file_is_refused_in_a_sentence(tmp_path):
    given, file = parts(), tmp_path / "h.parquet"
    arrays = write_npz(tmp_path / "a.npz", histories=None, targets=None)
    nameless = write_npz(tmp_path / "b.npz", histories=None, targets=None, item_ids=None)
    twice = write_npz(tmp_path / "c.npz", item_ids=np.array(["x"] * N))
    ids = given["item_ids"]
    named = [[ids[item] for item in history] for history in given["histories"]]

    def refused(path, sentence, **columns):
        pd.DataFrame({"history": named, "target": ids[given["targets"]]} | columns).to_parquet(file)
        with pytest.raises(DataError, match=sentence):
            Snapshot.load(path, file)

    refused(arrays, r"h\.parquet, row 2: 'i9' is not among item_ids", history=[*named[:2], ["i0", "i9"], named[3]])
    refused(arrays, r"h\.parquet, column target: 'i8' is not among", target=["i0", "i1", "i2", "i8"])
    refused(arrays, r"h\.parquet, row 0: a history must be a list of item ids", history=["i1"] * M)
    refused(arrays, r"h\.parquet, row 1: a history must be a list", history=[["i1"], None, ["i1"], ["i1"]])
    refused(twice, r"h\.parquet: item_ids hold 'x' twice")
    refused(nameless, r"b\.npz with .*h\.parquet: The history of case 0 must be a list")
    pd.DataFrame({"histories": named}).to_parquet(file)
    with pytest.raises(DataError, match=r"h\.parquet has no column history and no target"):
        Snapshot.load(arrays, file)
    pd.DataFrame({"history": named[:2], "target": ids[:2]}).to_parquet(file)
    with pytest.raises(DataError, match="There are 4 states and 2 histories"):
        Snapshot.load(arrays, file)
    for damaged in (file.read_bytes()[:100], b"garbage"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"h\.parquet cannot be read as Parquet"):
            Snapshot.load(arrays, file)
    with pytest.raises(DataError, match=r"none\.parquet cannot be read as Parquet"):
        Snapshot.load(arrays, tmp_path / "none.parquet")


@pytest.mark.parametrize("biased", [True, False])
def test_log_probs_are_those_of_a_loop(biased):
    given = parts(dtype=np.float64) | ({} if biased else {"bias": None})
    snapshot = Snapshot(**given)
    for at_once in (1, 3, 256):
        rows = {}
        for cases, log_probs in snapshot.log_probs(at_once):
            rows |= dict(zip(range(M)[cases], log_probs.numpy(), strict=True))
        for case, state in enumerate(given["states"]):
            scores = [sum(weight * h for weight, h in zip(w, state, strict=True)) for w in given["item_embeddings"]]
            scores = np.array(scores) + (given["bias"] if biased else 0)
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
        (GRU4RecConfig(d=6, hidden=5), "Softmax"),
        (SASRecConfig(d=6, layers=1, heads=2, inner=8), "Softmax (tied=False)"),
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


def test_items_that_can_never_come_are_left_out_and_the_others_renumbered(sequences):
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=6, hidden=5), parse_head("Softmax"), sequences.n_items).double()
    model.item_bias = nn.Parameter(torch.randn(sequences.n_items + 1, dtype=torch.float64))
    never = [0, 3, sequences.n_items - 1]
    with torch.no_grad():
        model.item_bias[never] = -torch.inf
    kept = [item for item in range(sequences.n_items) if item not in never]
    histories, targets = [[5, 3, 1], [1, 4, 4], [0, 2]], [2, 5, 4]
    snapshot = Snapshot.from_recommender(model, histories, targets, titles=[f"t{i}" for i in range(sequences.n_items)])
    assert snapshot.item_ids.tolist() == kept
    assert snapshot.titles.tolist() == [f"t{item}" for item in kept]
    assert [[kept[code] for code in row] for row in snapshot.histories] == [[5, 1], [1, 4, 4], [2]]
    assert [kept[code] for code in snapshot.targets] == targets
    (_, rows), *_ = snapshot.log_probs()
    np.testing.assert_allclose(rows, model.log_probs(histories)[:, kept], rtol=0, atol=1e-12)
    with pytest.raises(DataError, match="target of case 1 can never be recommended"):
        Snapshot.from_recommender(model, histories, [2, 3, 4])
    with pytest.raises(DataError, match="history of case 1 must be a list of one or more"):
        Snapshot.from_recommender(model, [[1], [3, 0]], [2, 2])


def test_the_states_of_a_cpr_head_are_taken_by_name(sequences):
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=6, hidden=5), parse_head("Softmax + CPR:4"), sequences.n_items).double()
    histories, targets = [[1, 2], [3]], [4, 5]
    items, at, _ = model.collate(histories)
    for facet in ("V", "C", "R4", "P"):
        snapshot = Snapshot.from_recommender(model, histories, targets, facet=facet)
        assert snapshot.states.tolist() == model(items, at)[facet][:, 0].tolist()
    with pytest.raises(ConfigError, match="no hidden state 'R5'; it has: V, R4, C, P"):
        Snapshot.from_recommender(model, histories, targets, facet="R5")


def test_what_a_recommender_cannot_give_is_refused(sequences):
    def model(head):
        return Recommender(GRU4RecConfig(d=6, hidden=5), parse_head(head), sequences.n_items)

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
    with pytest.raises(DataError, match="item_ids must have one for each of the"):
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
