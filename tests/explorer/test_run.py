"""`cprlab explore` and `cprlab case`: what they open and write, from where, and what they refuse before."""

import json
import re
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from cprlab import cli
from cprlab.errors import ConfigError
from cprlab.explorer import ExplorerConfig, ExplorerState, opened, page, run, tables
from cprlab.plots import item_map

STATE = {"models": ["my_model.npz"], "settings": [{"temperature": 2}], "case": 3, "history": [2, 5]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a Snapshot and a state, in which the command is given."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "my_model.npz", item_embeddings=rng.normal(size=(9, 4)), states=rng.normal(size=(12, 4)))
    histories = [[1, 2, 3]] * 11 + [list(range(9))]
    pd.DataFrame({"history": histories, "target": [2, 4] * 6}).to_parquet(tmp_path / "my_cases.parquet")
    (tmp_path / "my_state.json").write_text(json.dumps(STATE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cprlab", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, capsys.readouterr()


def shown(state=""):
    return opened(ExplorerConfig(models="my_model.npz", histories="my_cases.parquet", state=state))


def test_explore_opens_the_models_once_and_serves_what_was_opened(folder, monkeypatch, capsys):
    served = []

    def fake(notebook, port, open_browser, token, prepare):
        prepare()
        monkeypatch.setattr(ExplorerConfig, "subjects", lambda *_, **__: pytest.fail("opened again"))
        monkeypatch.chdir(notebook.parent)  # as a kernel
        (cell,) = nbformat.read(notebook, as_version=4).cells
        given = {}
        exec(cell.source.replace("received()", "app = received()"), given)
        served.append((given["app"], notebook, port, open_browser, token))
        monkeypatch.chdir(folder)

    monkeypatch.setattr("cprlab.explorer.serve.serve", fake)
    options = ["my_model.npz", "--histories", "my_cases.parquet", "--state", "my_state.json", "--no-browser"]
    code, _ = command(monkeypatch, capsys, "explore", *options, "--port", "18899")
    assert code == 0
    ((app, path, port, browser, token),) = served
    assert re.fullmatch("[0-9a-f]{32}", token)
    assert (port, browser) == (18899, False)
    assert not path.exists()  # gone with its folder
    assert app.state == ExplorerState(**STATE)
    scores = np.load("my_model.npz")["item_embeddings"] @ np.load("my_model.npz")["states"][3] / 2
    assert app.predictions()["item"].tolist() == np.argsort(-scores).tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explore", "missing.npz"], "missing.npz"),
        (["explore", "my_model.npz", "--histories", "my_cases.parquet", "--state", "missing.json"], "missing.json"),
        (["explore", "my_model.npz", "--histories", "my_cases.parquet", "--state", "{"], "is not JSON"),
        (["explore", "my_model.npz", "--histories", "my_cases.parquet", "--state", json.dumps(STATE | {"case": 12})],
         "There is no case 12"),
        (["case", '{"models": ["my_model.npz"]}'], "The explorer's state: The setting 'settings' is missing"),
        (["explore", "--port", "0"], "--port"),
        (["explore", "--data", "missing.csv"], "missing.csv is not a file"),
        (["case", "missing.json"], "missing.json"),
        pytest.param(["case", "my_state.json", "missing.npz"], "missing.npz", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_terminal_and_nothing_is_served(folder, monkeypatch, capsys, arguments, said):
    def fake(notebook, port, open_browser, token, prepare):
        prepare()
        pytest.fail("served")

    monkeypatch.setattr("cprlab.explorer.serve.serve", fake)
    code, printed = command(monkeypatch, capsys, *arguments)
    assert code == 2
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert not (folder / "reports" / "case-my_model-3").exists()


@pytest.mark.slow
def test_a_case_is_a_page_with_its_numbers_and_replaces_no_other_state(folder, monkeypatch, capsys):
    options = ["my_model.npz", "--histories", "my_cases.parquet"]
    code, printed = command(monkeypatch, capsys, "case", "my_state.json", *options)
    assert code == 0
    assert printed.out.splitlines()[-1] == "reports/case-my_model-3/index.html"
    out = folder / "reports" / "case-my_model-3"
    assert sorted(path.name for path in out.iterdir()) == ["case.json", "index.html", "report.ipynb"]
    told = json.loads((out / "case.json").read_text())
    assert ExplorerState(**told["state"]) == ExplorerState(**STATE)
    model = np.load("my_model.npz")
    scores = model["item_embeddings"] @ model["states"][3] / 2  # temperature 2
    expected = np.exp(scores) / np.exp(scores).sum()
    assert [row["item"] for row in told["predictions"]] == np.argsort(-expected).tolist()
    np.testing.assert_allclose([row["probability"] for row in told["predictions"]], np.sort(expected)[::-1])
    assert told["states"][0]["copy"] == pytest.approx(expected[[2, 5]].sum())
    assert told["sentence"] in (out / "index.html").read_text().replace("\\", "")
    code, printed = command(monkeypatch, capsys, "case", json.dumps(STATE | {"k": 4}), *options)
    assert code == 2
    assert "contains the report on" in printed.err


def test_what_a_case_page_shows_of_an_empty_history_and_of_one_that_holds_everything(folder):
    for state, said in (
        (STATE | {"history": []}, "The history is empty"),
        (STATE | {"case": 11, "history": None}, "contains every item"),
    ):
        app = shown(json.dumps(state))
        page.finish(app)
        assert said in page.about(app)
        assert tables.inseparable(app).empty
        table, note = page.picture(app)
        assert item_map(table, note, page.title(app)).data


def test_the_map_has_all_items_once_or_evenly_drawn_ones_and_says_so(folder, monkeypatch):
    app = shown(json.dumps(STATE | {"k": 1}))
    table, note = page.picture(app)
    assert sorted(table.loc[table["item"] >= 0, "item"]) == list(range(9))
    assert "drawn" not in note
    monkeypatch.setattr(page, "OTHERS", 2)
    table, note = page.picture(app)
    others = (table["kind"] == "other").sum()
    assert 0 < others <= 2
    assert f"{others} of " in note


def test_cases_that_cannot_be_copied_are_looked_for_before_they_are_listed(folder):
    preset = {"query": {"preset": "cannot be copied by one hidden state"}}
    app = shown(json.dumps(STATE | preset))
    assert page.listed(app).empty
    page.finish(app)
    assert set(page.listed(app).get("copyable", [])) <= {"no"}
    assert (app.choices.table["copyable"][:11] != "").all()
    assert "copyable" in page.listed(app)
    assert "copyable" not in page.listed(shown(json.dumps(STATE)))


def test_a_case_is_of_the_state_or_the_number_and_the_models_given(folder, monkeypatch, capsys):
    written = []

    def publish(*given):
        written.append(given)
        return "index.html"

    monkeypatch.setattr("cprlab.pages.run.publish", publish)
    histories = ["--histories", "my_cases.parquet"]
    for arguments in (
        ["my_state.json", "my_model.npz"],
        ['{"case": 7}', "my_model.npz"],
        ["--case", "7", "my_model.npz"],
        ["my_model.npz", "--case", "7"],
        ["--case", "3", "my_state.json", "my_model.npz"],
        ["--case", "7", "my_state.json", "my_model.npz"],
        ["my_model.npz"],
    ):
        code, printed = command(monkeypatch, capsys, "case", *arguments, *histories)
        assert code == 0, printed.err
    first = shown().state
    states = [opened(config).state for _, config, *_ in written]
    own = ExplorerState(**STATE)
    assert states[:5] == [own, *[first.but(case=7)] * 3, own]
    assert states[5:] == [own.but(case=7, history=None), first]
    assert [config.models for _, config, *_ in written] == [("my_model.npz",)] * 7
    names = [str(out) for _, _, out, *_ in written]
    numbers = ["-3", "-7", "-7", "-7", "-3", "-7", ""]
    assert names == [f"reports/case-my_model{number}" for number in numbers]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ('{"case": 12}', "There is no case 12"),
        ('{"case": "../x"}', "'case' cannot be '../x'"),
        ('{"cases": 3}', "did you mean 'case'"),
        ('{"settings": []}', "a setting for each of the 1 models"),
    ],
)
def test_a_state_without_models_is_refused_in_a_sentence(folder, state, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        shown(run.read_state(state))


def test_what_was_changed_in_the_models_is_said_first(folder):
    assert "Models are shown" not in page.about(shown())
    said = page.about(shown(json.dumps({"settings": [{"toward": 0.5, "temperature": 2}]})))
    assert "Models are shown with changes: my\\_model.npz (temperature 2.0, toward 0.5). " in said


def test_a_state_is_read_as_it_stands_or_from_a_file(folder):
    line = ExplorerState(**STATE).to_json()
    assert run.read_state("my_state.json") == run.read_state(json.dumps(STATE, indent=2)) == line
    assert run.read_state("") == ""
    with pytest.raises(ConfigError, match="JSON object"):
        run.read_state("[]")
