"""The command line: reads options, calls the library and prints the result."""

import inspect
import os
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from cprlab.errors import CprlabError, visible
from cprlab.system import refuse_name, writable

if TYPE_CHECKING:
    import pandas as pd
    from pydantic.fields import FieldInfo

    from cprlab.config import Config
    from cprlab.data.protocol import Reading
    from cprlab.explorer import CaseConfig, ExplorerConfig
    from cprlab.settings import ReportConfig, TrainConfig
    from cprlab.studies.probe import ProbeConfig
    from cprlab.studies.retrofit import RetrofitConfig

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(
    help="Logs and the data sets of the paper: how to get them, under which licence, and what is in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

# Packages of the extras `sweep` and `lab` that the commands need; the extra of `cprlab sweep` includes the other.
OPTIONAL = (
    *("dask", "dask_jobqueue", "distributed"),
    *("jupyter_core", "nbclient", "nbconvert", "nbformat", "papermill", "voila"),
)

Function = Callable[..., None]


def _version(asked: bool) -> None:
    if asked:
        print("cprlab", metadata.version("cprlab"))
        raise typer.Exit


@app.callback()
def cprlab(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = (
        False
    ),
) -> None:
    """When does the output softmax of a sequential recommender fail to copy or to exclude, and what fixes it."""


def command(settings: str, *arguments: str, without: tuple[str, ...] = (), group: typer.Typer = app) -> Callable:
    """Return a decorator that makes a function of settings a command with an option for each field of the settings.

    The function's other parameters become options or arguments too. The settings are imported only when the command
    runs, because most of them import torch, which would slow down `cprlab --help`.

    Args:
        settings: the class, as `module:Name`.
        arguments: fields that are positional arguments, in this order.
        without: fields that keep their defaults and are not options.
        group: the Typer app that gets the command.
    """

    def register(function: Function) -> Function:
        class Command(TyperCommand):
            def make_context(self, *given: Any, **more: Any) -> Any:
                module, name = settings.split(":")
                kind = getattr(import_module(module), name)
                alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
                alone.command()(_filled(function, kind, arguments, without))
                return typer.main.get_command(alone).make_context(*given, **more)

        group.command(function.__name__, help=function.__doc__, cls=Command)(lambda: None)
        return function

    return register


def _filled(function: Function, kind: "type[Config]", arguments: tuple[str, ...], without: tuple[str, ...]) -> Function:
    """Return a function whose parameters are the settings' fields; it makes the settings and calls `function`."""
    from cprlab.data.protocol import Reading

    _, *own = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in own]
    # How a log is read comes last, and the page's folder before that.
    fields = sorted(kind.model_fields, key=lambda name: (name in Reading.model_fields, name == "out"))
    others = [name for name in dict.fromkeys([*arguments, *fields]) if name not in (*names, *without)]

    def filled(**given: Any) -> None:
        function(kind(**{name: given[name] for name in others}), **{name: given[name] for name in names})

    filled.__doc__ = function.__doc__
    options = [_parameter(name, kind.model_fields[name], name in arguments) for name in others]
    filled.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return filled


def _parameter(name: str, field: "FieldInfo", is_argument: bool) -> inspect.Parameter:
    """Return a field as a parameter for typer; pydantic checks its value."""
    default, words, choices = field.default, field.description or "", get_args(field.annotation)
    if get_origin(field.annotation) is Literal:
        words += f": {', '.join(choices[:-1])} or {choices[-1]}."
    about = (typer.Argument if is_argument else typer.Option)(help=words)
    several = isinstance(default, tuple)
    kind = list[str] if several and is_argument else str if several or field.is_required() else type(default)
    if field.is_required():
        default = inspect.Parameter.empty
    elif several:
        default = list(default) if is_argument else "; ".join(default)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


@command("cprlab.settings:TrainConfig")
def train(config: "TrainConfig") -> None:
    """Train one head on a log, or load it if trained, and print the run's folder; torchrun uses several processes."""
    from cprlab.training.processes import is_first

    run = config.run()
    if is_first():
        print(visible(run.folder))


@command("cprlab.settings:ReportConfig")
def report(config: "ReportConfig") -> None:
    """Train heads on a log and write a page that shows where each copies and where it does not."""
    from cprlab.pages.run import run_report

    print(visible(run_report(config, config.out or config.folder)))


@command("cprlab.studies.probe:ProbeConfig", "models")
def probe(config: "ProbeConfig") -> None:
    """Report whether a trained model fails to copy or to exclude, by how much, and what would help."""
    from cprlab.pages.run import run_probe

    print(visible(run_probe(config, config.out or config.folder)))


@command("cprlab.studies.retrofit:RetrofitConfig", "models")
def retrofit(config: "RetrofitConfig") -> None:
    """Fit a bias, F or C to the history's items of a frozen model, and report what each gains on other cases."""
    from cprlab.pages.run import run_retrofit

    print(visible(run_retrofit(config, config.out or config.folder)))


@command("cprlab.explorer:ExplorerConfig", "models")
def explore(
    config: "ExplorerConfig",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine that serves the page.")] = 8866,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Show the page in the browser.")] = True,
    page: Annotated[str, typer.Option(help="Write one offline page of some cases to this .html file instead.")] = "",
    cases: Annotated[int, typer.Option(min=1, help="Maximum number of cases in the offline page.")] = 300,
) -> None:
    """Edit histories, move hidden states and switch partitions in the browser, and compare the heads."""
    from cprlab.explorer.run import read_state, run_explorer

    config = config.but(state=read_state(config.state))
    if page:
        from cprlab.explorer.offline import run_page

        run_page(config, Path(page), cases)
        print(visible(page))
    else:
        run_explorer(config, port, browser)


@command("cprlab.explorer:CaseConfig", "state", "models")
def case(
    config: "CaseConfig",
    case: Annotated[int | None, typer.Option(min=0, help="Number of the case, if not the state's.")] = None,
) -> None:
    """Write a page of what the explorer shows in a state."""
    from cprlab.explorer.run import at_case, run_case

    print(visible(run_case(at_case(config, case), config.out)))


@app.command()
def demo(
    page: Annotated[str, typer.Option(help="Write the page to this .html file, and open nothing.")] = "",
) -> None:
    """Open the explorer of two trained models, shipped as one offline page, in the browser."""
    from cprlab.demo import run_demo

    print(visible(run_demo(page)))


@command("cprlab.data.protocol:Reading")
def prepare(
    config: "Reading",
    file: Annotated[Path, typer.Argument(help="A file of any size, or a folder or glob of parts, as for --data.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the sequences.")],
    max_len: Annotated[int, typer.Option(help="Maximum number of items a model reads.")] = 50,
    min_interactions: Annotated[int, typer.Option(help="Users with fewer interactions are left out.")] = 5,
    validation: Annotated[str, typer.Option(help="A file of its own with the validation rows, with --test.")] = "",
    test: Annotated[str, typer.Option(help="A file of its own with the test rows; FILE has those to train on.")] = "",
    memory: Annotated[str, typer.Option(help="Memory for sorting; if it needs more, it uses the disk.")] = "2GB",
) -> None:
    """Sort a log that does not fit in memory into a folder; pass that folder as --data."""
    from cprlab.loading import prepare

    protocol = config.protocol | {"max_len": max_len, "validation": validation, "test": test}
    sequences = prepare(file, folder, config.columns, min_interactions=min_interactions, memory=memory, **protocol)
    print(f"{sequences.n_users:,} users, {sequences.n_items:,} items, {len(sequences.items):,} interactions")
    print(*map(visible, sequences.notes), sep="\n")


@command("cprlab.data.protocol:Reading", without=("split", "max_len"), group=data_app)
def check(
    config: "Reading",
    file: Annotated[Path, typer.Argument(help="A file, a folder or glob of parts, or an imported log, as for --data.")],
) -> None:
    """Print how cprlab reads a log, its first rows, and all doubts about it, those that change results first."""
    from cprlab.data.doubts import graded
    from cprlab.loading.check import check

    found = check(file, config.columns, ties=config.ties)
    tables = {"Columns": found.columns, "First rows": found.rows, "Log": found.facts, "Splits": found.splits}
    for name, table in tables.items():
        if len(table):
            print(f"{name}\n{_aligned(table)}\n")
    if found.refused:
        raise found.refused
    for grade, doubts in graded(found.doubts).items():
        print(f"Doubts: {grade.lower()}", *(f"- {visible(doubt)}" for doubt in doubts or ["none"]), sep="\n")


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(help="A YAML file: data, encoders, heads, settings, seeds and notebooks.")],
    workers: Annotated[int, typer.Option(min=0, help="Runs trained at once (0: one for each core or GPU).")] = 0,
    scheduler: Annotated[str, typer.Option(help="The address of a running Dask cluster's scheduler.")] = "",
    slurm: Annotated[str, typer.Option(help="A YAML file with the arguments of dask_jobqueue.SLURMCluster.")] = "",
) -> None:
    """Train a grid of runs on many processes or machines and write a report; exit code 1 if something failed."""
    from cprlab.pages.sweep import run_sweep
    from cprlab.sweeps.config import read_sweep

    page, failed = run_sweep(read_sweep(grid), workers, scheduler, slurm)
    print(visible(page))
    if failed:
        print(f"cprlab: {len(failed)} failed, such as: {visible(failed[0].error)}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def figures(
    report: Annotated[Path, typer.Argument(help="The folder of a report.")],
    folder: Annotated[Path, typer.Argument(help="Folder for the PNG files.")] = Path("figures"),
    names: Annotated[list[str] | None, typer.Argument(help="The figures to write; all if none is named.")] = None,
) -> None:
    """Write a report's figures as PNG files."""
    from cprlab.pages.figures import write_figures

    for path in write_figures(report, folder, names or ()):
        print(visible(path))


@app.command()
def results(
    folder: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("results"),
    keep: Annotated[str, typer.Option(metavar="RUNS", help="Add the finished runs of this folder.")] = "",
    json: Annotated[str, typer.Option(metavar="FILE", help="Write all metrics to this file, a row for each.")] = "",
    write: Annotated[str, typer.Option(metavar="PAGE", help="Fill the marked tables of this Markdown file.")] = "",
) -> None:
    """List the kept runs, add more, or write them as numbers or tables; exit code 1 if a run cannot be kept."""
    from cprlab.results import keep_all, listed, read_results
    from cprlab.results.page import write_page, write_rows

    refused: list[str] = []
    if keep:
        kept, refused = keep_all(keep, folder)
        print(f"{len(kept):,} finished runs of {visible(keep)} are kept in {visible(folder)}.")
    runs = read_results(folder)
    for path in [*([write_rows(runs, json)] if json else []), *(write_page(runs, write) if write else [])]:
        print(visible(path))
    if not (keep or json or write):
        print(
            _aligned(listed(runs)) if runs else f"No runs are kept in {visible(folder)}; --keep adds those of a folder."
        )
    for sentence in refused:
        print(f"cprlab: {visible(sentence)}", file=sys.stderr)
    if refused:
        raise typer.Exit(1)


@app.command()
def notebooks(folder: Annotated[Path, typer.Argument(help="New folder for the notebooks.")]) -> None:
    """Copy the notebooks that come with cprlab to a folder."""
    from cprlab.shipped import copy_notebooks

    print(visible(copy_notebooks(folder)))


DataSetName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `cprlab data list` shows.")]


@data_app.command("list")
def list_data() -> None:
    """List the data sets: which repeat (according to the paper), their licence, and which are imported here."""
    from cprlab.catalogue import list_catalogue

    print(list_catalogue().rename_axis(None).to_string())


@data_app.command("show")
def show_data(name: DataSetName) -> None:
    """Show a data set's content, licence and source, and its size as published and as measured here."""
    from cprlab.catalogue import describe

    print(describe(name))


@data_app.command("import")
def import_(
    name: DataSetName,
    path: Annotated[Path, typer.Argument(help="RecBole's or the publisher's file, packed or not, or its folder.")],
) -> None:
    """Import a data set from a file into data/NAME.parquet, to be used as --data NAME."""
    from cprlab.catalogue import describe_sizes, import_data

    import_data(name, path)
    print(describe_sizes(name))


@data_app.command("fetch")
def fetch_(name: DataSetName) -> None:
    """Download a data set from its publisher, if its licence allows, and import it; resumes after an interruption."""
    from cprlab.catalogue import describe_sizes, fetch_data

    fetch_data(name)
    print(describe_sizes(name))


def _aligned(table: "pd.DataFrame", longest: int = 70) -> str:
    """Return a table as text in aligned columns, each cell on one line of at most `longest` characters."""
    rows = [[visible(str(cell))[:longest] for cell in row] for row in (table.columns, *table.to_numpy())]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> None:
    """Run the command line; an error that a user can correct is one sentence and exit code 2."""
    with writable():
        _main()


def _main() -> None:
    try:
        for name in (os.getcwd(), *sys.argv[1:]):
            refuse_name(name)
        app()
    except CprlabError as error:
        sys.stderr.write(f"cprlab: {visible(str(error))}\n")  # in one write: torchrun's processes may all print it
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in OPTIONAL:
            raise
        extra = "sweep" if sys.argv[1] == "sweep" else "lab"
        sys.stderr.write(f"cprlab: This needs {package}; install it with: pip install 'cprlab[{extra}]'\n")
        sys.exit(2)
    except OSError as error:  # of the system, such as a name that is too long or a missing folder
        if error.filename is None:
            raise
        sys.stderr.write(f"cprlab: {visible(str(error.filename))} cannot be used ({error.strerror}).\n")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:  # Ctrl-C
            print("cprlab: stopped; run it again to continue from what is saved.", file=sys.stderr)
        raise
