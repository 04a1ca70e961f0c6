"""run_sweep: train the runs of a grid on a cluster, run notebooks on them, and write one folder with the results."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill

from cprlab.errors import ConfigError, CprlabError, DataError
from cprlab.files import refuse_other_files, refuse_unreadable, whole
from cprlab.pages.html import to_page
from cprlab.pages.index import index_page
from cprlab.pages.run import PAGE, execute, refuse_nesting
from cprlab.shipped import find_notebook
from cprlab.sweeps.cluster import open_cluster
from cprlab.sweeps.config import SweepConfig
from cprlab.sweeps.work import Outcome, run_all, train_trial

RESULTS, STAMP, SUMMARY = "results.parquet", "stamp.json", "summary"
VERSIONS = ("cprlab", "torch", "numpy", "pandas", "scipy", "distributed")


def run_sweep(
    config: SweepConfig, workers: int = 0, scheduler: str = "", slurm: str = ""
) -> tuple[Path, list[Outcome]]:
    """Train what is not trained yet, run the notebooks, and write the report's folder.

    The folder appears, or changes, only when everything is done. It reports failures, which do not stop other runs.

    Args:
        config: what to train.
        workers: as in `open_cluster`.
        scheduler: address of a running cluster, as in `open_cluster`.
        slurm: arguments for Slurm, as in `open_cluster`.

    Returns:
        The path of `index.html`, and the outcomes that failed.

    Raises:
        CprlabError: a notebook's name, the cluster or the folder is not usable.
    """
    refuse_to_replace(config.folder, config)
    _notebooks(config)
    with open_cluster(workers, scheduler, slurm, config.device) as client:
        trials = [(trial, data) for data in config.data for trial in config.grid.but(data=(data,)).trials()]
        log = config.sized | config.reading
        asked = [(train_trial, (trial, data, log, config.runs, config.device)) for trial, data in trials]
        trained = run_all(client, asked, "runs")
        usable = {data for (_, data), of_run in zip(trials, trained, strict=True) if not of_run.error}
        # Notebooks leave out logs without a finished run: one that cannot be read would stop them.
        pages = _notebooks(config.but(data=[data for data in config.data if data in usable] or config.data))
        executed = run_all(client, [(run_notebook, page) for page in pages.values()], "notebooks")
    results = pd.DataFrame(
        trial.labels
        | {"status": "failed" if of_run.error else "done", "error": of_run.error, "kind": of_run.kind}
        | (of_run.value or {})
        for (trial, _), of_run in zip(trials, trained, strict=True)
    )
    _write(config, results, dict(zip(pages, executed, strict=True)))
    return config.folder / PAGE, [outcome for outcome in (*trained, *executed) if outcome.error]


def run_notebook(name: str, parameters: dict[str, Any], title: str) -> dict[str, str]:
    """Execute a notebook of the project; return the text of its page (`html`) and of the notebook (`ipynb`).

    Raises:
        CprlabError: the notebook failed.
    """
    try:
        executed = execute(name, parameters)
    except papermill.PapermillExecutionError as error:
        raise CprlabError(f"{name} stopped with {error.ename}: {error.evalue}") from None
    return {"html": to_page(executed, title), "ipynb": nbformat.writes(executed)}


def refuse_to_replace(out: Path, config: SweepConfig) -> None:
    """Raise an error unless `out` is new or contains a report of a sweep with the same name.

    Raises:
        DataError: the folder contains something else.
    """
    refuse_nesting(out, config.runs, "`out`")
    try:
        stamp = json.loads((out / STAMP).read_text(encoding="utf-8"))
        name, files = stamp["sweep"]["name"], {*stamp["files"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        refuse_unreadable(out / STAMP, error)
        name, files = None, set()
    held = refuse_other_files(out, files.issuperset, "a sweep's report", "choose another folder with `out`")
    if held and name != config.name:
        raise DataError(f"{out} contains the report of the sweep {name!r}; choose another name, or remove it.")


def _notebooks(config: SweepConfig) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Return the arguments of `run_notebook` by the name of the page.

    Raises:
        ConfigError: the notebook does not exist, or is not one of the numbered ones.
    """
    summary = {"grid": config.grid.model_dump_json(), "device": config.device, "runs": config.runs, "train": False}
    pages = {}
    if len(config.head) > 1:  # a single head has no comparison
        pages[SUMMARY] = (f"{SUMMARY}.ipynb", summary, f"cprlab: {config.name}")
    for notebook in config.notebooks:
        known = papermill.inspect_notebook(str(find_notebook(f"{notebook}.ipynb")))
        if "size" not in known:
            raise ConfigError(f"{notebook} does not take a size, as a sweep's notebooks do; choose a numbered one.")
        for encoder in config.encoder:
            parameters = (
                config.reading
                | config.sized
                | {
                    "data": "; ".join(config.data),
                    "encoder": encoder,
                    "heads": "; ".join(config.head),
                    "seeds": config.seeds,
                    "device": config.device,
                    "runs": config.runs,
                }
            )
            taken = {name: value for name, value in parameters.items() if name in known}
            title = f"cprlab: {config.name}, {notebook}, {encoder}"
            pages[f"{notebook}-{encoder}"] = (f"{notebook}.ipynb", taken, title)
    return pages


def _write(config: SweepConfig, results: pd.DataFrame, pages: dict[str, Outcome]) -> None:
    with whole(config.folder, partial(refuse_to_replace, config.folder, config)) as new:
        new.mkdir()
        results.to_parquet(new / RESULTS)
        for name, page in pages.items():
            for ending, text in (page.value or {}).items():
                (new / f"{name}.{ending}").write_text(text, encoding="utf-8")
        (new / PAGE).write_text(index_page(config, results, pages), encoding="utf-8")
        files = sorted([*(path.name for path in new.iterdir()), STAMP])
        (new / STAMP).write_text(json.dumps(_stamp(config, results, files), indent=2) + "\n", encoding="utf-8")


def _stamp(config: SweepConfig, results: pd.DataFrame, files: list[str]) -> dict[str, Any]:
    fingerprints = results.dropna(subset="fingerprint") if "fingerprint" in results else results[:0]
    return {
        "sweep": config.model_dump(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(range(config.seeds)),
        "data": dict(zip(fingerprints["data"], fingerprints.get("fingerprint", []), strict=True)),
        "runs": {status: int((results["status"] == status).sum()) for status in ("done", "failed")},
        "versions": {package: metadata.version(package) for package in VERSIONS} | {"python": sys.version.split()[0]},
        "commit": _commit(),
        "files": files,
    }


def _commit() -> str | None:
    """Return the commit of the checkout that cprlab runs from, with `-dirty` appended if files differ; None if none."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
