"""The tables and the figure of a page, against loops over the runs' own cases."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cprlab import cli
from cprlab.errors import ConfigError, DataError
from cprlab.numbers import as_text
from cprlab.results import read_results
from cprlab.results.page import BLOCK, filled, write_page
from cprlab.results.tables import CPR, PAPER, TARGETS, compared, forest, headline, logs, targets
from cprlab.sweeps.config import read_sweep

ROOT = Path(__file__).parent.parent.parent
NUMBER = r"[+−]?(?:\d+\.\d+|inf)"


def cells(markdown):
    """The rows of the last table of a text, by its columns' names."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    head, _, *table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in table]


def numbers(cell):
    """The value of a cell and its interval."""
    return [float(number.replace("−", "-")) for number in re.findall(NUMBER, cell)]


def ndcg(run, rank="rank"):
    """NDCG@10 of each user, in a loop."""
    of_user = {}
    for case in run.cases.to_dict("records"):
        gain = 1 / math.log2(1 + case[rank]) if case[rank] <= 10 else 0.0
        of_user.setdefault(case["user"], []).append(gain)
    return np.array([sum(gains) / len(gains) for gains in of_user.values()])


def chosen(tiny, data, split, encoder, head):
    """By their seeds, the runs of a setting."""
    found = {}
    for run in tiny.runs:
        about = run.record["data"]
        encoders = "" if run.config.counts else run.config.encoder.name
        if (about["name"], about["split"], encoders, run.config.head) == (data, split, encoder, head):
            found[run.config.training.seed] = run
    return found


LOGS = {"random": "random", "all\\|new": "all|new.inter"}  # as they are headed, and as they are named


def test_each_log_has_its_protocol_and_a_row_for_each_setting(tiny):
    parts = re.split(r"^### ", logs(tiny.kept), flags=re.MULTILINE)[1:]
    titles = [part.splitlines()[0] for part in parts]
    assert titles == ["again, next-basket", "all\\|new, leave-one-out", "random, leave-one-out"]
    for part, title in zip(parts[1:], titles[1:], strict=True):
        name, rows = LOGS[title.partition(",")[0]], cells(part)
        assert [(row["encoder"], row["head"]) for row in rows] == [
            ("GRU4Rec", "Softmax"), ("GRU4Rec", "Softmax + B"), ("GRU4Rec", CPR),
            ("SASRec", "Softmax"), ("SASRec", CPR), ("", "Counts"), ("", "Recent"),
        ]  # fmt: skip
        data = next(run.record["data"] for run in tiny.runs if run.record["data"]["name"] == name)
        assert f"{data['users']} users" in part
        assert f"a model reads the last {data['max_len']};" in part
        assert data["fingerprint"] in part
        assert all(as_text(note) in part for note in data["notes"])
        for row in rows:
            of_setting = chosen(tiny, name, "leave-one-out", row["encoder"], row["head"])
            for column, rank in (("NDCG@10", "rank"), ("history removed", "rank_post")):
                value, low, high = numbers(row[column])
                assert value == pytest.approx(np.mean([ndcg(run, rank) for run in of_setting.values()]), abs=6e-5)
                assert low <= value <= high
            if row["head"] != "Recent":
                loss = np.mean([run.cases["log_loss"].mean() for run in of_setting.values()])
                assert float(row["log-loss"]) == pytest.approx(loss, abs=6e-4)
                copied = np.mean([run.cases["copy_probability"].mean() for run in of_setting.values()])
                assert row["P(history)"] == f"{copied:.1%}" or abs(copied - float(row["P(history)"][:-1]) / 100) < 6e-4
            else:
                assert row["log-loss"] == row["P(history)"] == ""
            assert row["repeats"] == f"{run_repeats(of_setting):.1%}"
            assert row["seeds"] == (", ".join(map(str, of_setting)) if row["encoder"] else "")


def run_repeats(runs):
    return next(iter(runs.values())).cases["repeat"].mean()


def test_gains_are_paired_on_the_seeds_that_both_have_and_corrected_for_the_table(tiny):
    for part in re.split(r"^### ", logs(tiny.kept), flags=re.MULTILINE)[2:]:
        name, tests = LOGS[part.partition(",")[0]], []
        for row in cells(part):
            if not row["encoder"] or row["head"] == "Softmax":
                assert row["gain over Softmax"] == row["p (Holm)"] == ""
                continue
            of_head, of_base = (
                chosen(tiny, name, "leave-one-out", row["encoder"], head) for head in (row["head"], "Softmax")
            )
            shared = sorted(set(of_head) & set(of_base))
            assert shared == ([1] if row["head"] == "Softmax + B" else sorted(of_head))
            difference = np.mean([ndcg(of_head[seed]) - ndcg(of_base[seed]) for seed in shared], axis=0)
            value, low, high = numbers(row["gain over Softmax"])
            assert value == pytest.approx(difference.mean(), abs=6e-5)
            assert low <= value <= high
            tests.append((row["p (Holm)"], difference[difference != 0]))
        found = []
        for told, moved in tests:
            test = stats.permutation_test(
                (moved,), np.mean, vectorized=True, permutation_type="samples", n_resamples=9999, rng=5
            )
            found.append((test.pvalue, told))
        adjusted = 0.0
        for place, (p, told) in enumerate(sorted(found)):  # Holm: times as many tests as are left, never falling
            adjusted = max(adjusted, min(1, (len(found) - place) * p))
            assert float(told.removeprefix("< ")) == pytest.approx(adjusted, abs=0.04)


def test_a_basket_counts_once(tiny):
    (part,) = re.findall(r"### again, next-basket\n.*?(?=\n### )", logs(tiny.kept), re.DOTALL)
    for row in cells(part):
        runs = chosen(tiny, "again.parquet", "next-basket", row["encoder"], row["head"])
        assert numbers(row["NDCG@10"])[0] == pytest.approx(np.mean([ndcg(run) for run in runs.values()]), abs=6e-5)


def test_the_headline_is_the_geometric_mean_over_leave_one_out_logs(tiny):
    *ours, paper = cells(headline(tiny.kept))
    kinds = {"with repeats": ["random"], "without repeats": ["all|new.inter"], "all": ["random", "all|new.inter"]}
    assert [(row["encoder"], row["over"]) for row in ours] == [
        ("GRU4Rec", "Softmax"), ("SASRec", "Softmax"), ("GRU4Rec", "Softmax + B"),
        ("GRU4Rec", "Softmax (post)"), ("SASRec", "Softmax (post)"), ("GRU4Rec", "Counts"), ("SASRec", "Counts"),
    ]  # fmt: skip
    for row in ours:
        for kind, names in kinds.items():
            ratios = []
            for name in names:
                of_head = chosen(tiny, name, "leave-one-out", row["encoder"], CPR)
                counts, base = row["over"] == "Counts", row["over"].removesuffix(" (post)")
                of_base = chosen(tiny, name, "leave-one-out", "" if counts else row["encoder"], base)
                shared = list(of_head) if counts else sorted(set(of_head) & set(of_base))
                rank = "rank_post" if row["over"].endswith("(post)") else "rank"
                above = np.mean([ndcg(of_head[seed]) for seed in shared])
                ratios.append(above / np.mean([ndcg(of_base[0 if counts else seed], rank) for seed in shared]))
            if not np.isfinite(ratios).all():
                continue
            value, low, high = numbers(row[kind])
            assert value == pytest.approx(100 * (stats.gmean(ratios) - 1), abs=0.06)
            assert low <= value <= high
            assert row[kind].endswith(", 1 log" if len(names) == 1 else ", 2 logs")
    assert [paper[kind] for kind in kinds] == ["+10.0% [+4.0%, +17.0%]", "+24.0% [+8.0%, +39.0%]", "+19.0%"]


def test_a_published_figure_is_reached_where_the_interval_does_not_end_below_it(tiny, monkeypatch):
    def target(value, ranking="raw"):
        return TARGETS[0]._replace(data="random", encoder="GRU4Rec", ranking=ranking, value=value)

    runs = chosen(tiny, "random", "leave-one-out", "GRU4Rec", "Softmax")
    raw, post = (np.mean([ndcg(run, rank) for run in runs.values()]) for rank in ("rank", "rank_post"))
    tried = (target(raw), target(1.0), target(0.0, "post"), target(None), TARGETS[0])
    monkeypatch.setattr("cprlab.results.tables.TARGETS", tried)
    rows = cells(targets(tiny.kept))
    assert [row["reached"] for row in rows] == ["yes", "no", "yes", "", ""]
    assert [row["here"] == "not run" for row in rows] == [False] * 4 + [True]
    assert numbers(rows[0]["here"])[0] == pytest.approx(raw, abs=6e-5)
    assert numbers(rows[2]["here"])[0] == pytest.approx(post, abs=6e-5)
    assert rows[3]["published"] == ""  # nobody ran Markov


def test_the_forest_has_each_log_the_geometric_means_and_the_papers(tiny):
    table = forest(tiny.kept)
    over = table[table["comparison"] == f"{CPR} over Softmax"].set_index(["log", "encoder"])
    for name, encoder in (("random", "GRU4Rec"), ("random", "SASRec"), ("all|new", "GRU4Rec")):
        full = {"all|new": "all|new.inter"}.get(name, name)
        of_head, of_base = (chosen(tiny, full, "leave-one-out", encoder, head) for head in (CPR, "Softmax"))
        means = [np.mean([ndcg(run) for run in runs.values()]) for runs in (of_head, of_base)]
        assert over.loc[(name, encoder), "value"] == pytest.approx(means[0] / means[1] - 1)
    for kind, (value, low, high) in PAPER.items():
        row = over.loc[(f"geometric mean, {kind}", "the paper")]
        np.testing.assert_equal([row["value"], row["low"], row["high"]], [value, low, high])
    assert set(table["comparison"]) == {f"{CPR} over Softmax", f"{CPR} over Softmax + B"}
    assert compared(tiny.kept)
    assert not compared([kept for kept in tiny.kept if kept.labels["head"] != CPR])


PAGE = """# Title

<!-- results: targets -->
typed by hand
<!-- end -->

Between.

<!-- results: logs -->
<!-- end -->
"""


def test_a_page_is_filled_between_its_marks_alone(tiny, tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    assert write_page(tiny.kept, tmp_path / "page.md") == [tmp_path / "page.md"]
    text = (tmp_path / "page.md").read_text()
    assert "typed by hand" not in text
    assert re.sub(r"(<!-- results: \w+ -->\n).*?(<!-- end -->)", r"\1\2", text, flags=re.DOTALL) == PAGE.replace(
        "typed by hand\n", ""
    )
    assert f"\n\n{logs(tiny.kept)}\n\n<!-- end -->" in text
    assert filled(text, tiny.kept) == (text, [])


def test_what_is_written_into_a_page_while_it_is_filled_stays(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("<!-- results: logs -->\n<!-- end -->\n")
    monkeypatch.setattr("cprlab.results.page.filled", lambda text, runs: (page.write_text("mine") and text, []))
    with pytest.raises(DataError, match="was changed while"):
        write_page([], page)
    assert page.read_text() == "mine"


def test_a_page_without_runs_says_so():
    text, files = filled("<!-- results: headline -->\n<!-- end -->\n<!-- results: forest a.png -->\n<!-- end -->", [])
    assert text.count("No runs are kept yet.") == 2
    assert files == []


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("no blocks", "A page needs blocks"),
        ("<!-- results: logs -->\n", "A page needs blocks"),
        ("<!-- results: logs -->\n<!-- results: targets -->\n<!-- end -->", "A page needs blocks"),
        ("<!-- results: lgos -->\n<!-- end -->", "Unknown block 'lgos': did you mean 'logs'"),
        ("<!-- results: forest -->\n<!-- end -->", "Unknown block 'forest': did you mean 'forest FILE'"),
    ],
)
def test_a_page_that_cannot_be_filled_is_refused_and_stays(tmp_path, page, said):
    (tmp_path / "page.md").write_text(page)
    with pytest.raises(ConfigError, match=re.escape(said)):
        write_page([], tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == page
    with pytest.raises(DataError, match="is not a text file"):
        write_page([], tmp_path / "none.md")


def test_the_figure_is_drawn_where_the_page_shows_it(tiny, tmp_path, chromium):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("<!-- results: forest ../figures/gains.png -->\n<!-- end -->\n")
    write_page(tiny.kept, tmp_path / "docs" / "page.md")
    assert (tmp_path / "figures" / "gains.png").read_bytes().startswith(b"\x89PNG")
    assert "](../figures/gains.png)" in (tmp_path / "docs" / "page.md").read_text()


def called(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cprlab", "results", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, *capsys.readouterr()


def test_the_command_keeps_lists_and_writes(tiny, tmp_path, monkeypatch, capsys):
    folder = ("--folder", tmp_path / "results")
    assert called(monkeypatch, capsys, *folder)[:2] == (
        0,
        f"No runs are kept in {tmp_path / 'results'}; --keep adds those of a folder.\n",
    )
    code, printed, said = called(monkeypatch, capsys, *folder, "--keep", tiny.folder)
    assert (code, said) == (0, "")
    assert printed.startswith(f"{len(tiny.runs)} finished runs of ")
    _, printed, _ = called(monkeypatch, capsys, *folder)
    assert len(printed.splitlines()) == 1 + len(tiny.runs)
    assert printed.splitlines()[0].split() == [
        *("data", "split", "encoder", "head", "seed", "users", "NDCG@10"),
        *("history", "removed", "best", "epoch", "epochs", "minutes"),
    ]
    (tmp_path / "page.md").write_text(PAGE)
    code, _, _ = called(monkeypatch, capsys, *folder, "--json", tmp_path / "m.json", "--write", tmp_path / "page.md")
    assert code == 0
    assert logs(tiny.kept) in (tmp_path / "page.md").read_text()
    rows = json.loads((tmp_path / "m.json").read_text())
    assert {row["encoder"] for row in rows} == {"", "GRU4Rec", "SASRec"}
    for row in rows:
        assert set(row) == {
            *("data", "split", "encoder", "head", "seed", "cases", "ranking", "metric", "value", "low", "high", "n")
        }


def test_what_the_command_cannot_keep_is_said_and_the_exit_code_is_1(tiny, tmp_path, monkeypatch, capsys):
    run = tiny.runs[0].folder
    (tmp_path / "runs" / run.name).mkdir(parents=True)
    for file in run.iterdir():
        (tmp_path / "runs" / run.name / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "runs" / run.name / "run.json"
    record = json.loads(path.read_text())
    del record["data"]["split"], record["data"]["notes"]
    path.write_text(json.dumps(record))
    code, _, said = called(monkeypatch, capsys, "--folder", tmp_path / "results", "--keep", tmp_path / "runs")
    assert code == 1
    assert "does not say how its log was split; train it again" in said
    assert called(monkeypatch, capsys, "--keep", tmp_path / "nowhere")[0] == 2


@pytest.mark.parametrize("path", sorted((ROOT / "results" / "grids").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_grids_of_the_page_can_be_swept_where_the_logs_lie(path, tmp_path, monkeypatch):
    names = {name for name in re.findall(r"[\w-]+\.(?:inter|parquet)", path.read_text(encoding="utf-8"))}
    for name in names:
        (tmp_path / name).write_text("something")
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep(path)
    assert sweep.size == "full"
    assert sweep.head[0] == "Softmax"
    assert names <= {Path(data).name for data in sweep.data}
    assert {trial.config.encoder.name for trial in sweep.grid.trials()} == {"GRU4Rec", "SASRec"}


@pytest.mark.parametrize("page", ["README.md", "docs/accuracy.md"])
def test_a_page_with_tables_is_what_the_results_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    again, files = filled(text, read_results(ROOT / "results"))
    assert again == text
    for file in files:
        assert (ROOT / page).parent.joinpath(file).is_file()


def test_the_answer_in_words_quotes_the_tables_of_its_page():
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    tables = "".join(block["old"] for block in BLOCK.finditer(text))
    answer = re.search(r"## The answer.*?(?=\n## )", text, re.DOTALL)[0]
    quoted = re.findall(r"[+−]\d+\.\d%(?: \[[^]]*\])?|0\.\d{4}", answer.replace("\n", " "))
    assert len(quoted) > 20
    assert [number for number in quoted if number not in tables] == []
