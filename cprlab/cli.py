"""The command line: the front door, without logic of its own."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cprlab.config import Config
from cprlab.errors import CprlabError, visible

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    help="When does the output softmax of a sequential recommender fail to copy or to exclude, and what fixes it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(
    help="Logs and the data sets of the paper: how they are had, on what terms, and what is in them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

# Options that several commands have.
Data = Annotated[str, typer.Option(help="A built-in log, an imported data set, a prepared folder, or a file.")]
User = Annotated[str, typer.Option(help="The log's column of users, if its name does not tell.")]
Item = Annotated[str, typer.Option(help="The log's column of items.")]
Time = Annotated[str, typer.Option(help="The log's column of times.")]
Title = Annotated[str, typer.Option(help="The log's column of item titles.")]
Basket = Annotated[str, typer.Option(help="The log's column of baskets, whose rows are taken together.")]
Ties = Annotated[str, typer.Option(help="The order of rows of one time or basket: file, shuffle or auto.")]
Split = Annotated[str, typer.Option(help="How interactions are held out: leave-one-out, next-basket or temporal.")]
MaxLen = Annotated[int, typer.Option(help="Items a model reads; 0: 50, or as a folder was prepared.")]
Encoder = Annotated[str, typer.Option(help="The encoder: GRU4Rec, SASRec or MF.")]
Heads = Annotated[str, typer.Option(help="Heads, a semicolon between two; Recent and Counts only count.")]
Epochs = Annotated[int, typer.Option(help="At most so many epochs; fewer when the validation stops rising.")]
Seed = Annotated[int, typer.Option(help="Makes the result repeatable.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option(help="float32, float64, or bfloat16 for a GPU.")]
Runs = Annotated[str, typer.Option(help="Where trained models are kept and found again.")]

# What the commands have that look at models.
Models = Annotated[
    list[str] | None, typer.Argument(help="Runs' folders, RecBole's .pth files, Snapshots (.safetensors, .npz).")
]
ModelsData = Annotated[str, typer.Option("--data", help="The log that runs, or RecBole, trained on; as for a report.")]
Histories = Annotated[str, typer.Option(help="A Parquet file of histories and targets, for Snapshots.")]
State = "The explorer's state: a line of JSON, or a .json file that holds it"

Kind = TypeVar("Kind", bound=Config)

HEAD = "Softmax + CPR:100 + Mi"
HEADS = f"Recent; Counts; Softmax; {HEAD}"
DATA = "complete-journey-types"


@app.command()
def train(
    data: Data = DATA,
    users: Annotated[int, typer.Option(help="Draw so many users at random; 0 takes all.")] = 0,
    encoder: Encoder = "GRU4Rec",
    head: Annotated[str, typer.Option(help="The head to train.")] = HEAD,
    epochs: Epochs = 100,
    batch_size: Annotated[int, typer.Option(help="Windows a step, over all processes.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 4e-3,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: MaxLen = 0,
    runs: Runs = "runs",
) -> None:
    """Train one head on a log, or read it back, and print the run's folder; torchrun makes it several processes."""
    from cprlab.settings import TrainConfig
    from cprlab.training.processes import is_first

    run = _filled(TrainConfig, locals()).run()
    if is_first():
        print(visible(run.folder))


@app.command()
def report(
    data: Data = DATA,
    users: Annotated[int, typer.Option(help="Draw so many users at random; 0 takes all.")] = 0,
    encoder: Encoder = "GRU4Rec",
    heads: Heads = HEADS,
    epochs: Epochs = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: MaxLen = 0,
    runs: Runs = "runs",
    out: Annotated[str, typer.Option(help="Where the report goes; reports/DATA when empty.")] = "",
) -> None:
    """Train heads on a log and write a page that shows where each copies and where it fails to."""
    from cprlab.pages.run import run_report
    from cprlab.settings import ReportConfig

    config = _filled(ReportConfig, locals())
    print(visible(run_report(config, out or config.folder)))


@app.command()
def probe(
    models: Models = None,
    data: ModelsData = DATA,
    histories: Histories = "",
    cases: Annotated[int, typer.Option(help="How many cases the slower probes take.")] = 300,
    users: Annotated[int, typer.Option(help="As the report drew them; 0 takes all.")] = 0,
    encoder: Encoder = "GRU4Rec",
    heads: Heads = HEADS,
    epochs: Epochs = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: MaxLen = 0,
    runs: Runs = "runs",
    out: Annotated[str, typer.Option(help="Where the page goes; reports/probe-MODEL when empty.")] = "",
) -> None:
    """Say whether a trained model fails to copy or to exclude, by how much, and what would help."""
    from cprlab.pages.run import run_probe
    from cprlab.studies.probe import ProbeConfig

    config = _filled(ProbeConfig, locals())
    print(visible(run_probe(config, out or config.folder)))


@app.command()
def explore(
    models: Models = None,
    state: Annotated[str, typer.Option(help=f"{State}; what to show first.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where on this machine the page is served.")] = 8866,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Show the page in the browser.")] = True,
    data: ModelsData = DATA,
    histories: Histories = "",
    users: Annotated[int, typer.Option(help="As the report drew them; 0 takes all.")] = 0,
    encoder: Encoder = "GRU4Rec",
    heads: Heads = HEADS,
    epochs: Epochs = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: MaxLen = 0,
    runs: Runs = "runs",
) -> None:
    """Edit histories, move hidden states and switch partitions in the browser, and watch the heads disagree."""
    from cprlab.explorer import ExplorerConfig
    from cprlab.explorer.run import read_state, run_explorer

    run_explorer(_filled(ExplorerConfig, locals() | {"state": read_state(state)}), port, browser)


@app.command()
def case(
    state: Annotated[str, typer.Argument(help=f"{State}.")],
    models: Models = None,
    data: ModelsData = DATA,
    histories: Histories = "",
    users: Annotated[int, typer.Option(help="As the report drew them; 0 takes all.")] = 0,
    encoder: Encoder = "GRU4Rec",
    heads: Heads = HEADS,
    epochs: Epochs = 100,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Precision = "float32",
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: MaxLen = 0,
    runs: Runs = "runs",
    out: Annotated[str, typer.Option(help="Where the page goes; reports/case-MODEL-CASE when empty.")] = "",
) -> None:
    """Write what the explorer shows in a state as a page."""
    from cprlab.explorer import ExplorerConfig
    from cprlab.explorer.run import read_state, run_case

    print(visible(run_case(_filled(ExplorerConfig, locals() | {"state": read_state(state)}), out)))


@app.command()
def prepare(
    file: Annotated[Path, typer.Argument(help="A parquet, csv, tsv or .inter file, of any size.")],
    folder: Annotated[Path, typer.Argument(help="Where the sequences go.")],
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
    split: Split = "leave-one-out",
    max_len: Annotated[int, typer.Option(help="How many items a model reads at the most.")] = 50,
    min_interactions: Annotated[int, typer.Option(help="Users with fewer are left out.")] = 5,
    memory: Annotated[str, typer.Option(help="What sorting may take of it; it goes on on disk.")] = "2GB",
) -> None:
    """Sort a log that does not fit in memory into a folder, which can be given as --data."""
    from cprlab.data import Columns
    from cprlab.data.protocol import Protocol
    from cprlab.loading import prepare

    columns, protocol = _filled(Columns, locals()), _filled(Protocol, locals()).protocol
    sequences = prepare(file, folder, columns, min_interactions=min_interactions, memory=memory, **protocol)
    print(f"{sequences.n_users:,} users, {sequences.n_items:,} items, {len(sequences.items):,} interactions")
    print(*map(visible, sequences.notes), sep="\n")


@data_app.command()
def check(
    file: Annotated[
        Path, typer.Argument(help="A parquet, csv, tsv or .inter file; text also as .gz or .zst; or an imported log.")
    ],
    user: User = "",
    item: Item = "",
    time: Time = "",
    title: Title = "",
    basket: Basket = "",
    ties: Ties = "auto",
) -> None:
    """Print what cprlab understands of a log, its first rows, and every doubt about it."""
    from cprlab.data import Columns
    from cprlab.data.protocol import Protocol
    from cprlab.loading.check import check

    found = check(file, _filled(Columns, locals()), ties=_filled(Protocol, locals()).ties)
    tables = {"Columns": found.columns, "First rows": found.rows, "Log": found.facts, "Splits": found.splits}
    for name, table in tables.items():
        if len(table):
            print(f"{name}\n{_aligned(table)}\n")
    if found.refused:
        raise found.refused
    print("Doubts", *(f"- {visible(doubt)}" for doubt in found.doubts or ["none"]), sep="\n")


@app.command()
def sweep(
    grid: Annotated[Path, typer.Argument(help="A YAML file: data, encoders, heads, settings, seeds and notebooks.")],
    workers: Annotated[int, typer.Option(min=0, help="How many train at once; 0: one a core, or one a GPU.")] = 0,
    scheduler: Annotated[str, typer.Option(help="The address of a running Dask cluster's scheduler.")] = "",
    slurm: Annotated[str, typer.Option(help="A YAML file with the arguments of dask_jobqueue.SLURMCluster.")] = "",
) -> None:
    """Train a grid of runs on many processes or machines, and write a report on all; 1 if something in it failed."""
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
    folder: Annotated[Path, typer.Argument(help="Where the PNG files go.")] = Path("figures"),
) -> None:
    """Write a report's figures as PNG files."""
    from cprlab.pages.figures import write_figures

    for path in write_figures(report, folder):
        print(visible(path))


@app.command()
def results(
    folder: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results"),
    keep: Annotated[str, typer.Option(metavar="RUNS", help="Keep the finished runs of this folder too.")] = "",
    json: Annotated[str, typer.Option(metavar="FILE", help="Write all metrics, a row each, to this file.")] = "",
    write: Annotated[str, typer.Option(metavar="PAGE", help="Fill the marked tables of this Markdown file.")] = "",
) -> None:
    """List what was trained and kept, keep more, or write it as numbers or tables; 1 if a run cannot be kept."""
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


DataSetName = Annotated[str, typer.Argument(metavar="NAME", help="A name that `cprlab data list` shows.")]


@data_app.command("list")
def list_data() -> None:
    """List the catalogue: which data sets repeat (as the paper says), their licence, and which are imported here."""
    from cprlab.catalogue import list_catalogue

    print(list_catalogue().rename_axis(None).to_string())


@data_app.command("show")
def show_data(name: DataSetName) -> None:
    """Show what a data set is, its licence, where to get it, and its size, as published and as measured here."""
    from cprlab.catalogue import describe

    print(describe(name))


@data_app.command("import")
def import_(
    name: DataSetName,
    path: Annotated[Path, typer.Argument(help="RecBole's or the publisher's file, packed or not, or its folder.")],
) -> None:
    """Import a data set from a file into data/NAME.parquet; then --data NAME finds it."""
    from cprlab.catalogue import describe_sizes, import_data

    import_data(name, path)
    print(describe_sizes(name))


@data_app.command("fetch")
def fetch_(name: DataSetName) -> None:
    """Download a data set from its publisher, where its licence allows, and import it; cut off, it goes on."""
    from cprlab.catalogue import describe_sizes, fetch_data

    fetch_data(name)
    print(describe_sizes(name))


def _aligned(table: "pd.DataFrame", longest: int = 70) -> str:
    """Return a table of text in columns, each cell on one line and cut to `longest` characters."""
    rows = [[visible(str(cell))[:longest] for cell in row] for row in (table.columns, *table.to_numpy())]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _filled(kind: type[Kind], given: dict[str, Any]) -> Kind:
    """Return a configuration filled from a command's options, which have the names of its fields; `out` stays out."""
    values = {name: given[name] for name in kind.model_fields if name in given and name != "out"}
    if "models" in values:
        values["models"] = "; ".join(values["models"] or ())
    return kind(**values)


def main() -> None:
    """Run the command line; what a user can mend is one sentence and exit code 2."""
    try:
        app()
    except CprlabError as error:
        sys.stderr.write(f"cprlab: {visible(str(error))}\n")  # at once: torchrun's processes may all say it
        sys.exit(2)
    except OSError as error:  # of the system: a name too long, a folder that is gone
        if error.filename is None:
            raise
        sys.stderr.write(f"cprlab: {visible(str(error.filename))} cannot be used ({error.strerror}).\n")
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == 130:  # Ctrl-C
            print("cprlab: stopped; start it again to go on with what is kept.", file=sys.stderr)
        raise
