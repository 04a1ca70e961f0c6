import html
import json
import os
import re
import shutil
from pathlib import Path

import nbconvert
import nbformat
import numpy as np
import pytest

from cprlab.data import save_prepared
from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.evaluation import evaluate
from cprlab.numbers import as_text
from cprlab.pages.html import to_page
from cprlab.pages.run import execute, run_report
from cprlab.settings import ReportConfig
from cprlab.training import train
from tests.pages.conftest import FILE


def rows_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_folder_holds_the_page_the_numbers_and_the_notebook(report):
    folder = report[1]
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "metrics.json", "report.ipynb"]
    beside = {path.name for path in folder.parent.iterdir()} - {
        "probe",
        "retrofit",
    }  # made by other tests
    assert beside == {FILE, "out", "runs"}
    for row in rows_of(folder):
        about, labels = ["data", "fingerprint", "encoder"], ["head", "ranking", "cases", "metric"]
        assert list(row) == [*about, *labels, "value", "low", "high", "n"]
        assert row["low"] <= row["value"] <= row["high"]
        assert (row["data"], row["encoder"]) == (FILE, "GRU4Rec")
        assert row["fingerprint"] == report[0].sequences().fingerprint


def test_the_numbers_are_those_of_the_runs(report):
    config, folder = report
    sequences = config.sequences()
    told = {
        (row["head"], row["cases"], row["metric"]): row["value"] for row in rows_of(folder) if row["ranking"] == "raw"
    }
    for head, run in config.run_configs().items():
        recommender = train(sequences, run, config.runs, "cpu").recommender
        cases = evaluate(recommender, sequences)
        gains = [1 / np.log2(1 + rank) if rank <= 10 else 0 for rank in cases["rank"]]
        assert told[head, "all", "NDCG@10"] == pytest.approx(np.mean(gains), rel=1e-9)
        assert told[head, "repeat", "log-loss"] == pytest.approx(cases["log_loss"][cases["repeat"]].mean(), rel=1e-5)


def test_a_second_report_that_trains_anew_gives_the_same_numbers(report, tmp_path):
    config, folder = report
    run_report(config.but(runs=str(tmp_path / "runs")), tmp_path / "again")
    assert len(list((tmp_path / "runs").iterdir())) == 3
    assert rows_of(tmp_path / "again") == rows_of(folder)


def test_the_page_is_self_contained_and_shows_titles_as_text(report):
    page = (report[1] / "index.html").read_text()
    assert re.search(r"<title>cprlab: =hostile &lt;img src=x onerror=[^<>]*</title>", page)
    assert "<img src=x" not in page
    outside = re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?!data:)(?:https?:)?//[^>]*>", page)
    assert outside == []
    assert "<script>window.hacked" not in page
    assert page.count("Plotly.newPlot(") >= 8
    assert page.index("of the items that 120 test users") < page.index("How much does this log repeat?")
    assert report[0].sequences().fingerprint in page


def test_every_figure_has_a_name_axes_and_something_to_show(report):
    cells = nbformat.read(report[1] / "report.ipynb", as_version=4).cells
    figures = [
        output.data["application/vnd.plotly.v1+json"]
        for cell in cells
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]
    names = [figure["layout"]["meta"]["name"] for figure in figures]
    assert names[:5] == ["repeat_curve", "training", "metrics", "reliability", "by_length"]
    assert names.count("example") >= 3
    for figure in figures:
        assert figure["layout"]["title"]["text"]
        assert all(trace.get("name") or trace.get("showlegend") is False for trace in figure["data"])


def test_of_a_progress_bar_only_its_last_state_is_kept(report):
    cells = nbformat.read(report[1] / "report.ipynb", as_version=4).cells
    streams = [[out.text for out in cell.get("outputs", []) if out.output_type == "stream"] for cell in cells]
    (shown,) = filter(None, streams)
    assert len(shown) == 1
    assert "\r" not in shown[0]
    assert "100%" in shown[0]


def test_a_wrong_parameter_is_refused():
    with pytest.raises(ConfigError, match=r"no parameter 'epoch': did you mean 'epochs'"):
        execute("report.ipynb", {"epoch": 3})


@pytest.mark.slow
def test_an_ill_typed_parameter_is_refused_by_the_notebook_too():
    with pytest.raises(ConfigError, match="'epochs' cannot be 'three'"):
        execute("report.ipynb", {"epochs": "three"})


@pytest.mark.skipif(os.name != "posix", reason="kernels are reached through ports here")
def test_kernels_that_start_in_one_folder_at_once_share_no_socket(monkeypatch):
    seen = []

    def kernel(*_, config, **__):
        place = Path(config["KernelManager"]["ip"]).parent
        assert config["KernelManager"]["transport"] == "ipc"
        assert place.stat().st_mode & 0o77 == 0
        seen.append(place)
        if len(seen) == 1:  # while the first runs, a second one
            execute("report.ipynb", {})
        assert place.exists()
        return nbformat.v4.new_notebook()

    monkeypatch.setattr("papermill.execute_notebook", kernel)
    execute("report.ipynb", {})
    assert len(set(seen)) == 2
    assert not any(place.exists() for place in seen)


def test_an_earlier_report_stays_when_a_new_one_fails_at_the_end(report, monkeypatch):
    config, folder = report
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    monkeypatch.setattr("cprlab.pages.run.to_page", lambda *_: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        run_report(config, folder)
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before
    assert not list(folder.parent.glob(".*"))


def test_a_report_replaces_nothing_but_an_earlier_one_on_the_same_data(report, tmp_path):
    config, folder = report
    other = tmp_path / "other.csv"
    shutil.copy(config.data, other)
    with pytest.raises(DataError, match=r"contains the report on .*=hostile <img"):
        run_report(config.but(data=str(other)), folder)
    for out in (config.runs, f"{config.runs}/inside", str(folder.parent)):
        with pytest.raises(DataError, match="must not be in each other"):
            run_report(config, out)
    with pytest.raises(DataError, match="is a file"):
        run_report(config, other)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(DataError, match="holds other files"):
        run_report(config, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "mine"


@pytest.mark.slow
def test_the_smallest_log_and_odd_names_make_a_report(tmp_path):
    """One user, all of one length, braces in the names."""
    data = tmp_path / "w{1}.csv"
    data.write_text("user_id,item_id\n" + "".join(f"u,{n % 5}\n" for n in range(9)))
    config = ReportConfig(
        data=str(data), heads="Softmax; Softmax + C", epochs=1, device="cpu", runs=str(tmp_path / "runs")
    )
    page = run_report(config, tmp_path / "{out}").read_text()
    assert "100.0% of the items that 1 test users took next were in their history" in page
    assert "too few users to tell" in page


@pytest.mark.slow
def test_a_kernel_that_is_killed_is_told_in_a_sentence(tmp_path, monkeypatch):
    code = nbformat.v4.new_code_cell("import os\nos.kill(os.getpid(), 9)")
    notebook = nbformat.v4.new_notebook(cells=[code], metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    nbformat.write(notebook, tmp_path / "dies.ipynb")
    monkeypatch.setattr("cprlab.pages.run.find_notebook", lambda name: tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CprlabError, match=r"ran dies\.ipynb was killed"):
        execute("dies.ipynb", {})
    assert [path.name for path in tmp_path.iterdir()] == ["dies.ipynb"]  # no socket of the kernel's


def test_words_from_elsewhere_are_shown_as_they_are():
    said = "Mum's *best* <b> & a_b"
    shown = nbconvert.filters.markdown2html(as_text(said))
    assert html.unescape(shown) == f"<p>{said}</p>\n"


def test_the_title_of_a_page_is_text():
    assert "<title>a &amp; &lt;b&gt;</title>" in to_page(nbformat.v4.new_notebook(), "a & <b>")


def test_a_folder_with_an_unreadable_report_is_left_alone(report, tmp_path):
    config, folder = report
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "report.ipynb").write_text("{")
    with pytest.raises(DataError, match="contains the report on something that cannot be read"):
        run_report(config, broken)


def test_a_report_takes_a_prepared_folder_and_draws_its_users(sequences, tmp_path):
    save_prepared(sequences, tmp_path / "prepared")
    config = ReportConfig(data=str(tmp_path / "prepared"), users=7)
    assert config.sequences().n_users == 7
    assert config.but(users=0).sequences().fingerprint == sequences.fingerprint
