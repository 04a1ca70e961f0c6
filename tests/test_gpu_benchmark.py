"""What benchmarks/gpu.py measures on a GPU, on a processor and in small: rows, wrong kernels, absent rivals, time."""

import json
import subprocess
import time

import pytest
import torch
import typer
import yaml
from torch.nn import functional as F
from typer.testing import CliRunner

from benchmarks import gpu
from benchmarks.against_recbole import ROOT
from benchmarks.on_gpu import correct, packing, rivals, trainings
from benchmarks.on_gpu.correct import HEADS
from benchmarks.on_gpu.rivals import CE, CPR, EAGER_CPR, Task
from benchmarks.on_gpu.rows import Clock, Rows, table
from cprlab.data import load_prepared, save_prepared
from cprlab.errors import ConfigError
from cprlab.training import Run, fused, kernel

CPU = torch.device("cpu")
EAGER = {"eager": rivals.RIVALS["eager"]}


def rows_of(folder, name="rows.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def small(precision="float32"):
    return Task.draw(150, 2 * rivals.LENGTH, precision, CPU)


@pytest.mark.parametrize("head", HEADS)
def test_the_kernel_is_right_for_every_head(head):
    row = correct.check(head, CPU, n_items=300)
    assert row["right"]
    assert 0 < row["gradient_off"] < 1e-3  # single precision is not double, and something was differentiated


def test_the_softmax_is_right():
    assert correct.check_softmax(CPU)["right"]


def test_triton_is_what_is_checked_where_it_works(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(fused, "usable", lambda device: True)
    assert correct.check_softmax(CPU, n=5_000)["right"]
    assert correct.check("Softmax + CPR:100 + Mi", CPU, n_items=300)["right"]


@pytest.mark.parametrize("head", ["Softmax", "Softmax + CPR:100 + Mi", "MoS:3"])
@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_a_wrong_kernel_is_found(head, wrong, monkeypatch, tmp_path):
    right = kernel.softmax_

    def planted(z):
        norms, weigh = right(z)

        def weigh_wrongly(weights):
            weigh(weights)
            z[..., 7] *= wrong  # one item's gradient

        return norms, weigh_wrongly

    monkeypatch.setattr(kernel, "softmax_", planted)
    rows = Rows(tmp_path)
    rows.add("correct", **correct.check(head, CPU, n_items=300))
    assert rows.wrong
    assert not rows_of(tmp_path)[0]["right"]


def test_float64_in_parts_is_the_loss_of_all_rows():
    task = small()
    rows, weight = task.rows.double().requires_grad_(), task.weight.double().requires_grad_()
    value = -torch.log_softmax(rows @ weight.T, 1)[torch.arange(len(rows)), task.targets].sum()
    value.backward()
    for found, expected in zip(task.expected(), (value, rows.grad, weight.grad), strict=True):
        torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_race_has_a_row_a_side_and_the_goal_is_about_the_fastest_that_is_exact(precision, tmp_path):
    def inexact(task):
        return task.of(lambda rows, weight, targets: F.cross_entropy(rows[:9] @ weight.T, targets[:9], reduction="sum"))

    def broken(task):
        return task.of(lambda rows, weight, targets: rows @ weight)

    def moody(task):
        return task.of(lambda rows, weight, targets: rivals.dense(rows, weight, targets) * torch.rand(()))

    others = EAGER | {
        "inexact": inexact,
        "moody": moody,
        "broken": broken,
        "absent": lambda task: __import__("there_is_none"),
    }
    task = small(precision)
    rivals.race(Rows(tmp_path), task, Clock(60), others)
    assert not task.weight.requires_grad  # no side works on another's
    found = rows_of(tmp_path)
    sides = {row["side"]: row for row in found if row["part"] == "speed"}
    assert sides.keys() == {CE, CPR, EAGER_CPR, *others}
    assert sides["absent"]["ms"] is sides["broken"]["ms"] is None
    assert sides["absent"]["said"].startswith("not here")
    assert sides[CE]["exact"]
    assert sides["eager"]["exact"]
    assert not sides["inexact"]["exact"]
    assert sides[CE]["ours_to_it"] == 1
    assert sides[CPR]["loss_error"] >= 0
    assert sides[CE]["repeatable"]
    assert not sides["moody"]["repeatable"]
    (goal,) = [row for row in found if row["part"] == "goal"]
    assert goal["fastest"] == "eager"
    assert goal["ratio"] == sides["eager"]["ours_to_it"]
    assert goal["reached"] == (goal["ratio"] <= 1.3)


def test_every_rival_gives_a_side_or_a_sentence(tmp_path):
    """Those that need a GPU have none here."""
    names = {name: build for name, build in rivals.RIVALS.items() if name != "torch.compile"}
    found = dict(rivals.prepare(names, small(), Clock(60)))
    assert found.keys() == names.keys()
    assert found["torch's linear_cross_entropy"][1]["exact"]


def test_a_kernel_that_loses_a_race_by_being_wrong_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "softmax_", lambda z: (z.softmax(-1).logsumexp(-1), lambda weights: None))
    rows = Rows(tmp_path)
    rivals.race(rows, small(), Clock(60), EAGER)
    assert rows.wrong


def test_when_the_time_is_over_sides_are_left_out_and_rounds_are_fewer(tmp_path):
    rivals.race(Rows(tmp_path), small(), Clock(0), EAGER)
    assert [row["said"] for row in rows_of(tmp_path)] == ["no time"] * 4
    slow = {"slow": lambda: time.sleep(0.01)}
    assert len(rivals.rounds(slow, CPU, Clock(0), repeats=9)["slow"]) == 1
    assert len(rivals.rounds(slow, CPU, Clock(60), repeats=9)["slow"]) == 9


def test_a_side_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(rivals, "PATIENCE", 0.1)
    found = dict(rivals.prepare({"endless": lambda task: time.sleep(60)} | EAGER, small(), Clock(60)))
    assert found["endless"] == "no result after 0 s"
    assert found["eager"][1]["exact"]


def test_sizes_of_chunks_are_tried_and_put_back(tmp_path):
    before = dict(kernel.CHUNK)
    rivals.chunk_sizes(Rows(tmp_path), small(), Clock(60), (2_000, 10**9))
    assert before == kernel.CHUNK
    assert len(rows_of(tmp_path)) == 6


def test_an_anatomy_names_what_takes_longest(tmp_path):
    rivals.anatomy(Rows(tmp_path), small(), Clock(60), most=3)
    for row in rows_of(tmp_path):
        parts = list(row["parts"].values())
        assert len(parts) == 3
        assert parts == sorted(parts, reverse=True)
        assert 0 < sum(parts) <= row["busy"]
    assert [row["side"] for row in rows_of(tmp_path)] == [CE, CPR]


@pytest.fixture
def log(sequences, tmp_path):
    save_prepared(sequences, tmp_path / "log")
    return str(tmp_path / "log")


@pytest.mark.slow
def test_trainings_that_end_come_back_whole_and_the_others_not_at_all(log, sequences, tmp_path):
    short = {"log": log, "head": "Softmax + CPR:5", "max_len": 7, "training": {"epochs": 1, "seed": 3}}
    jobs = [short, {"log": log, "training": {"epochs": 10**6, "patience": 10**6}}, {"log": log, "split": "temporal"}]
    file = tmp_path / "jobs.yaml"
    file.write_text(yaml.safe_dump(jobs))
    out = tmp_path / "out"

    class Until(Clock):
        def left(self):  # until the two that can end have
            return 60 * (not (out / "rows.jsonl").exists() or len(rows_of(out)) < 2)

    trainings.train_side_by_side(Rows(out), trainings.read_jobs(file), out / "runs", Until(60), "cpu", parallel=3)
    told = {row["job"]["split"] + str(row["job"]["max_len"]): row for row in rows_of(out)}
    folder = out / "runs" / told["leave-one-out7"]["folder"]
    run = Run.load(folder)
    assert (run.config.head, run.config.training.seed, run.record["data"]["max_len"]) == ("Softmax + CPR:5", 3, 7)
    assert told["leave-one-out0"]["said"] == "no time"
    assert "temporal" in told["temporal0"]["said"]


@pytest.mark.slow
def test_a_training_that_the_time_ends_is_continued_by_the_next_call(log, tmp_path):
    """With the same digits as without the interruption."""
    settings = {"epochs": 40, "patience": 40}
    jobs = [trainings.Job(log=log, training=settings), trainings.Job(log=log, training={**settings, "epochs": 10**6})]
    cut, whole = tmp_path / "cut", tmp_path / "whole"

    class Until(Clock):
        def left(self):  # until the first has an epoch
            return 60 * (not list(cut.glob(".*.checkpoint")))

    began = time.monotonic()
    trainings.train_side_by_side(Rows(tmp_path / "first"), jobs, cut, Until(60), "cpu", parallel=1)
    assert time.monotonic() - began < 30
    assert [row["said"] for row in rows_of(tmp_path / "first")] == ["no time"] * 2
    for runs in (cut, whole):
        trainings.train_side_by_side(Rows(tmp_path / runs.name), jobs[:1], runs, Clock(120), "cpu")
    (continued,), (uninterrupted,) = (rows_of(tmp_path / name) for name in ("cut", "whole"))
    assert continued["epochs"] == uninterrupted["epochs"] == 40
    assert continued["test"] == uninterrupted["test"]


@pytest.mark.slow
def test_all_parts_follow_each_other(log, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "SPARE", 0)
    monkeypatch.setattr(rivals, "RIVALS", EAGER)
    monkeypatch.setattr(rivals.race, "__defaults__", (EAGER,))
    jobs = [trainings.Job(log=log, training={"epochs": 1})]
    gpu.measure(Rows(tmp_path), CPU, Clock(400), jobs, {150: 128}, ("Softmax",), parallel=1)
    parts = [row["part"] for row in rows_of(tmp_path)]
    assert list(dict.fromkeys(parts)) == ["device", "correct", "speed", "goal", "chunk", "anatomy", "training"]
    assert len(list((tmp_path / "runs").glob("[!.]*"))) == 1


@pytest.mark.slow
def test_what_breaks_is_a_row_and_the_rest_goes_on(log, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the GPU is gone")

    for name in ("check_softmax", "check", "race"):
        monkeypatch.setattr(gpu, name, broken)
    rows = Rows(tmp_path)
    gpu.measure(rows, CPU, Clock(400), [trainings.Job(log=log, training={"epochs": 1})], {150: 128}, ("Softmax",))
    found = rows_of(tmp_path)
    assert rows.wrong
    assert [row["said"] for row in found if "said" in row] == ["the GPU is gone"] * 4
    assert "folder" in found[-1]


@pytest.mark.parametrize(
    "text", ["- 1", "{", "a: 1", "- {head: Softmax}", "- {log: a, head: Soft}", "- {log: a, seed: 1}"]
)
def test_what_is_no_list_of_jobs_is_refused_in_a_sentence(text, tmp_path):
    (tmp_path / "jobs").write_text(text)
    with pytest.raises(ConfigError):
        trainings.read_jobs(tmp_path / "jobs")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    app = typer.Typer()
    app.command()(gpu.main)
    done = CliRunner().invoke(app, ["--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "There is no GPU here" in done.output
    assert not (tmp_path / "out").exists()


def test_the_table_of_the_page_is_made_of_the_kept_rows():
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    made = table(ROOT / "results" / "gpu.jsonl")
    assert f"<!-- gpu -->\n\n{made}\n\nMade by `" in page
    ours = next(line for line in made.splitlines() if line.startswith("| ours |"))
    first = next(row for row in rows_of(ROOT / "results", "gpu.jsonl") if row.get("side") == CE)
    assert ours.split("|")[2].startswith(f" {first['ms']:.1f} ms")


def test_what_is_packed_can_be_read_there(sequences, tmp_path, monkeypatch):
    save_prepared(sequences, tmp_path / "log")
    asked = []

    def install(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, "", "there is no network")

    monkeypatch.setattr(subprocess, "run", install)
    packing.pack(tmp_path / "packed", [str(tmp_path / "log")], "leave-one-out", "3.12")
    assert load_prepared(tmp_path / "packed" / "logs" / "log").fingerprint == sequences.fingerprint
    assert {command[-1].split("==")[0] for command in asked} == {*packing.WHEELS, *packing.NEEDED}
    assert list((tmp_path / "packed" / "site").glob("cprlab-*.dist-info/METADATA"))
