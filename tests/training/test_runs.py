import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from cprlab.data import InteractionLog, Sequences
from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.evaluation import METRICS, evaluate
from cprlab.models import EncoderConfig, GRU4RecConfig, MFConfig, Recommender, SASRecConfig, parse_head
from cprlab.training import Run, RunConfig, Training, TrainingConfig, fit, loop, run_folder, train
from cprlab.training.loss import build_loss
from cprlab.training.runs import RECIPE

CONFIG = RunConfig(
    encoder=GRU4RecConfig(d=8, hidden=8, dropout=0.2),
    head="Softmax + CPR:5 + Mi",
    training=TrainingConfig(epochs=3, batch_size=8),
)


def weights(run):
    return {name: weight.numpy() for name, weight in load_file(run.folder / "model.safetensors").items()}


EVERY: list[tuple[EncoderConfig, str, str]] = [
    (GRU4RecConfig(d=8, hidden=8, dropout=0), "Softmax", loss) for loss in ("BPR", "BCE", "gBCE", "sampled")
]
EVERY += [
    (SASRecConfig(d=8, inner=8, dropout=0, attention_dropout=0), head, "CE")
    for head in ("Softmax (post)", "MoS:2 static + C", "RepeatNet")
]
EVERY += [(MFConfig(d=8), "MoS:3 + R:5", "CE"), (MFConfig(d=8), "Softmax + CP (tied=False)", "gBCE")]


def assert_same_weights(one, other):
    for name, weight in weights(one).items():
        np.testing.assert_array_equal(weight, weights(other)[name])


def test_training_learns_and_repeats_bit_for_bit(sequences, tmp_path):
    one, other = (train(sequences, CONFIG, tmp_path / name, "cpu") for name in ("one", "other"))
    assert one.history["loss"].is_monotonic_decreasing
    assert one.history["epoch"].tolist() == [1, 2, 3]
    assert_same_weights(one, other)
    third = train(sequences, CONFIG.but(training=CONFIG.training.but(seed=1)), tmp_path / "one", "cpu")
    assert third.folder != one.folder
    assert not np.array_equal(weights(third)["embedding.weight"], weights(one)["embedding.weight"])


@pytest.mark.parametrize("loss", ["CE", "sampled"])
def test_steps_taken_alone_are_those_of_fit(sequences, loss):
    config = TrainingConfig(epochs=1, batch_size=8, loss=loss)
    trained = []
    for _ in range(2):
        torch.manual_seed(5)
        trained.append(Recommender(GRU4RecConfig(d=8, hidden=8, dropout=0.2), parse_head("Softmax + C"), 40))
    (row,) = fit(trained[0], sequences, config, "cpu").to_dict("records")
    training = Training(trained[1], sequences, config, "cpu")
    steps = list(training.epoch(0))
    n_targets = sequences.windows("train").n_targets.sum()
    assert len(steps) == -(-len(training.windows) // 8)
    assert sum(targets for targets, _ in steps) == training.windows.n_targets.sum() == n_targets
    assert row["loss"] == sum(loss for _, loss in steps) / n_targets
    for one, other in zip(trained[0].parameters(), training.average.module.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach(), other.detach())


def test_each_epoch_draws_other_borders_of_windows(sequences):
    recommender = Recommender(GRU4RecConfig(d=8, hidden=8, dropout=0), parse_head("Softmax"), 40)
    training, seen = Training(recommender, sequences, TrainingConfig(batch_size=8), "cpu"), []
    for epoch in (0, 1, 0):
        list(training.epoch(epoch))
        seen.append((training.windows.stop.tolist(), training.windows.n_targets.sum()))
    assert seen[0] == seen[2]
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] == seen[1][1]


@pytest.mark.parametrize("decay", [0.0, 0.15, 0.99])
def test_the_average_is_the_moving_average_of_the_weights_after_each_step(sequences, decay):
    torch.manual_seed(5)
    recommender = Recommender(GRU4RecConfig(d=8, hidden=8, dropout=0), parse_head("Softmax"), 40)
    training = Training(recommender, sequences, TrainingConfig(batch_size=8, averaging=decay), "cpu")
    seen = [recommender.embedding.weight.detach().clone() for _ in training.epoch(0)]
    expected = seen[0]
    for step, weight in enumerate(seen[1:], start=1):
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * weight
    averaged = training.average.module.get_parameter("embedding.weight")
    torch.testing.assert_close(averaged, expected, rtol=0, atol=1e-6)
    assert torch.equal(averaged, seen[-1]) == (decay == 0)


def test_a_run_read_back_gives_the_same_scores(sequences, tmp_path):
    run = train(sequences, CONFIG, tmp_path, "cpu")
    histories = [[1, 2, 1], [3]]
    again = Run.load(run.folder)
    np.testing.assert_array_equal(again.recommender.log_probs(histories), run.recommender.log_probs(histories))
    pd.testing.assert_frame_equal(evaluate(again.recommender, sequences), evaluate(run.recommender, sequences))
    assert again.config == CONFIG
    assert again.record["data"]["fingerprint"] == sequences.fingerprint
    pd.testing.assert_frame_equal(again.cases, evaluate(run.recommender, sequences))
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "cases.parquet",
        "history.parquet",
        "model.safetensors",
        "run.json",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.folder.name]  # no checkpoint is left


@pytest.mark.parametrize(("encoder", "head", "loss"), EVERY)
def test_every_encoder_head_and_loss_learns_and_is_read_back(sequences, tmp_path, encoder, head, loss):
    training = TrainingConfig(epochs=3, batch_size=8, loss=loss, negatives=5)
    run = train(sequences, RunConfig(encoder=encoder, head=head, training=training), tmp_path, "cpu")
    assert run.history["loss"].is_monotonic_decreasing
    again = Run.load(run.folder)
    assert again.config == run.config
    histories, users = [[1, 2, 1], [3]], [1, 0]
    np.testing.assert_array_equal(
        again.recommender.log_probs(histories, users=users), run.recommender.log_probs(histories, users=users)
    )


@pytest.mark.parametrize(("precision", "held"), [("float64", torch.float64), ("bfloat16", torch.float32)])
def test_a_precision_decides_the_arithmetic(sequences, tmp_path, precision, held):
    single = train(sequences, CONFIG, tmp_path, "cpu")
    run = train(sequences, CONFIG.but(training=CONFIG.training.but(precision=precision)), tmp_path, "cpu")
    again = Run.load(run.folder)
    for weight in (
        *run.recommender.parameters(),
        *again.recommender.parameters(),
        *load_file(run.folder / "model.safetensors").values(),
    ):
        assert weight.dtype == held
    histories = [[1, 2, 1], [3]]
    np.testing.assert_array_equal(again.recommender.log_probs(histories), run.recommender.log_probs(histories))
    deviation = np.abs(run.history["loss"] / single.history["loss"] - 1)
    assert deviation.max() < (1e-5 if precision == "float64" else 1e-2)
    assert deviation.max() > 0  # it is not the same arithmetic


def test_a_finished_run_is_not_trained_again(sequences, tmp_path, monkeypatch):
    run = train(sequences, CONFIG, tmp_path, "cpu")
    monkeypatch.setattr("cprlab.training.runs.fit", None)
    assert train(sequences, CONFIG, tmp_path, "cpu").folder == run.folder


def test_a_run_with_another_maximum_of_epochs_is_named_before_training_begins_again(sequences, tmp_path, capsys):
    def said(**changes):
        train(sequences, CONFIG.but(training=CONFIG.training.but(**changes)), tmp_path, "cpu")
        return [line for line in capsys.readouterr().err.splitlines() if "--epochs" in line]

    assert said(epochs=2) == said(epochs=3, seed=1) == []
    (tmp_path / f"{train(sequences, CONFIG, tmp_path, 'cpu').folder.name}0").mkdir()  # is no run
    one = run_folder(sequences, CONFIG.but(training=CONFIG.training.but(epochs=2)), tmp_path)
    said_of_one = f"{one} is the same run with --epochs 2. Another maximum trains again from the start."
    assert said_of_one in [line for line in capsys.readouterr().err.splitlines() if "--epochs" in line]
    assert said_of_one in said(epochs=1)
    assert said(epochs=1) == []  # it is there


def test_an_interrupted_training_goes_on_and_ends_the_same(sequences, tmp_path, monkeypatch):
    undisturbed = train(sequences, CONFIG, tmp_path / "undisturbed", "cpu")
    calls = []

    def stops_in_the_third_epoch(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(loop, "evaluate", stops_in_the_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(sequences, CONFIG, tmp_path / "disturbed", "cpu")
    assert sorted(path.suffix for path in (tmp_path / "disturbed").iterdir()) == [".checkpoint"]
    monkeypatch.setattr(loop, "evaluate", evaluate)
    resumed = train(sequences, CONFIG, tmp_path / "disturbed", "cpu")
    assert_same_weights(resumed, undisturbed)
    shared = ["epoch", "loss", "ndcg"]
    pd.testing.assert_frame_equal(resumed.history[shared], undisturbed.history[shared])


@pytest.mark.parametrize("part", ["weights", "now", "average", "optimizer"])
def test_a_checkpoint_with_a_number_that_is_none_is_refused_and_the_rate_is_not_blamed(
    sequences, tmp_path, monkeypatch, part
):
    def stops(epochs, patience):
        if epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_stale", stops)
        with pytest.raises(KeyboardInterrupt):
            train(sequences, CONFIG, tmp_path, "cpu")
    (checkpoint,) = tmp_path.glob(".*.checkpoint")
    state = torch.load(checkpoint, weights_only=True)
    held = state["optimizer"]["state"][0] if part == "optimizer" else state[part]
    next(tensor for tensor in held.values() if tensor.dim() > 1)[0, 0] = torch.nan
    torch.save(state, checkpoint)
    with pytest.raises(DataError, match=rf"as a checkpoint of this run \({part}\..* contains nan in row 0"):
        train(sequences, CONFIG, tmp_path, "cpu")


def test_training_stops_when_the_validation_no_longer_rises_and_keeps_the_best(sequences, tmp_path, monkeypatch):
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    seen = []

    def scripted(recommender, sequences, split):
        seen.append(recommender.embedding.weight.detach().clone())
        rank = np.full(4, 1.0)
        return pd.DataFrame({"user": np.arange(4), "rank": rank, "score": next(scores), "log_loss": 1.0})

    monkeypatch.setattr(loop, "evaluate", scripted)
    monkeypatch.setitem(METRICS, "NDCG@10", lambda cases, rank: cases["score"])
    config = CONFIG.but(training=TrainingConfig(epochs=5, batch_size=8, patience=2))
    torch.manual_seed(0)
    recommender = Recommender(config.encoder, parse_head(config.head), sequences.n_items)
    history = loop.fit(recommender, sequences, config.training, "cpu")
    assert history["ndcg"].tolist() == [0.1, 0.3, 0.2, 0.3]
    torch.testing.assert_close(recommender.embedding.weight, seen[1], rtol=0, atol=0)


def test_a_training_that_diverges_says_so(sequences, tmp_path):
    wild = CONFIG.but(training=TrainingConfig(epochs=1, batch_size=8, learning_rate=1e30))
    with pytest.raises(CprlabError, match="diverged in epoch 1"):
        train(sequences, wild, tmp_path, "cpu")


def test_weights_that_are_lost_in_the_last_step_are_not_kept(sequences, tmp_path):
    one_step = TrainingConfig(epochs=1, batch_size=10_000, learning_rate=1e30)  # its loss is that of the first weights
    with pytest.raises(CprlabError, match=r"diverged in epoch 1: the loss is \d+\.\d+, the validation NDCG@10 nan"):
        train(sequences, CONFIG.but(training=one_step), tmp_path, "cpu")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_log_of_a_long_name_in_any_script_has_a_run(sequences, tmp_path):
    named = replace(sequences, name="日" * 80)
    assert len(train(named, CONFIG, tmp_path, "cpu").folder.name.encode()) < 100


def test_padding_stays_out_of_training(sequences, tmp_path):
    assert not weights(train(sequences, CONFIG, tmp_path, "cpu"))["embedding.weight"][-1].any()


@pytest.mark.parametrize("harm", ["run.json", "model.safetensors", "history.parquet", "cut", "other"])
def test_a_damaged_run_is_refused_in_a_sentence(sequences, tmp_path, harm):
    folder = train(sequences, CONFIG, tmp_path, "cpu").folder
    if harm == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-50])
    elif harm == "other":
        record = json.loads((folder / "run.json").read_text())
        record["config"]["head"] = "Softmax"
        (folder / "run.json").write_text(json.dumps(record))
    else:
        (folder / harm).unlink()
    with pytest.raises(DataError, match="is not a whole run"):
        Run.load(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_run_with_weights_that_are_not_finite_is_called_that(sequences, tmp_path, value):
    folder = train(sequences, CONFIG, tmp_path, "cpu").folder
    weights = load_file(folder / "model.safetensors")
    weights["embedding.weight"][2:4, 1] = value
    size = weights["embedding.weight"].numel()
    save_file(weights, folder / "model.safetensors")
    said = rf"training of this run diverged: embedding\.weight contains {value} in row 2 \(2 of its {size} numbers are"
    with pytest.raises(DataError, match=said):
        Run.load(folder)


def test_a_callers_default_type_changes_neither_weights_nor_what_is_read(sequences, tmp_path):
    run = train(sequences, CONFIG, tmp_path / "one", "cpu")
    torch.set_default_dtype(torch.float64)
    try:
        read = Run.load(run.folder)
        again = train(sequences, CONFIG, tmp_path / "two", "cpu")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for name, weight in run.recommender.state_dict().items():
        for other in (read, again):
            assert torch.equal(weight, other.recommender.state_dict()[name])


def test_a_run_of_an_earlier_version_keeps_its_form_of_sasrec(sequences, tmp_path):
    encoder = SASRecConfig(d=8, inner=8, norm_first=False)
    config = RunConfig(encoder=encoder, training=TrainingConfig(epochs=1, batch_size=8, averaging=0))
    run = train(sequences, config, tmp_path, "cpu")
    path = run.folder / "run.json"
    record = json.loads(path.read_text())
    del record["config"]["encoder"]["norm_first"], record["config"]["training"]["averaging"]
    path.write_text(json.dumps(record))
    assert Run.load(run.folder).config == config


def test_a_record_may_lack_a_metric_but_not_have_another_number(sequences, tmp_path):
    """As that of an earlier version, which measured less, or of a later one, which measured more."""
    folder = train(sequences, CONFIG, tmp_path, "cpu").folder
    record = json.loads((folder / "run.json").read_text())
    metric, value = record["test"].popitem()
    (folder / "run.json").write_text(json.dumps(record))
    assert metric not in Run.load(folder).record["test"]
    more = record["test"] | {"accuracy": 0.5}
    (folder / "run.json").write_text(json.dumps(record | {"test": more}))
    assert Run.load(folder).record["test"] == more
    for test in (record["test"] | {metric: value * (1 + 1e-9)}, {}):
        (folder / "run.json").write_text(json.dumps(record | {"test": test}))
        with pytest.raises(DataError, match="metrics that do not match its cases"):
            Run.load(folder)


def test_a_record_says_how_the_log_was_split_and_an_older_one_need_not(sequences, tmp_path):
    noted = replace(sequences, notes=("Such ties are shuffled.",))
    folder = train(noted, CONFIG, tmp_path, "cpu").folder
    record = json.loads((folder / "run.json").read_text())
    assert (record["data"]["split"], record["data"]["notes"]) == ("leave-one-out", ["Such ties are shuffled."])
    assert record["recipe"] == RECIPE
    train(sequences, CONFIG, tmp_path, "cpu")  # is read back: what notes say has no part in what was trained on
    del record["data"]["split"], record["data"]["notes"], record["recipe"]
    (folder / "run.json").write_text(json.dumps(record))
    assert train(noted, CONFIG, tmp_path, "cpu").record == record


def test_a_run_of_other_data_in_the_place_of_the_one_asked_for_is_refused(sequences, tmp_path):
    other = sequences.sample(20)
    train(other, CONFIG, tmp_path, "cpu").folder.rename(run_folder(sequences, CONFIG, tmp_path))
    with pytest.raises(DataError, match=rf"other data .*{other.fingerprint}.*{sequences.fingerprint}"):
        train(sequences, CONFIG, tmp_path, "cpu")


def test_unusable_settings_are_refused_in_a_sentence(sequences, tmp_path):
    with pytest.raises(ConfigError, match="'seed' cannot be -1"):
        TrainingConfig(seed=-1)
    with pytest.raises(ConfigError, match=r"Unknown setting 'epoch': did you mean 'epochs'"):
        TrainingConfig(epoch=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Unknown encoder 'GRU': did you mean 'GRU4Rec'"):
        RunConfig(encoder={"name": "GRU"})
    with pytest.raises(ConfigError, match=r"Unknown setting 'hidden': Possible: name, d, layers, heads"):
        RunConfig(encoder={"name": "SASRec", "hidden": 8})
    with pytest.raises(ConfigError, match=r"Unknown loss 'BPRR': did you mean 'BPR'"):
        TrainingConfig(loss="BPRR")
    with pytest.raises(ConfigError, match=r"no device '(cuda|mps)'"):
        train(sequences, CONFIG, tmp_path, "mps" if torch.cuda.is_available() else "cuda")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        train(sequences, CONFIG, tmp_path / "file", "cpu")


def test_little_of_a_batch_is_padding_even_where_lengths_are_skewed():
    """Most users have a few items and some have hundreds, as in shops: windows of few targets may be long."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(5 + rng.pareto(1.5, 8_000) * 2, 300).astype(int)
    rows = pd.DataFrame({"user": np.repeat(np.arange(8_000), lengths), "item": 0})
    windows = Sequences.from_log(InteractionLog.from_frame(rows)).windows("train")
    batches = loop._batches(windows, 64, np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(len(windows)))
    for used in (windows.lengths, windows.n_targets):
        assert used.sum() > 0.7 * sum(len(chosen) * used[chosen].max() for chosen in batches)
    again = loop._batches(windows, 64, np.random.default_rng(1))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(again))


def test_every_target_weighs_the_same_whatever_else_is_in_its_batch(sequences, monkeypatch):
    """While the weights stand still, the mean of the steps' gradients is the gradient of the mean over all targets."""
    steps = []

    class Still(torch.optim.SGD):
        def step(self, *_):
            steps.append([weight.grad.clone() for weight in self.param_groups[0]["params"]])

    monkeypatch.setattr(torch.optim, "Adam", Still)
    recommender = Recommender(
        GRU4RecConfig(d=8, hidden=8, dropout=0), parse_head("Softmax + C"), sequences.n_items
    ).double()
    training = Training(recommender, sequences, TrainingConfig(batch_size=7, precision="float64"), "cpu")
    list(training.epoch(0))
    windows = training.windows
    assert len(steps) == -(-len(windows) // 7) > 2
    recommender.zero_grad()
    batch = sequences.batch(windows, np.arange(len(windows)))
    losses = loop._Scored(recommender, build_loss("CE", sequences.training_counts(), 1, 0.0))(
        batch.items, batch.at, batch.users, batch.targets, batch.targets.new_empty((*batch.targets.shape, 0))
    )
    (losses / (batch.targets >= 0).sum()).backward()
    for weight, of_steps in zip(recommender.parameters(), zip(*steps, strict=True), strict=True):
        torch.testing.assert_close(sum(of_steps) / len(steps), weight.grad, rtol=1e-9, atol=1e-14)
