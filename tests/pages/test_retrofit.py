"""`cprlab retrofit`: what it opens, what it writes, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cprlab.adapters.recbole import RECORDED, load
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import METRICS, evaluate
from cprlab.explorer import ExplorerConfig, explore
from cprlab.pages.run import run_retrofit
from cprlab.probes import PARTS, Retrofit, Snapshot, copy_probability, from_recbole, retrofit
from cprlab.results import keep
from cprlab.studies.retrofit import RetrofitConfig, answers, changes, choices, fittable, headline, measure, origins
from cprlab.subjects import Subject, open_subject
from cprlab.training import Run, run_folder, train
from tests.probes.test_cheapest import drawn
from tests.probes.test_foreign import START, N, choose, write
from tests.probes.test_retrofit import brute

WRITING = RetrofitConfig(out="there")


def read(folder):
    return json.loads((folder / "retrofit.json").read_text())


def test_the_folder_holds_the_page_the_numbers_the_notebook_and_what_was_fitted(retrofitted):
    _, folder = retrofitted
    written = ["gru4rec-softmax-f", "gru4rec-softmax-f.safetensors"]
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*written, "index.html", "report.ipynb", "retrofit.json"]
    content = read(folder)
    assert sorted(content["files"]) == written
    (told,) = content["models"].values()
    assert [row["part"] for row in told["parts"]] == ["nothing", *PARTS]
    assert told["cases"] == "fitted on the validation cases of 120 users, and judged on the test cases of 120"
    page = (folder / "index.html").read_text()
    assert told["words"] in page
    assert "Written beside this page: gru4rec-softmax-f.safetensors" in page


def test_the_part_is_fitted_on_validation_cases_and_judged_on_test_cases(retrofitted):
    config, folder = retrofitted
    run, sequences = Run.load(config.models[0]), config.sequences()
    model = run.recommender
    validation, test = (Snapshot.from_sequences(model, sequences, split) for split in ("validation", "test"))
    expected = retrofit(test, "F", validation=validation)
    written = Retrofit.load(folder / "gru4rec-softmax-f.safetensors")
    np.testing.assert_allclose(written.numbers, expected.numbers, rtol=1e-4)
    (told,) = read(folder)["models"].values()
    values = [row["value"] for row in told["table"] if row["part"] == "F"]
    np.testing.assert_allclose(values, expected.table["value"], rtol=1e-4, atol=1e-6)


def test_the_run_says_what_was_trained_and_fitted_and_opens_everywhere(retrofitted, tmp_path):
    config, folder = retrofitted
    trained, fitted = Run.load(config.models[0]), Run.load(folder / "gru4rec-softmax-f")
    sequences = config.sequences()
    fitted.check_data(sequences)
    assert fitted.config == trained.config.but(head="Softmax + C + F")
    about = fitted.record["retrofit"]
    assert (about["trained_head"], about["trained_run"], about["part"]) == ("Softmax", trained.folder.name, "F")
    assert about["cases"].startswith("fitted on the validation cases of 120 users")
    assert fitted.record["versions"] == trained.record["versions"]
    pd.testing.assert_frame_equal(fitted.history, trained.history)
    part = Retrofit.load(folder / "gru4rec-softmax-f.safetensors")
    snapshot = Snapshot.from_sequences(trained.recommender, sequences)
    loss = -part.log_probs(snapshot.states, snapshot.histories)[np.arange(len(snapshot)), snapshot.targets]
    np.testing.assert_allclose(fitted.cases["log_loss"], loss, atol=1e-4)
    assert fitted.record["test"]["log-loss"] == pytest.approx(loss.mean(), abs=1e-4)
    assert set(fitted.record["test"]) == set(METRICS)
    pd.testing.assert_frame_equal(evaluate(fitted.recommender, sequences), fitted.cases)
    opened = explore(ExplorerConfig(models=str(fitted.folder), data=config.data))
    assert opened.predictions()["model"].unique().tolist() == ["GRU4Rec, Softmax + C + F"]
    with pytest.raises(DataError, match="fitted after its training"):
        keep(fitted, tmp_path / "results")


@pytest.mark.slow
def test_a_training_with_that_head_does_not_find_it(retrofitted, tmp_path):
    config, folder = retrofitted
    fitted = Run.load(folder / "gru4rec-softmax-f")
    assert run_folder(config.sequences(), fitted.config, folder) != fitted.folder
    trained = train(config.sequences(), fitted.config, tmp_path, "cpu")
    assert "retrofit" not in trained.record


def test_a_second_page_replaces_the_first_and_nothing_else_is_replaced(retrofitted):
    config, folder = retrofitted
    before = read(folder)
    run_retrofit(config, folder)
    assert read(folder) == before
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        run_retrofit(config, folder)
    (folder / "notes.txt").unlink()
    with pytest.raises(DataError, match="other files"):
        run_retrofit(config, folder.parent / "out")  # the report's
    with pytest.raises(DataError, match="contains the report on"):
        run_retrofit(config.but(models="other.npz"), folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A Snapshot's file, whose users follow one bias."""
    path = tmp_path_factory.mktemp("snapshot") / "a_b.safetensors"
    drawn((2.0, 0, 0, 0)).save(path)
    return measure(open_subject(str(path), None))


def test_a_snapshot_is_divided_by_halves_and_the_page_says_so(measured):
    assert measured.where == "fitted on a random half of the users, 300, and judged on the other 300"
    assert measured.cheapest.part == measured.named().part == "B"
    assert measured.named("C").part == "C"
    b = measured.parts["B"]
    losses = {name: b.cases[name]["log_loss"].mean() for name in ("before", "after")}
    assert measured.words().startswith("Measured: + B (1 number) fitted to this frozen model: NDCG@10 +")
    assert f"log-loss {losses['after'] - losses['before']:+.3f} [" in measured.words()
    assert answers([measured], WRITING).startswith(r"- **a\_b.safetensors.** Measured: + B (1 number)")
    assert "Written beside this page: a-b-safetensors-b.safetensors." in answers([measured], WRITING)
    assert "Written" not in answers([measured], RetrofitConfig())
    assert "loss on whether from" in headline(measured)


def test_the_tables_are_those_of_the_parts(measured):
    table = choices(measured)
    assert list(table.index) == ["nothing", *PARTS]
    assert table.index[table[""] == "← named"].tolist() == ["B"]
    assert table.loc[measured.cheapest.best, "above the best"] == "the best"
    loss = measured.parts["F"].cases["after"]["log_loss"].mean()
    assert table.loc["F", "log-loss"] == f"{loss:.4f}"
    wide = changes(measured)
    assert list(wide.columns) == ["before", *(f"+ {part}" for part in PARTS)]
    before, after = (METRICS["loss on which"](measured.parts["F"].cases[name]).mean() for name in ("before", "after"))
    assert wide.loc[("loss on which", "all"), "before"].startswith(f"{before:.3f} [")
    assert wide.loc[("loss on which", "all"), "+ F"].startswith(f"{after - before:+.3f} [")


def test_examples_show_the_case_before_and_after(measured):
    """The chosen cases are found again by their histories, and scored item by item."""
    snapshot = drawn((2.0, 0, 0, 0))
    examples = measured.examples("F", each=3)
    assert examples
    f = measured.parts["F"]
    b, by_count, by_age = f.numbers
    before = brute(snapshot, np.zeros(4), np.zeros((3, 3)), np.zeros(3))
    after = brute(snapshot, (b, 0, by_count, by_age), f.matrix - np.eye(3), f.vector)
    for example in examples:
        case = int(example.user)
        assert example.target == snapshot.targets[case]
        np.testing.assert_array_equal(example.history, snapshot.histories[case])
        scored = list(example.log_probs.values())
        np.testing.assert_allclose(scored[0], before[case], atol=1e-9)
        np.testing.assert_allclose(scored[1], after[case], atol=1e-9)


def test_nothing_is_named_in_words_and_nothing_written(tmp_path):
    drawn((0.0, 0, 0, 0)).save(tmp_path / "calm.safetensors")
    found = measure(open_subject(str(tmp_path / "calm.safetensors"), None))
    assert found.cheapest.part == "nothing"
    assert found.words().startswith("Measured: no part fitted to this frozen model lowers its log-loss beyond noise;")
    assert found.examples() == []
    assert "Written" not in answers([found], WRITING)
    assert "Written beside this page: calm-safetensors-f.safetensors." in answers([found], WRITING.but(part="F"))
    assert "no part lowers" in headline(found)


def test_a_recbole_checkpoint_is_fitted_on_recboles_validation_cases(tmp_path):
    model = load(RECORDED / "GRU4Rec.pth")
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, N + 1, rng.integers(2, 12)).tolist() for _ in range(80)]
    histories[0] = list(range(1, N + 1))  # numbers the items
    for _ in range(2):  # held out for validation and test, and likely under the model
        held_out = choose(model, [history[-7:] for history in histories])
        histories = [[*history, item] for history, item in zip(histories, held_out, strict=True)]
    rows = [
        (f"u{user}", item, START + 1000 * place) for user, of in enumerate(histories) for place, item in enumerate(of)
    ]
    log = write(tmp_path / "log.inter", rows)
    subject = open_subject(str(RECORDED / "GRU4Rec.pth"), None, str(log))
    validation, users = subject.validation()
    test = subject.snapshot
    assert len(validation) == len(users) == len(test)
    for case, history in enumerate(histories):
        assert (validation.histories[case] + 1).tolist() == history[:-2][-7:]
        assert [validation.targets[case] + 1, test.targets[case] + 1] == history[-2:]
    again = from_recbole(model, log, split="validation")
    np.testing.assert_allclose(again.states, validation.states)
    found = measure(subject)
    assert found.where.startswith("fitted on the validation cases of ")
    assert set(found.parts) == set(PARTS)


def test_models_that_take_no_part_are_named_or_refused(probed):
    config, _ = probed
    softmax, cpr = config.subjects()
    assert fittable([softmax, cpr]) == [softmax]
    assert "Nothing is fitted to GRU4Rec, Softmax + CPR:5 + Mi, as a part" in origins([softmax, cpr])
    assert "Nothing" not in origins([softmax])
    with pytest.raises(ConfigError, match="Give a model with a plain softmax"):
        fittable([cpr])
    with pytest.raises(ConfigError, match="Unknown part 'D'"):
        RetrofitConfig(part="D")


def test_the_parts_of_two_models_have_names_of_their_own(measured):
    assert "1-a-b-safetensors-b.safetensors" in answers([measured, measured], WRITING)
    assert "2-a-b-safetensors-b.safetensors" in answers([measured, measured], WRITING)


def test_precision_is_kept(retrofitted):
    _, folder = retrofitted
    assert {weight.dtype for weight in Run.load(folder / "gru4rec-softmax-f").recommender.parameters()} == {
        torch.float32
    }


def test_users_with_several_cases_weigh_as_one_in_the_fit_and_in_the_judgement():
    judged, validation = drawn((2.0, 0, 0, 0), m=120), drawn((2.0, 0, 0, 0), m=90)
    validation = Snapshot(judged.item_embeddings, validation.states, validation.histories, validation.targets)
    judged = Snapshot(judged.item_embeddings, judged.states, judged.histories, judged.targets)
    of_fitted, users = np.arange(90) // 2 % 30, np.minimum(np.arange(120), 40)
    subject = Subject(
        "made up", judged, copy_probability(judged), False, users=users, validation=lambda: (validation, of_fitted)
    )
    found = measure(subject)
    assert found.where == "fitted on the validation cases of 30 users, and judged on the test cases of 41"
    expected = retrofit(judged, "F", validation=validation, users=users, validation_users=of_fitted)
    np.testing.assert_allclose(found.parts["F"].numbers, expected.numbers, rtol=1e-6)
    assert set(found.cheapest.table["n"]) == {41}
