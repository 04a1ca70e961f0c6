"""run_report: papermill runs a notebook; its page, numbers and the executed notebook go to one folder."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from traitlets.config import Config

from cprlab import errors
from cprlab.errors import ConfigError, CprlabError, DataError, suggestion, visible
from cprlab.files import make_folder, refuse_other_files, refuse_unreadable, whole
from cprlab.pages.html import to_page
from cprlab.settings import PageConfig, ReportConfig
from cprlab.shipped import find_notebook
from cprlab.studies.probe import ProbeConfig
from cprlab.studies.retrofit import RetrofitConfig

PAGE, NOTEBOOK = "index.html", "report.ipynb"
SUBJECT = ("models", "histories", "data", "state")  # the parameters that say what a page is about


def run_report(config: ReportConfig, out: Path | str) -> Path:
    """Execute `report.ipynb` and write `index.html`, `metrics.json` and `report.ipynb` to the folder `out`.

    The folder appears, or changes, only when everything is done.

    Args:
        config: what to report on.
        out: the report's folder.

    Returns:
        The path of `index.html`.

    Raises:
        CprlabError: a parameter, the data or the folder is not usable.
    """
    refuse = partial(refuse_to_overwrite, Path(out), config, "metrics.json")
    refuse()
    for note in config.check().notes:
        print(visible(note), file=sys.stderr)
    return publish("report.ipynb", config, Path(out), f"cprlab: {Path(config.data).name}", refuse)


def run_probe(config: ProbeConfig, out: Path | str) -> Path:
    """Execute `probe.ipynb` and write `index.html`, `probe.json` and `report.ipynb`; as `run_report`.

    Raises:
        CprlabError: a parameter, a model, the data or the folder is not usable.
    """
    refuse = partial(refuse_to_overwrite, Path(out), config, "probe.json")
    title = f"cprlab: probe of {'; '.join(config.models) or config.data}"
    return publish("probe.ipynb", config, Path(out), title, refuse)


def run_retrofit(config: RetrofitConfig, out: Path | str) -> Path:
    """Execute `retrofit.ipynb` and write `index.html`, `retrofit.json`, `report.ipynb` and what was fitted.

    As `run_report`; a folder with other files than those that `retrofit.json` lists is not replaced.

    Raises:
        CprlabError: a parameter, a model, the data or the folder is not usable.
    """
    refuse = partial(refuse_to_overwrite, Path(out), config, "retrofit.json")
    title = f"cprlab: retrofit of {'; '.join(config.models) or config.data}"
    return publish("retrofit.ipynb", config, Path(out), title, refuse)


def publish(notebook: str, config: PageConfig, out: Path, title: str, check: Callable[[], None]) -> Path:
    """Execute a notebook of the project, write it and its page to the folder `out`, and return the page's path.

    Args:
        notebook: the notebook's file name.
        config: its parameters.
        out: the page's folder.
        title: the page's title.
        check: raises an error if `out` may not be replaced, as for `whole`.

    Raises:
        CprlabError: the notebook raised it, or the folder is not usable.
    """
    with whole(out, check) as new:
        new.mkdir()
        executed = execute(notebook, config.but(out=str(new)).model_dump())
        nbformat.write(executed, new / NOTEBOOK)
        (new / PAGE).write_text(to_page(executed, title), encoding="utf-8")
    return out / PAGE


def refuse_to_overwrite(out: Path, config: PageConfig, numbers: str) -> None:
    """Raise an error unless `out` is new or contains a report with the same `numbers` file and the same `SUBJECT`.

    The file may list other files of the report under the key "files".

    Raises:
        DataError: the folder contains something else.
    """
    refuse_nesting(out, config.runs, "--out")
    files = {PAGE, numbers, NOTEBOOK}

    def ours(held: set[str]) -> bool:
        return held == files or (files < held and held == files | _listed(out / numbers))

    if refuse_other_files(out, ours, "a report's", "choose another folder with --out"):
        try:
            notebook = json.loads((out / NOTEBOOK).read_text(encoding="utf-8"))
            about = _subject(notebook["metadata"]["papermill"]["parameters"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            refuse_unreadable(out, error)
            about = ["something that cannot be read"]
        if about != _subject(config.model_dump()):
            words = ", ".join(filter(None, about))
            shown = words if len(words) <= 80 else words[:79] + "…"
            raise DataError(f"{out} contains the report on {shown}; choose another folder with --out, or remove it.")


def _subject(parameters: Mapping[str, object]) -> list[str]:
    """Return the values of `SUBJECT` among parameters; models that are named bring their own data."""
    names = [name for name in SUBJECT if name in parameters and not (name == "data" and parameters.get("models"))]
    return [str(parameters[name]) for name in names]


def _listed(numbers: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(numbers.read_text(encoding="utf-8"))["files"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        refuse_unreadable(numbers, error)
        return set()


def refuse_nesting(out: Path, runs: str, option: str) -> None:
    """Make the parent folder of `out`, after checking that neither the report nor the runs contain the other.

    Raises:
        DataError: one contains the other, so that it would be replaced with it, or the folder cannot be made.
    """
    make_folder(out.parent)
    here, there = out.resolve(), Path(runs).resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"The report in {out} and the runs in {runs} must not be in each other; change {option}.")


def execute(name: str, parameters: dict) -> nbformat.NotebookNode:
    """Run a notebook of the project with parameters and return it; progress bars go to standard error.

    Raises:
        ConfigError: the notebook has no such parameter.
        CprlabError: the notebook raised it, or its process was killed.
    """
    notebook = _checked(name, parameters)
    try:
        with _sockets() as sockets:
            executed = papermill.execute_notebook(
                notebook,
                None,
                parameters,
                progress_bar=False,
                stderr_file=sys.stderr,
                config=sockets,
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # it calls its own end an error
            )
    except papermill.PapermillExecutionError as error:
        kind = getattr(errors, error.ename, None)
        if isinstance(kind, type) and issubclass(kind, CprlabError):
            raise kind(error.evalue) from None
        raise
    except DeadKernelError:
        raise CprlabError(
            f"The process that ran {name} was killed, perhaps for lack of memory; run it again to continue after the "
            "last complete epoch."
        ) from None
    executed, _ = CoalesceStreamsPreprocessor(enabled=True)(executed, {})  # keeps the last state of a progress bar
    return executed


@contextmanager
def _sockets() -> Iterator[Config]:
    """Yield settings of a kernel that communicates through files of this user only, where possible, not through ports.

    By default, these files would be in the working directory, which may be read-only, and kernels that start at the
    same time would use the same files and mix up their messages.
    """
    with tempfile.TemporaryDirectory(prefix="cprlab-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}} if os.name == "posix" else {})


def parameterised(name: str, parameters: dict) -> nbformat.NotebookNode:
    """Return a notebook of the project with parameters, not executed.

    Raises:
        ConfigError: the notebook has no such parameter.
    """
    return parameterize_notebook(load_notebook_node(_checked(name, parameters)), parameters)


def _checked(name: str, parameters: dict) -> str:
    """Return the path of a notebook of the project, after checking that it has these parameters."""
    notebook = str(find_notebook(name))
    known = papermill.inspect_notebook(notebook)
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"{name} has no parameter {parameter!r}: {suggestion(parameter, known)}")
    return notebook
