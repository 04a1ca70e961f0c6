"""Fitting the rivals that count: against SciPy, loops, and a run read back."""

import itertools

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy import optimize

from cprlab.data import Sequences
from cprlab.errors import DataError
from cprlab.evaluation import BY_LENGTH, MAIN, RANKING, SUMMARY, by_bins, gains, means, stacked
from cprlab.models import SASRecConfig
from cprlab.models.counting import Counting
from cprlab.sweeps import run_trials
from cprlab.sweeps.grid import Trial
from cprlab.training import Run, RunConfig, TrainingConfig, run_folder, train
from cprlab.training.counting import em, transitions

HEADS = ["Popular", "Recent", "Frequent", "Markov", "Counts"]


def test_em_finds_the_likelihood_that_a_general_optimiser_finds():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(50), size=(300, 4))[:, :, 0] + 1e-6
    weights, value = em(probabilities, 1e-13)

    def loss(logits):
        shares = np.exp(logits - logits.max())
        return -np.log(probabilities @ (shares / shares.sum())).mean()

    best = min(
        (optimize.minimize(loss, start, method="BFGS", tol=1e-10) for start in np.eye(4)), key=lambda one: one.fun
    )
    assert value == pytest.approx(-best.fun, abs=1e-6)
    assert weights.sum() == pytest.approx(1, abs=1e-12)


def mean_loss(run, sequences):
    """The mean −log p of the validation items, and of one imaginary item that only the uniform share has."""
    windows = sequences.windows("validation")
    histories = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    scores = run.recommender.log_probs(histories)[np.arange(len(windows)), sequences.items[windows.stop]]
    imaginary = np.log(float(run.recommender.head.weights[-1]) / sequences.n_items)
    return -np.append(scores, imaginary).mean()


@pytest.mark.parametrize("head", ["Markov", "Counts"])
def test_no_other_weights_or_decays_are_likelier(head, sequences, tmp_path):
    run = train(sequences, RunConfig(head=head), tmp_path, "cpu")
    own, fitted = run.recommender.head, mean_loss(run, sequences)
    assert isinstance(own, Counting)
    assert run.history["loss"].item() == pytest.approx(fitted, abs=1e-9)
    rng = np.random.default_rng(0)
    weights, decays = own.weights.clone(), own.decays.clone()
    for width in (0.3, 0.1, 0.03) * 10:
        drawn = weights.numpy() * np.exp(width * rng.normal(size=len(weights)))
        own.weights.copy_(weights.new_tensor(drawn / drawn.sum()))
        own.decays.copy_(decays.new_tensor(np.clip(decays.numpy() * np.exp(width * rng.normal(size=2)), 1e-3, 1)))
        assert mean_loss(run, sequences) > fitted - 1e-6


def test_transitions_are_counted_in_the_training_part_alone(sequences):
    expected = np.zeros((sequences.n_items, sequences.n_items))
    for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        part = sequences.items[start : stop - 2]
        for item, behind in itertools.pairwise(part):
            expected[item, behind] += 1
    expected /= np.maximum(1, expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(transitions(sequences).toarray(), expected, rtol=1e-14)


def test_transitions_lead_from_each_item_of_a_basket_to_each_of_the_next(sequences):
    class Baskets(Sequences):
        pass

    rng = np.random.default_rng(1)
    starts = np.arange(len(sequences.items))
    for place in range(1, len(starts)):
        if rng.random() < 0.5 and place not in sequences.offsets:
            starts[place] = starts[place - 1]
    baskets = Baskets(**{name: getattr(sequences, name) for name in sequences.__dataclass_fields__})
    object.__setattr__(baskets, "basket_start", starts)
    expected = np.zeros((sequences.n_items, sequences.n_items))
    for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        places = range(start, stop - 2)
        firsts = sorted({starts[place] for place in places})
        for one, two in itertools.pairwise(firsts):
            for before in places:
                for behind in places:
                    if starts[before] == one and starts[behind] == two:
                        expected[sequences.items[before], sequences.items[behind]] += 1
    expected /= np.maximum(1, expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(transitions(baskets).toarray(), expected, rtol=1e-13)


@pytest.mark.parametrize("head", HEADS)
def test_a_run_is_one_whatever_is_asked_of_training_and_is_read_back(head, sequences, tmp_path):
    run = train(sequences, RunConfig(head=head), tmp_path, "cpu")
    other = RunConfig(head=head, encoder=SASRecConfig(), training=TrainingConfig(seed=3, epochs=2))
    assert run_folder(sequences, other, tmp_path) == run.folder
    assert run.folder.name.startswith(f"random-{head.lower()}-")
    assert len(run.history) == 1
    again = Run.load(run.folder)
    for one, two in zip(
        again.recommender.topk([[1, 2, 1], [3]], 5), run.recommender.topk([[1, 2, 1], [3]], 5), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    rerun = train(sequences, RunConfig(head=head), tmp_path / "other", "cpu")
    assert (rerun.folder / "model.safetensors").read_bytes() == (run.folder / "model.safetensors").read_bytes()


def test_counts_that_are_damaged_are_refused(sequences, tmp_path):
    run = train(sequences, RunConfig(head="Counts"), tmp_path, "cpu")
    file = run.folder / "model.safetensors"
    weights = load_file(file)
    weights["head.columns"][0] = sequences.n_items
    save_file(weights, file)
    with pytest.raises(DataError, match="is not a whole run"):
        Run.load(run.folder)


def test_an_ordering_has_no_log_loss_in_any_table(sequences, tmp_path):
    cases = {head: train(sequences, RunConfig(head=head), tmp_path, "cpu").cases for head in ("Counts", "Recent")}
    assert cases["Recent"]["log_loss"].isna().all()
    assert cases["Recent"]["copy_probability"].isna().all()
    table = means(stacked(cases), SUMMARY)
    shown = table.groupby("head")["metric"].unique()
    assert set(shown["Counts"]) - set(shown["Recent"]) == {"log-loss", "copy probability", "copy excess"}
    assert "log-loss" not in set(gains(stacked(cases), {"head": "Counts"}, (*RANKING, "log-loss"))["metric"])
    assert not table["value"].isna().any()
    assert set(by_bins(stacked(cases), "length", BY_LENGTH).query("head == 'Recent'")["metric"]) == {MAIN, BY_LENGTH[2]}


def test_a_sweep_shows_the_one_run_for_each_seed(sequences, tmp_path):
    trials = [
        Trial({"data": "random", "encoder": "GRU4Rec", "head": head, "seed": seed}, RunConfig(head=head))
        for head in ("Counts", "Recent")
        for seed in (0, 1)
    ]
    results = run_trials(trials, {"random": sequences}, tmp_path, "cpu")
    assert results.table.groupby("head")["folder"].nunique().tolist() == [1, 1]
    table = gains(results.cases, {"head": "Counts"}, ("NDCG@10", "log-loss"))
    assert set(table["metric"]) == {"NDCG@10"}
