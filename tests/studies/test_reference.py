"""The reference's faults, measured: each number against what can be counted or computed by itself."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab.adapters.padded import Padded
from cprlab.adapters.recbole import PADDING
from cprlab.data import InteractionLog, Sequences
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import evaluate, labelled
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.studies import reference
from cprlab.studies.reference_models import FaultsConfig, skip_history, without_padding
from cprlab.sweeps.grid import SIZES, Size
from tests.conftest import random_log

HEAD = "Softmax + CPR:5 + Mi"


@pytest.fixture(scope="module")
def log():
    return Sequences.from_log(random_log(users=25, items=30, longest=12), max_len=20)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "smoke", Size(0, 0, 2, 8, "float64"))
        yield FaultsConfig(heads=f"Softmax; {HEAD}", device="cpu", runs=str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def padded(study, log):
    return study.train_padded(log)


def test_each_head_is_trained_with_the_fault_and_without_it_once(study, log, padded):
    assert list(padded) == [(head, at_end, 0) for head in ("Softmax", HEAD) for at_end in (True, False)]
    again = study.train_padded(log)
    for key, model in padded.items():
        for one, other in zip(model.parameters(), again[key].parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
    faulty, mended = padded["Softmax", True, 0], padded["Softmax", False, 0]
    assert not torch.equal(faulty.embedding.weight, mended.embedding.weight)
    histories = [[3, 4], [5, 6, 7]]
    mended.max_len = 5  # how many slots there are makes no difference to it
    few = mended.log_probs(histories)
    mended.max_len = log.max_len
    np.testing.assert_allclose(mended.log_probs(histories), few, rtol=0, atol=1e-12)


def test_faults_of_padding_are_differences_of_evaluations(log, padded):
    cases = [
        labelled(reference.padded_cases(model, log, at_end), {"head": head, "seed": seed})
        for (head, at_end, seed), model in padded.items()
    ]
    table = reference.mended(cases).set_index(["fault", "measured", "head"])
    model, slot, item = padded[HEAD, True, 0], Padded.of(log, True), Padded.of(log, False)

    def ndcg(model, log):
        rank = evaluate(model, log)["rank"].to_numpy()
        return np.where(rank <= 10, 1 / np.log2(1 + rank), 0).mean()

    scored = ndcg(model, slot)
    with without_padding(model), without_padding(padded[HEAD, False, 0]):
        at_slot, at_item, never = ndcg(model, slot), ndcg(model, item), ndcg(padded[HEAD, False, 0], item)
        assert (model.log_probs([[3]])[:, PADDING] == -np.inf).all()
    assert model.item_bias is None
    for key, faulty, mended in (
        (("1", "NDCG@10, mended in training and test", HEAD), at_slot, never),
        (("1", "NDCG@10, mended in the test alone", HEAD), at_slot, at_item),
        (("2", "NDCG@10", HEAD), scored, at_slot),
    ):
        assert table.loc[key, ["with", "without", "value"]].tolist() == pytest.approx([faulty, mended, mended - faulty])
        assert table.loc[key, "low"] <= table.loc[key, "value"] <= table.loc[key, "high"]


def test_what_padding_takes_and_moves_is_counted(log, padded):
    table = reference.padding_in_lists(padded, log, k=3).set_index(["measured", "head"])
    model = padded[HEAD, True, 0]
    histories = [[item + 1 for item in log.items[a : b - 1].tolist()] for a, b in itertools.pairwise(log.offsets)]
    probabilities = [np.exp(model.log_probs([history[-20:]])[0, PADDING]) for history in histories]
    assert table.loc[("probability of padding", HEAD), "with"] == pytest.approx(np.mean(probabilities))
    agreed = []
    for history in histories:
        model.max_len = 20
        many = set(model.topk([history[-10:]], 3)[0][0].tolist())
        model.max_len = 10
        agreed.append(len(many & set(model.topk([history[-10:]], 3)[0][0].tolist())) / 3)
    model.max_len = 20
    row = table.loc[("share of the top 3 that is the same in 10 and 20 slots", HEAD)]
    assert row["with"] == pytest.approx(np.mean(agreed)) != 1
    assert row["without"] == 1
    assert reference.agreement(padded[HEAD, False, 0], histories, 3).tolist() == [1] * len(histories)


def test_the_smoothed_loss_is_that_of_torch():
    torch.manual_seed(0)
    p = (8 * torch.randn(5, 30, dtype=torch.float64)).softmax(1).requires_grad_()
    loss = torch.nn.functional.cross_entropy((p + 1e-8).log(), torch.zeros(5, dtype=torch.int64), reduction="none")
    values, left = reference.smoothed(p[:, 0].detach().numpy(), 30)
    np.testing.assert_allclose(values, loss.detach(), rtol=1e-12)
    exact = torch.log(p[:, 0]).sum()
    (ours,), (theirs,) = torch.autograd.grad(exact, p), torch.autograd.grad(-torch.log(p[:, 0] + 1e-8).sum(), p)
    np.testing.assert_allclose(left, -(theirs[:, 0] / ours[:, 0]), rtol=1e-12)
    cases = pd.DataFrame({"head": "a", "user": [0, 1], "log_loss": [1.0, -np.log(1e-8)]})
    rows = reference.smoothing(cases, 30).set_index("measured")
    assert rows.loc["share of its gradient that is left", "with"] == pytest.approx(0.75)
    curve = reference.gradient_left(cases, 30)
    assert curve[curve["of"] == "a"]["value"].iloc[0] == pytest.approx(0.5)


def test_what_is_read_for_a_target_is_counted(log):
    windows = log.windows("train")
    targets = sum(max(0, length - 3) for length in np.diff(log.offsets))
    row = reference.items_read(log).iloc[0]
    assert row["with"] == 20
    assert row["without"] == pytest.approx(windows.lengths.sum() / targets)


def test_order_is_lost_where_single_precision_cannot_tell_times_apart():
    start = 881_250_944  # single precision has this number of seconds, and the next 64 later
    rows = [("a", 0), ("a", 10), ("a", 10), ("a", 500), ("a", 505), ("b", 700), ("b", 900), ("b", 900)]
    frame = pd.DataFrame({"user": [u for u, _ in rows], "item": range(8), "time": [start + t for _, t in rows]})
    table = reference.lost_order(InteractionLog.from_frame(frame))
    assert table["with"].tolist() == [2, 1]  # 0 and 10; 500 and 505, of which the latter is held out
    assert table["n"].tolist() == [4, 1]
    assert (table["value"] == -table["with"]).all()
    with pytest.raises(DataError, match="has no times"):
        reference.lost_order(InteractionLog.from_frame(frame.drop(columns="time")))


def test_a_reranker_that_skips_the_history_reranks_the_likeliest_new_items():
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=8, hidden=8), parse_head("Softmax + CPR:5"), 30).double().eval()
    history = [3, 4, 3, 7]
    before = model.parts([history]).components[0]
    skip_history(model)
    after = model.parts([history]).components[0]
    new = [item for item in np.argsort(-before.logits[0, 0]) if item not in history][:5]
    assert set(np.flatnonzero(after.owner[0] == "R:5")) == set(new)
    assert after.names == before.names
    np.testing.assert_allclose(after.logits[-1, 0, history], before.logits[-1, 0, history])


def test_the_history_among_the_rerankers_items_is_counted_and_mended(study, log):
    results = study.run({"log": log})
    row = reference.history_reranked(results, log).iloc[0]
    model = results.run(head=HEAD, seed=0).recommender
    histories = [log.items[a : b - 1].tolist()[-20:] for a, b in itertools.pairwise(log.offsets)]
    counts = [
        len(set(np.argsort(-model.parts([history]).components[0].logits[0, 0])[:5]) & set(history))
        for history in histories
    ]
    assert row[["with", "without"]].tolist() == [np.mean(counts), 0]
    skipping = study.train_skipping(log)
    assert list(skipping) == [(HEAD, False, 0)]
    cases = reference.reranked_cases(results.run(head=HEAD, seed=0), skipping[HEAD, False, 0], log)
    table = reference.mended([labelled(cases, {"head": HEAD, "seed": 0})]).set_index("measured")
    ours = results.cases.query("head == @HEAD")
    assert table.loc["NDCG@10, mended in the test alone", "with"] == pytest.approx(
        np.where(ours["rank"] <= 10, 1 / np.log2(1 + ours["rank"]), 0).mean()
    )
    assert reference.mended([]).empty


def test_recboles_checkpoints_give_its_probabilities_and_its_silence_is_found():
    table = reference.parity().set_index("class")
    assert (table["reference"] < 1e-6).all()
    assert (table["corrected"] > 0.01).all()
    options = reference.silent_options()
    assert (options["difference"] == 0).all()
    assert options["cprlab"].str.contains("Unknown").sum() == 3
    assert options["cprlab"].str.contains("moves by up to").sum() == 1


def test_rows_are_read_in_the_order_of_the_faults():
    rng = np.random.default_rng(0)
    mended = rng.random(40)
    table = pd.DataFrame(
        [
            reference.row("10", "NDCG@10", "Softmax", mended, mended),
            reference.row("1", "NDCG@10", "Softmax", mended - 0.2, mended),
            reference.counted("8", "ties", 1234, 0, 9999),
        ]
    )
    text = reference.readable_faults(table)
    assert text.index.get_level_values("fault").tolist() == ["1", "8", "10"]
    assert text.iloc[1].tolist() == ["1,234", "0", "-1,234"]
    assert text.iloc[0]["difference"].startswith("+0.2000 [+0.2000")


def test_two_logs_are_refused():
    with pytest.raises(ConfigError, match="on one log"):
        FaultsConfig(data="one.csv; two.csv")
