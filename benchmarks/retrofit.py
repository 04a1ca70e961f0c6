"""Fit the parts of `cprlab.probes.retrofit` to trained softmaxes, and write what each changes as a table.

    PYTHONPATH=. python benchmarks/retrofit.py --logs LOGS --runs runs --models models --table docs/retrofit.md

Models are all runs with the head Softmax, and those that RecBole and RecTools train here, each in its own environment;
those in the folder of models are not trained again. The parts of a run are fitted to its validation cases and judged on
its test cases, beside runs of CPR on the same log; those of the others are fitted to half of the users' last items and
judged on the other half. Models measured earlier (`--json`) are read back.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from benchmarks.against_recbole import ROOT, THREADS, environment
from benchmarks.probe_recbole import train
from benchmarks.tables import fill
from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.adapters.recbole import load
from cprlab.data import Sequences
from cprlab.evaluation import gains, means, overall, stacked
from cprlab.files import whole
from cprlab.loading import load_sequences
from cprlab.probes import Snapshot, from_recbole
from cprlab.probes.likelihood import PARTS
from cprlab.probes.retrofit import retrofit
from cprlab.training import Run

RECBOLE: dict[str, dict] = {
    "GRU4Rec": {"hidden_size": 128, "num_layers": 1, "embedding_size": 64, "dropout_prob": 0.3},
    "SASRec": {"hidden_size": 64, "n_layers": 1, "n_heads": 2, "inner_size": 256},
}
COMMON = {"MAX_ITEM_LIST_LENGTH": 20, "train_batch_size": 512, "learning_rate": 3e-3, "epochs": 40, "stopping_step": 3}
RECTOOLS = {"n_factors": 64, "n_blocks": 2, "n_heads": 2, "session_max_len": 50, "lr": 1e-3}
LOGS = ("ml-100k.inter", "foursquare-nyc.parquet")  # RecBole's
SAMPLED, USERS = "online-retail.parquet", 1000  # RecTools'
RIVALS = ("Softmax + CPR:100 + Mi", "Softmax + CPR:100 + F + Mi")
SHOWN = ("log-loss", "NDCG@10", "copy probability")


@dataclass(frozen=True)
class Trained:
    """A trained softmax.

    Attributes:
        log: name of its log, with its split.
        model: its name.
        cases: the model on the cases to judge; half of the users are for fitting if there is no `validation`.
        users: (m,) whose they are.
        validation: the model on the cases to fit, and whose they are.
        rivals: test cases of runs with other heads on the same log, by head, and as "Softmax" those of its own run.
    """

    log: str
    model: str
    cases: Snapshot
    users: np.ndarray
    validation: tuple[Snapshot, np.ndarray] | None = None
    rivals: dict[str, pd.DataFrame] = field(default_factory=dict)


def finished(folders: list[Path]) -> dict[str, dict[str, Any]]:
    """Return the records of all runs in these folders, by the run's folder."""
    paths = [path for folder in folders for path in sorted(folder.glob("[!.]*/run.json"))]
    return {str(path.parent): json.loads(path.read_text(encoding="utf-8")) for path in paths}


def own(folder: str, records: dict[str, dict[str, Any]], logs: Path) -> Trained:
    """Open a run, and the test cases of its rivals."""
    run, record = Run.load(folder), records[folder]
    data = record["data"]
    name = logs / data["name"] if (logs / data["name"]).exists() else data["name"]
    sequences = load_sequences(str(name), split=data["split"], max_len=data["max_len"])
    run.check_data(sequences)
    test, validation = (Snapshot.from_sequences(run.recommender, sequences, split) for split in ("test", "validation"))
    rivals = {"Softmax": run.cases}
    for other, its in records.items():
        same = its["data"]["fingerprint"] == data["fingerprint"] and its["data"]["split"] == data["split"]
        if same and its["config"]["head"] in RIVALS and its["config"]["encoder"] == record["config"]["encoder"]:
            rivals[its["config"]["head"]] = Run.load(other).cases
    log = f"{Path(data['name']).stem}, {data['split']}"
    of_test, of_validation = (sequences.windows(split).user for split in ("test", "validation"))
    model = f"{run.config.encoder.name}, {len(run.history)} epochs"
    return Trained(log, model, test, of_test, (validation, of_validation), rivals)


def written(sequences: Sequences, path: Path) -> Path:
    """Write a log as RecBole reads it, with the place in the sequence as the time."""
    lengths = np.diff(sequences.offsets)
    places = np.arange(len(sequences.items)) - np.repeat(sequences.offsets[:-1], lengths)
    users, items = np.repeat(np.arange(len(lengths)), lengths), sequences.item_ids[sequences.items]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"user_id:token": users, "item_id:token": items, "timestamp:float": places})
    with whole(path) as file:
        table.to_csv(file, sep="\t", index=False)
    return path


def recbole(name: str, model: str, logs: Path, folder: Path, env: Path) -> Trained:
    """Open a model that RecBole trained on a log, or train it."""
    place = folder / Path(name).stem
    log = place / "log" / "log.inter"
    if not log.exists():
        written(load_sequences(str(logs / name)), log)
    if not list((place / model).glob("*.pth")):
        train(environment(env.absolute()), place, {"model": model} | COMMON | RECBOLE[model])
    (checkpoint,) = (place / model).glob("*.pth")
    snapshot, epoch = from_recbole(load(checkpoint), log), int(read_checkpoint(checkpoint)["epoch"]) + 1
    words = f"{model}, trained by RecBole (best epoch: {epoch})"
    return Trained(f"{place.name}, leave-one-out", words, snapshot, np.arange(len(snapshot)))


def rectools(logs: Path, folder: Path, env: Path) -> Trained:
    """Open a SASRec that RecTools trained on a sample of users, or train it."""
    place = folder / Path(SAMPLED).stem
    saved = place / "rectools.safetensors"
    if not saved.exists():
        log = written(load_sequences(str(logs / SAMPLED)).sample(USERS, 0), place / "log" / "log.inter")
        settings = {"log": str(log), "sizes": RECTOOLS, "epochs": 40, "patience": 3, "out": str(saved)}
        subprocess.run(
            [env / "bin" / "python", "-W", "ignore", "-m", "benchmarks.sides.rectools_train", json.dumps(settings)],
            env=os.environ | THREADS | {"PYTHONPATH": str(ROOT)},
            check=True,
        )
    snapshot = Snapshot.load(saved)
    log_name = f"{place.name}, {USERS:,} users, leave-one-out"
    return Trained(log_name, "SASRec, trained by RecTools", snapshot, np.arange(len(snapshot)))


def measured(trained: Trained) -> Iterator[dict[str, Any]]:
    """Yield a row for each part fitted to a model, and for each of its rivals."""
    about = {"log": trained.log, "model": trained.model}
    fitted, of_fitted = trained.validation or (None, None)
    for part in PARTS:
        began = time.process_time()
        found = retrofit(trained.cases, part, validation=fitted, users=trained.users, validation_users=of_fitted)
        seconds = time.process_time() - began
        table = found.table.query("cases == 'all'").set_index(["model", "metric"])[["value", "low", "high", "n"]]
        rows = {kind: table.loc[kind] for kind in ("before", "after", "difference")}
        repeats = float(found.cases["before"]["repeat"].groupby(found.cases["before"]["case"]).mean().mean())
        yield about | _row(f"+ {part}", rows, repeats) | {"numbers": found.parameters, "seconds": seconds}
    cases = stacked(trained.rivals) if len(trained.rivals) > 1 else None
    for head in trained.rivals if cases is not None else ():
        if head == "Softmax":
            continue
        levels = overall(means(cases, SHOWN)).set_index(["head", "metric"])
        change = overall(gains(cases, {"head": "Softmax"}, SHOWN)).set_index(["head", "metric"])
        rows = {"before": levels.loc["Softmax"], "after": levels.loc[head], "difference": change.loc[head]}
        repeats = float(trained.rivals[head].groupby("user")["repeat"].mean().mean())
        yield about | _row(f"{head}, trained", rows, repeats) | {"numbers": None, "seconds": None}


def _row(part: str, rows: dict[str, pd.DataFrame], repeats: float) -> dict[str, Any]:
    return {
        "part": part,
        "users": int(rows["difference"].loc["log-loss", "n"]),
        "repeats": repeats,
        "before": {metric: float(rows["before"].loc[metric, "value"]) for metric in SHOWN},
        "after": {metric: float(rows["after"].loc[metric, "value"]) for metric in SHOWN},
        "difference": {
            metric: [float(rows["difference"].loc[metric, name]) for name in ("value", "low", "high")]
            for metric in SHOWN
        },
    }


SECTION = """\
A log's first line is the plain softmax; the others are differences to it, paired over users, with 95% bootstrap
intervals, except for P(history). Repeats are the users whose target is in the history that the model reads. *Numbers*
are those fitted; *seconds* are CPU time on one thread, of fitting (with the ridge chosen on five folds) and judging
together. The parts of cprlab's runs are fitted to the validation cases and judged on the test cases; those of models
from RecBole and RecTools are fitted to half of the users' last items and judged on the other half.

| log | users, repeats | model | head | log-loss | NDCG@10 | P(history) | numbers | seconds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def section(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines, last = [], None
    for row in sorted(rows, key=lambda row: (row["log"], row["model"])):
        name = (row["log"], row["model"])
        before, after = row["before"], row["after"]
        about = (row["log"], f"{row['users']:,}, {row['repeats']:.1%}", row["model"])
        if name != last:
            plain = (f"{before['log-loss']:.3f}", f"{before['NDCG@10']:.4f}", f"{before['copy probability']:.1%}")
            lines.append(f"| {' | '.join([*about, 'Softmax', *plain, '', ''])} |")
        loss, ndcg = ("{:+.{d}f} [{:+.{d}f}, {:+.{d}f}]".format(*row["difference"][m], d=d) for m, d in
                      (("log-loss", 3), ("NDCG@10", 4)))  # fmt: skip
        cost = ["" if row[name] is None else f"{row[name]:,.{d}f}" for name, d in (("numbers", 0), ("seconds", 1))]
        cells = ["", "", "", row["part"], loss, ndcg, f"{after['copy probability']:.1%}", *cost]
        lines.append(f"| {' | '.join(cells)} |")
        last = name
    return SECTION + "\n".join(lines)


def stamped(rows: list[dict[str, Any]]) -> str:
    """Return a sentence that names the command, and the versions and days of the rows."""
    command = "benchmarks/retrofit.py --logs LOGS --runs RUNS --models MODELS --table docs/retrofit.md"
    made = sorted({f"{row['versions']}, {row['day']}" for row in rows})
    return f"Made by `PYTHONPATH=. python {command}`\n({'; '.join(made)}); the rows are in `results/retrofit.json`."


def main(
    logs: Annotated[Path, typer.Option(help="Folder of the logs' files.")],
    runs: Annotated[list[Path], typer.Option(help="Folders of runs.")],
    models: Annotated[Path, typer.Option(help="Folder of the models that RecBole and RecTools train.")],
    table: Annotated[Path, typer.Option(help="Markdown page whose table is replaced.")],
    json_file: Annotated[Path, typer.Option("--json", help="The rows.")] = Path("results/retrofit.json"),
    env: Annotated[Path, typer.Option(help="RecBole's environment.")] = ROOT / ".venv-recbole",
    rectools_env: Annotated[Path | None, typer.Option(help="RecTools' environment; without it, no RecTools.")] = None,
    only: Annotated[str, typer.Option(help="Measure only models whose log contains this.")] = "",
) -> None:
    """Measure every model, and write the rows and the table."""
    torch.set_num_threads(1)
    rows = json.loads(json_file.read_text(encoding="utf-8")) if json_file.exists() else []
    versions = f"cprlab {metadata.version('cprlab')}, torch {torch.__version__}"
    records = finished(runs)
    todo: dict[str, Any] = {
        folder: lambda folder=folder: own(folder, records, logs)
        for folder, record in records.items()
        if record["config"]["head"] == "Softmax"
    }
    for name in LOGS:
        for model in RECBOLE:
            todo[f"RecBole {name} {model}"] = lambda name=name, model=model: recbole(name, model, logs, models, env)
    if rectools_env:
        todo[f"RecTools {SAMPLED}"] = lambda: rectools(logs, models, rectools_env)
    for key, opened in todo.items():
        if only not in key or any(row["key"] == Path(key).name for row in rows):
            continue
        for row in measured(opened()):
            rows.append({"key": Path(key).name, "day": str(date.today()), "versions": versions} | row)
            print(rows[-1], flush=True)
        with whole(json_file) as file:
            file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    fill(table, "retrofit", section(rows), stamped(rows))


if __name__ == "__main__":
    typer.run(main)
