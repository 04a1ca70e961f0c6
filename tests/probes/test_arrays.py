"""What a Snapshot is made of and its files: kept, or refused in a sentence, and nothing in them run."""

import json
import pickle
import warnings
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
from torch import nn

from cprlab.errors import DataError
from cprlab.probes import Snapshot

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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_short_floats_are_widened(tmp_path, dtype):
    exact = torch.tensor([[1.0, -0.5], [2.0, 0.25], [-4.0, 1.5]])  # in each of these types
    file = tmp_path / "short.safetensors"
    codes = {"histories": torch.tensor([[1, 2], [0, -1]]), "targets": torch.tensor([2, 1])}
    save_tensors({"item_embeddings": exact.to(dtype), "states": exact[:2].to(dtype).contiguous()} | codes, file)
    snapshot = Snapshot.load(file)
    assert snapshot.item_embeddings.dtype == np.float32
    assert snapshot.item_embeddings.tolist() == exact.tolist()
    assert [history.tolist() for history in snapshot.histories] == [[1, 2], [0]]


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


@settings(max_examples=40)
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
    ({"states": np.zeros((M, 0))}, r"states must have a row for each of the cases and a column per dimension"),
    ({"states": np.zeros((M, D + 1))}, r"states have 4 columns and item_embeddings 3"),
    ({"states": np.zeros((M + 1, D))}, r"There are 5 states and 4 histories"),
    ({"item_embeddings": [["a"] * D] * N}, "item_embeddings must be a table of numbers"),
    ({"item_embeddings": [[0.0] * D, [0.0]]}, "item_embeddings must be a table of numbers"),
    ({"item_embeddings": np.ones((N, D)) * 1j}, "item_embeddings must be a table of numbers"),
    (
        changed("item_embeddings", (3, 1), np.nan),
        r"item_embeddings contains nan in row 3 \(1 of its [0-9]+ numbers are not finite\); every",
    ),
    (changed("states", (2, 0), -np.inf), "states contains -inf in row 2"),
    (changed("bias", 5, np.inf), "bias contains inf in row 5"),
    ({"bias": np.zeros(N + 1)}, r"bias must have one number for each of the 7 items, not \(8,\)"),
    ({"histories": [[0], [1], [], [2]]}, "history of case 2 must be a list of one or more item codes"),
    ({"histories": [[0], [1.5], [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], "1", [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], [[1], [1, 2]], [1], [2]]}, "history of case 1 must be a list"),
    ({"histories": [[0], [1], [2], [3, N]]}, "history of case 3 contains item 7; codes go from 0 to 6"),
    ({"histories": [[0], [1], [-1, 2], [3]]}, "history of case 2 contains item -1"),
    ({"targets": [0, 1, 2]}, "targets must be 4 item codes"),
    ({"targets": [0.0, 1, 2, 3]}, "targets must be 4 item codes"),
    ({"targets": [0, 1, N, -1]}, "target of case 2 is item 7; codes go from 0 to 6"),
    ({"item_ids": ["a"]}, r"item_ids must have one entry for each of the 7 items, not \(1,\)"),
    ({"titles": [["a", "b"]] * N}, r"titles must have one entry for each of the 7 items, not \(7, 2\)"),
    ({"titles": [["a"], ["a", "b"]]}, "titles must have one entry for each of the 7 items"),
]


@pytest.mark.parametrize(("wrong", "sentence"), REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        Snapshot(**parts() | wrong)


def cases_of(histories, targets):
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 2)), rng.normal(size=(len(histories), 2)), histories, targets


def random_histories(rng, lowest, m=200, longest=12):
    return [rng.integers(lowest, 50, rng.integers(1, longest)) for _ in range(m)]


@pytest.mark.parametrize("end", ["begin", "end"])
@pytest.mark.parametrize("lowest", [1, 0])
def test_histories_padded_with_item_0_give_a_warning_with_the_evidence(tmp_path, end, lowest):
    rng = np.random.default_rng(1)
    histories = random_histories(rng, lowest)
    targets = rng.integers(lowest, 50, 200)
    padding = [np.zeros(12 - len(one), dtype=int) for one in histories]
    sides = [(pad, one) if end == "begin" else (one, pad) for pad, one in zip(padding, histories, strict=True)]
    padded = np.array([np.concatenate(both) for both in sides])
    count = sum((row[:2] == 0).all() if end == "begin" else (row[-2:] == 0).all() for row in padded)
    why = (
        "and it is nowhere else in them and no target"
        if lowest
        else "all of them 12 items long, and [0-9]+ of [0-9,]+ o"
    )
    said = rf"{count} of 200 histories {end} with item 0 twice or more, {why}"
    with pytest.warns(UserWarning, match=said):
        snapshot = Snapshot(*cases_of(padded, targets))
    table = dict(zip(("item_embeddings", "states", "histories", "targets"), cases_of(padded, targets), strict=True))
    np.savez(tmp_path / "padded.npz", **table)
    with pytest.warns(UserWarning, match=said):
        Snapshot.load(tmp_path / "padded.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert snapshot.take(np.arange(100)).doubt
        assert not Snapshot(*cases_of(histories, targets)).doubt


def test_a_popular_item_0_is_no_padding():
    rng = np.random.default_rng(2)
    lengths = rng.integers(2, 20, 300)
    often = [np.where(rng.random(size) < 0.5, 0, rng.integers(1, 50, size)) for size in lengths]  # and many are 0 0 …
    targets = np.where(rng.random(300) < 0.5, 0, rng.integers(1, 50, 300))
    start = [np.append([0, 0], one) for one in random_histories(rng, 0, 300)]  # as a site's home page
    once = [np.append([0][: case % 2], one).astype(int) for case, one in enumerate(random_histories(rng, 1, 300))]
    one_user = [np.append([0, 0] if case == 7 else [], one).astype(int) for case, one in enumerate(once)]
    for histories in (often, [one[-5:] for one in often], start, once, one_user):
        assert not Snapshot(*cases_of(histories, targets)).doubt


def test_a_file_is_named_where_its_arrays_are_refused(tmp_path):
    path = write_npz(tmp_path / "a.npz", targets=np.array([0, 1, 2, N]))
    with pytest.raises(DataError, match=r"a\.npz: The target of case 3 is item 7"):
        Snapshot.load(path)
    with pytest.raises(DataError, match=r"b\.npz: histories must be a table of item codes, padded with -1"):
        Snapshot.load(write_npz(tmp_path / "b.npz", histories=np.zeros((M, 2))))
    gap = np.array([[0, -1, 1], *[[0, -1, -1]] * (M - 1)])
    with pytest.raises(DataError, match=r"c\.npz: The history of case 0 contains item -1"):
        Snapshot.load(write_npz(tmp_path / "c.npz", histories=gap))
    with pytest.raises(DataError, match=r"c\.npz has no histories and no targets; a Snapshot needs: item_emb"):
        Snapshot.load(write_npz(tmp_path / "c.npz", histories=None, targets=None))
    with pytest.raises(DataError, match=r"d\.npz contains W, h; a Snapshot has only: item_embeddings, states"):
        Snapshot.load(write_npz(tmp_path / "d.npz", W=np.zeros(2), h=np.zeros(2)))
    with pytest.raises(DataError, match=r"e\.pt is not a Snapshot; use a file that ends in \.safetensors or \.npz"):
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
    with pytest.raises(DataError, match=r"a\.npz cannot be read as arrays \(.* contains Python objects, which are not"):
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


def test_a_header_that_is_no_json_is_refused(tmp_path):
    given = parts()
    arrays = {name: given[name] for name in ("item_embeddings", "states", "targets")}
    arrays["histories"] = table(given["histories"])
    path = tmp_path / "a.safetensors"
    for header, sentence in (
        ("[1, 2", "cannot be read as arrays"),
        ("5", "titles must have one entry for each of the 7 items"),
        ("[[1], [1, 2]]", "cannot be read as arrays"),
    ):
        save_file(arrays, path, {"titles": header})
        with pytest.raises(DataError, match=rf"a\.safetensors.*{sentence}"):
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
    refused(twice, r"h\.parquet: item_ids contain 'x' twice")
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
