"""write_page, write_rows: write kept runs as tables and a figure into a Markdown page, and as one JSON file."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import plotly.graph_objects as go

from cprlab import plots
from cprlab.errors import ConfigError, DataError, suggestion
from cprlab.files import refuse_unreadable, whole
from cprlab.pages.figures import pictures
from cprlab.results.store import Kept, rows
from cprlab.results.tables import NONE, compared, forest, headline, logs, targets

TABLES: dict[str, Callable[[Sequence[Kept]], str]] = {"logs": logs, "headline": headline, "targets": targets}
FOREST = "forest"
START, END = "<!-- results:", "<!-- end -->"
BLOCK = re.compile(rf"{START} *(?P<name>\S+)(?: +(?P<file>\S+))? *-->\n(?P<old>.*?){END}", re.DOTALL)


def write_page(runs: Sequence[Kept], page: Path | str) -> list[Path]:
    """Fill a page's blocks, draw its figures, and return the written files.

    A block is the text between `<!-- results: NAME -->` and `<!-- end -->`, where NAME is logs, headline or targets
    (tables), or `forest FILE` (the figure, with its path relative to the page).

    Raises:
        DataError: the page cannot be read or written, or there is no browser to draw with.
        ConfigError: a block has another name.
    """
    page = Path(page)
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        refuse_unreadable(page, error)
        raise DataError(
            f"{page} is not a text file; use a Markdown file with blocks such as {START} logs -->."
        ) from error

    def refuse_changed() -> None:
        if page.read_text(encoding="utf-8") != text:
            raise DataError(f"{page} was changed while its tables were made; run this again.")

    new, files = filled(text, runs)
    drawn = pictures([json.loads(forest_figure(runs).to_json())], f"of {page}") if files else []
    written = {page.parent / file: picture for file in files for picture in drawn}
    for path, picture in written.items():
        with whole(path) as temporary:
            temporary.write_bytes(picture)
    with whole(page, refuse_changed) as temporary:
        temporary.write_bytes(new.encode())
    return [*written, page]


def filled(text: str, runs: Sequence[Kept]) -> tuple[str, list[str]]:
    """Return a page with its blocks filled, and the files of the forest plot in it.

    Raises:
        ConfigError: a block has an unknown name or no end, or there is no block.
    """
    if not BLOCK.search(text) or text.count(START) != len(BLOCK.findall(text)):
        raise ConfigError(f"A page needs blocks that begin with a line {START} logs --> and end with a line {END}.")
    files: list[str] = []

    def fill(block: re.Match) -> str:
        name, file = block["name"], block["file"]
        if name in TABLES:
            content = TABLES[name](runs)
        elif name == FOREST and file:
            content = NONE
            if compared(runs):
                content = f"![Gains in NDCG@10 on each log and in the geometric mean]({file})"
                files.append(file)
        else:
            raise ConfigError(f"Unknown block {name!r}: {suggestion(name, [*TABLES, f'{FOREST} FILE'])}")
        return f"{text[block.start() : block.start('old')]}\n{content}\n\n{END}"

    return BLOCK.sub(fill, text), files


def forest_figure(runs: Sequence[Kept]) -> go.Figure:
    """Draw `tables.forest`: gains of CPR:100 + Mi on each log, in the geometric mean, and in the paper."""
    title = "Gain in NDCG@10 on each log, in the geometric mean, and in the paper"
    figure = plots.gains(forest(runs), "log", "encoder", title, "gain as a share", "comparison")
    return figure.update_xaxes(tickformat="+.0%")


def write_rows(runs: Sequence[Kept], path: Path | str) -> Path:
    """Write all metrics of all runs (`store.rows`) to a JSON file, and return its path.

    Raises:
        DataError: the file cannot be written.
    """
    with whole(Path(path)) as file:
        lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows(runs))
        file.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")
    return Path(path)
