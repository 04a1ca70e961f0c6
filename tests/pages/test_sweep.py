"""A sweep end to end: two worker processes, a small log with a hostile name, a head that does not fit it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import pytest

from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.pages.index import index_page
from cprlab.pages.run import execute
from cprlab.pages.sweep import refuse_to_replace, run_notebook, run_sweep
from cprlab.studies.summary import SummaryConfig
from cprlab.sweeps.config import SweepConfig
from cprlab.sweeps.work import Outcome
from cprlab.training import Run
from tests.browser import open_page
from tests.conftest import random_log

HOSTILE = '<script>hacked = 1<&script> & "quoted"'
UNFIT = "Softmax + R:500"


def write_log(path):
    log = random_log(users=25, items=30, longest=12)
    rows = zip(log.user_ids[log.users], log.item_ids[log.items], strict=True)
    path.write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in rows))
    return str(path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory, slow):
    """A sweep's configuration, its report's folder and what failed in it."""
    folder = tmp_path_factory.mktemp("sweep")
    config = SweepConfig(
        name=HOSTILE, data=write_log(folder / f"{HOSTILE}.csv"), encoder="MF", head=("Softmax", "Softmax + C", UNFIT),
        settings={"d": 8}, device="cpu", runs=str(folder / "runs"), out=str(folder / "out"),
    )  # fmt: skip
    page, failed = run_sweep(config, workers=2)
    return config, page.parent, failed


def test_the_results_are_a_row_a_run_with_what_run_json_says(swept):
    config, folder, failed = swept
    table = pd.read_parquet(folder / "results.parquet")
    assert table["head"].tolist() == list(config.head)
    assert table["data"].tolist() == [HOSTILE] * 3
    assert table["status"].tolist() == ["done", "done", "failed"]
    assert [outcome.error for outcome in failed] == table["error"].tolist()[2:]
    assert "k = 500 must not be above the number of items" in table["error"][2]
    assert table["kind"].tolist() == ["", "", "ConfigError"]
    for row in table[:2].to_dict("records"):
        run = Run.load(row["folder"])
        assert row["head"] == run.config.head
        assert {name: row[name] for name in run.record["test"]} == run.record["test"]
        assert (row["validation"], row["epochs"]) == (run.history["ndcg"].max(), len(run.history))
        assert row["fingerprint"] == run.record["data"]["fingerprint"]
    assert table.loc[2, ["validation", "NDCG@10", "folder"]].isna().all()


def test_the_stamp_says_what_was_asked_for_and_of_what(swept):
    config, folder, _ = swept
    stamp = json.loads((folder / "stamp.json").read_text())
    assert SweepConfig(**stamp["sweep"]) == config
    assert stamp["seeds"] == [0]
    assert stamp["runs"] == {"done": 2, "failed": 1}
    assert stamp["data"] == {HOSTILE: pd.read_parquet(folder / "results.parquet")["fingerprint"][0]}
    assert {"cprlab", "torch", "python"} <= set(stamp["versions"])
    assert stamp["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", stamp["commit"])
    assert sorted(stamp["files"]) == sorted(path.name for path in folder.iterdir())


def test_the_pages_are_small_self_contained_and_show_names_as_text(swept):
    _, folder, _ = swept
    pages = {path.name: path.read_text() for path in folder.glob("*.html")}
    assert set(pages) == {"index.html", "summary.html"}
    for page in pages.values():
        outside = r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?!data:)(?:https?:)?//[^>]*>"
        assert re.findall(outside, page) == []
        assert len(page.encode()) < 8_000_000
        assert "<script>hacked" not in page
        assert "&lt;script&gt;hacked" in page
    assert pages["summary.html"].count("window.PlotlyConfig = ") == 1
    assert pages["summary.html"].count("Plotly.newPlot(") == 2
    assert '<a href="summary.html">summary</a>' in pages["index.html"]
    assert pages["index.html"].count('<tr class="failed">') == 1
    assert pages["index.html"].count(pd.read_parquet(folder / "results.parquet")["fingerprint"][0]) == 1


def test_no_name_is_run_in_a_browser(swept, chromium):
    _, folder, _ = swept
    with open_page(offline=True) as (page, complaints):
        for name in ("index.html", "summary.html"):
            page.goto((folder / name).as_uri())
            assert page.locator("text=<script>hacked").count() > 0
            assert page.evaluate("window.hacked") is None
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg .gtitle').length >= 2")
        assert page.evaluate("window.hacked") is None
        assert complaints == []


def test_the_summary_sums_up_what_is_finished(swept):
    _, folder, _ = swept
    notebook = nbformat.read(folder / "summary.ipynb", as_version=4)
    said = "".join(str(output.get("data")) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "3 runs were asked for, 2 are there, and 2 count" in said
    assert "Whether heads would differ on other logs cannot be tested on fewer than six (here: 1)." in said
    answer = notebook.cells[-1].outputs[-1].data["text/plain"]
    assert re.search(r"^MF +Softmax \+ C +", answer, re.MULTILINE)


def test_a_page_links_notebooks_and_tells_which_failed(swept):
    config, folder, _ = swept
    results = pd.read_parquet(folder / "results.parquet")
    page = index_page(config, results, {"05 <b>-MF": Outcome({}), "06-MF": Outcome(None, "a <b> failed.", "DataError")})
    assert '<a href="05%20%3Cb%3E-MF.html">05 &lt;b&gt;-MF</a>' in page
    assert '06-MF: <span class="failed">a &lt;b&gt; failed.</span>' in page
    assert "<b>" not in page


def test_a_report_replaces_nothing_but_an_earlier_one_of_the_sweep(swept, tmp_path):
    config, folder, _ = swept
    refuse_to_replace(folder, config.but(seeds=2))  # an earlier one
    with pytest.raises(DataError, match="contains the report of the sweep"):
        refuse_to_replace(folder, config.but(name="other"))
    (tmp_path / "site").mkdir()
    refuse_to_replace(tmp_path / "site", config)  # empty
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        refuse_to_replace(tmp_path / "site", config)
    for out in (config.runs, f"{config.runs}/inside", str(folder.parent)):
        with pytest.raises(DataError, match="must not be in each other"):
            refuse_to_replace(type(folder)(out), config)
    with pytest.raises(DataError, match="is a file"):
        refuse_to_replace(type(folder)(config.data[0]), config)


def test_a_second_sweep_trains_nothing_and_an_earlier_report_stays_when_writing_fails(swept, monkeypatch):
    config, folder, _ = swept

    def state(of):
        return {path: path.stat().st_mtime_ns for path in of.rglob("*") if path.is_file()}

    before = state(folder), state(folder.parent / "runs")
    monkeypatch.setattr("cprlab.pages.sweep.index_page", lambda *_: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        run_sweep(config, workers=1)
    assert (state(folder), state(folder.parent / "runs")) == before


@pytest.mark.slow
def test_a_notebook_that_stops_is_told_in_a_sentence(monkeypatch):
    with pytest.raises(ConfigError, match="'grid' is not JSON"):
        run_notebook("summary.ipynb", {"grid": "{"}, "title")
    with pytest.raises(ConfigError, match="'train' cannot be 'maybe'"):
        execute("summary.ipynb", {"train": "maybe"})
    with pytest.raises(ConfigError, match=r"no parameter 'grids': did you mean 'grid'"):
        execute("summary.ipynb", {"grids": "{}"})
    stopped = __import__("papermill").PapermillExecutionError(1, 1, "", "KeyError", "'x'", [])
    monkeypatch.setattr("cprlab.pages.sweep.execute", lambda *_: (_ for _ in ()).throw(stopped))
    with pytest.raises(CprlabError, match=r"a\.ipynb stopped with KeyError: 'x'"):
        run_notebook("a.ipynb", {}, "title")


def test_a_summary_of_nothing_is_refused(tmp_path):
    data = write_log(tmp_path / "log.csv")
    config = SummaryConfig(grid=json.dumps({"data": [data]}), runs=str(tmp_path / "runs"), train=False)
    with pytest.raises(ConfigError, match="None of the sweep's runs is finished"):
        config.results()
    with pytest.raises(ConfigError, match="did you mean 'head'"):
        SummaryConfig(grid='{"heads": []}').asked()
    with pytest.raises(ConfigError, match="not JSON with the fields of a grid"):
        SummaryConfig(grid="[3]").asked()


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    """SIGKILL after the second of six runs: no process is left, finished runs stay, and the rest is trained."""
    data = write_log(tmp_path / "log.csv")
    config = SweepConfig(
        name="killed", data=data, encoder="MF", head="Softmax", settings={"d": 8, "epochs": 40}, seeds=6,
        device="cpu", runs=str(tmp_path / "runs"), out=str(tmp_path / "out"),
    )  # fmt: skip
    grid = tmp_path / "grid.yaml"
    grid.write_text(config.model_dump_json())  # JSON is YAML
    command = [sys.executable, "-c", "from cprlab.cli import main; main()", "sweep", str(grid), "--workers", "2"]

    def finished():
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/[!.]*/model.safetensors")}

    with (tmp_path / "said.txt").open("w") as said:
        sweep = subprocess.Popen(command, stderr=said, start_new_session=True)
        while len(finished()) < 2:
            assert sweep.poll() is None
            time.sleep(0.02)
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    before = finished()
    assert 2 <= len(before) < 6
    for _ in range(200):
        if not left_over(sweep.pid):
            break
        time.sleep(0.1)
    assert left_over(sweep.pid) == []
    assert not (tmp_path / "out").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = finished()
    assert len(after) == 6
    assert {path: after[path] for path in before} == before
    assert not list((tmp_path / "runs").glob(".*.checkpoint"))


def left_over(session):
    """Return the processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if "defunct" not in line and str(os.getpid()) not in line]
