"""run_report: papermill runs the notebook, and a folder holds the page, the numbers and the executed notebook."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from traitlets.config import Config

import cprlab
from cprlab import errors
from cprlab.errors import ConfigError, CprlabError, DataError, suggestion, visible
from cprlab.files import make_folder, refuse_other_files, whole
from cprlab.pages.html import to_page
from cprlab.settings import PageConfig, ReportConfig
from cprlab.studies.probe import ProbeConfig

PAGE, NOTEBOOK = "index.html", "report.ipynb"


def run_report(config: ReportConfig, out: Path | str) -> Path:
    """Execute `report.ipynb` and write `index.html`, `metrics.json` and `report.ipynb` to the folder `out`.

    The folder appears, or changes, only when all of it is there.

    Args:
        config: what to report on.
        out: the report's folder.

    Returns:
        The path of `index.html`.

    Raises:
        CprlabError: a parameter, the data or the place is not usable.
    """
    refuse_to_overwrite(Path(out), config, "metrics.json", "data")
    for note in config.check().notes:
        print(visible(note), file=sys.stderr)
    return publish("report.ipynb", config, Path(out), f"cprlab: {Path(config.data).name}")


def run_probe(config: ProbeConfig, out: Path | str) -> Path:
    """Execute `probe.ipynb` and write `index.html`, `probe.json` and `report.ipynb`; as `run_report`.

    Raises:
        CprlabError: a parameter, a model, the data or the place is not usable.
    """
    refuse_to_overwrite(Path(out), config, "probe.json", "models")
    return publish("probe.ipynb", config, Path(out), f"cprlab: probe of {'; '.join(config.models) or config.data}")


def publish(notebook: str, config: PageConfig, out: Path, title: str) -> Path:
    """Execute a notebook of the project, write its page and itself to the folder `out`, and return the page's path.

    Raises:
        CprlabError: what the notebook raised, or the place is not usable.
    """
    with whole(out) as new:
        new.mkdir()
        executed = execute(notebook, config.but(out=str(new)).model_dump())
        nbformat.write(executed, new / NOTEBOOK)
        (new / PAGE).write_text(to_page(executed, title), encoding="utf-8")
    return out / PAGE


def refuse_to_overwrite(out: Path, config: PageConfig, numbers: str, subject: str) -> None:
    """Let a report replace nothing but an earlier one with the same `numbers` file and the same parameter `subject`.

    Raises:
        DataError: there is something else.
    """
    refuse_nesting(out, config.runs, "--out")
    files = {PAGE, numbers, NOTEBOOK}
    if refuse_other_files(out, lambda held: held == files, "a report's", "choose another folder with --out"):
        try:
            notebook = json.loads((out / NOTEBOOK).read_text(encoding="utf-8"))
            about = notebook["metadata"]["papermill"]["parameters"][subject]
        except (OSError, ValueError, LookupError, TypeError):
            about = "something that cannot be read"
        if about != config.model_dump()[subject]:
            about = str(about)
            shown = about if len(about) <= 80 else about[:79] + "…"
            raise DataError(f"{out} holds the report on {shown}; choose another folder with --out, or remove it.")


def refuse_nesting(out: Path, runs: str, option: str) -> None:
    """Make the folder above `out`, unless the report there and the runs would be in each other.

    Raises:
        DataError: they would be, so that one would be replaced with the other, or there is no room.
    """
    make_folder(out.parent)
    here, there = out.resolve(), Path(runs).resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"The report in {out} and the runs in {runs} must not be in each other; change {option}.")


def execute(name: str, parameters: dict) -> nbformat.NotebookNode:
    """Run one of the project's notebooks with parameters and return it; its progress bars go to standard error.

    Raises:
        ConfigError: the notebook has no parameter of that name.
        CprlabError: what the notebook raised, if it was one.
    """
    notebook = _checked(name, parameters)
    try:
        with _sockets() as sockets:
            executed = papermill.execute_notebook(
                notebook, None, parameters, progress_bar=False, stderr_file=sys.stderr, config=sockets
            )
    except papermill.PapermillExecutionError as error:
        kind = getattr(errors, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, CprlabError):
            raise kind(error.evalue) from None
        raise
    except DeadKernelError:
        raise CprlabError(
            f"The process that ran {name} was killed, for want of memory perhaps; start again to go on after the last "
            "whole epoch."
        ) from None
    executed, _ = CoalesceStreamsPreprocessor(enabled=True)(executed, {})  # of a bar, its last state
    return executed


@contextmanager
def _sockets() -> Iterator[Config]:
    """Let a kernel be talked to through files that only this user can open, not through open ports, where that can be.

    By default they would stand where the program was started: it may be read-only there, and kernels that start at once
    would take the same files and mix up their messages.
    """
    with tempfile.TemporaryDirectory(prefix="cprlab-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}} if os.name == "posix" else {})


def parameterised(name: str, parameters: dict) -> nbformat.NotebookNode:
    """Return one of the project's notebooks with parameters, not executed.

    Raises:
        ConfigError: the notebook has no parameter of that name.
    """
    return parameterize_notebook(load_notebook_node(_checked(name, parameters)), parameters)


def _checked(name: str, parameters: dict) -> str:
    """Return where a notebook of the project stands, which has these parameters."""
    notebook = str(find_notebook(name))
    known = papermill.inspect_notebook(notebook)
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"{name} has no parameter {parameter!r}: {suggestion(parameter, known)}")
    return notebook


def find_notebook(name: str) -> Path:
    """Return where a notebook of the project stands: in the installed package, or beside it in a checkout."""
    package = Path(cprlab.__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"The notebook {name} is not installed with cprlab; reinstall cprlab.")
