"""load_log: a built-in name or a file becomes an InteractionLog."""

import csv
import os
from pathlib import Path

import pandas as pd

from cprlab.data.builtin import BUILTIN
from cprlab.data.log import GUESSES, InteractionLog
from cprlab.errors import DataError, suggestion

READERS = (".parquet", ".csv", ".tsv", ".inter")


def load_log(
    name_or_path: str | Path, *, user: str = "", item: str = "", time: str = "", title: str = ""
) -> InteractionLog:
    """Read a built-in log by its name, or a parquet, csv, tsv or RecBole `.inter` file.

    Ids stay the file's own: in text files they are kept as text, so that `007` is not `7`. Beside `NAME.inter`,
    RecBole's `NAME.item` gives the titles where there is one.

    Args:
        name_or_path: one of `cprlab.data.BUILTIN`, or a file.
        user: column of the users; guessed from its name when empty. Likewise `item`, `time` and `title`.
        item: column of the items.
        time: column of the times; a log without one is taken in file order.
        title: column of the items' titles.

    Raises:
        DataError: the file is missing, empty or not a table, or a column or value is not what it should be.
    """
    path = Path(name_or_path)
    if str(name_or_path) in BUILTIN:
        if user or item or time or title:
            raise DataError(f"{name_or_path} is built in and has its columns already; leave the column names out.")
        return BUILTIN[str(name_or_path)]()
    if not path.suffix and not os.path.exists(path):
        raise DataError(f"Unknown data {str(name_or_path)!r}: {suggestion(str(name_or_path), BUILTIN)} Or give a file.")
    if not os.path.isfile(path):
        raise DataError(f"{path} is not a file; check the name, or choose one of {', '.join(BUILTIN)}.")
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path} ends in {path.suffix!r}; cprlab reads {', '.join(READERS)}.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; a log needs a header and a row for each interaction.")
    frame, first_line = _read(path)
    return InteractionLog.from_frame(
        frame,
        path.name,
        user=user,
        item=item,
        time=time,
        title=title,
        titles=None if title else _item_file(path),
        first_line=first_line,
    )


def _read(path: Path) -> tuple[pd.DataFrame, int]:
    """Return the table and the line on which its first row stands."""
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path), 1
        return _read_text(path), 2
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); save it as UTF-8.") from error
    except (ValueError, OSError) as error:  # pandas' and Arrow's parsers raise kinds of these
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{path} cannot be read as a {path.suffix[1:]} table: {detail}") from error


def _read_text(path: Path) -> pd.DataFrame:
    """Read csv, tsv or RecBole's atomic format with every value as text; `name:type` headers lose their type."""
    atomic = path.suffix.lower() in (".inter", ".item")
    frame = pd.read_csv(
        path,
        sep="," if path.suffix.lower() == ".csv" else "\t",
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        on_bad_lines="error",
        skip_blank_lines=False,
        quoting=csv.QUOTE_NONE if atomic else csv.QUOTE_MINIMAL,
    )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus fields at the left for an index
        raise ValueError("its rows have more fields than its header")
    for column in frame.columns:
        spans = frame[column].str.contains("\n", regex=False, na=False).to_numpy()
        if spans.any():
            row = int(spans.argmax())
            raise ValueError(f"a quotation mark is opened on line {row + 2} and not closed there; close or double it")
    frame.columns = [column.rpartition(":")[0] or column if atomic else column for column in frame.columns.str.strip()]
    if frame.columns.has_duplicates:
        raise ValueError(f"it has two columns {frame.columns[frame.columns.duplicated()][0]!r}")
    return frame


def _item_file(path: Path) -> pd.Series | None:
    """Return RecBole's titles by item id from the `.item` file beside an `.inter` file."""
    items = path.with_suffix(".item")
    if path.suffix.lower() != ".inter" or not items.is_file():
        return None
    frame, _ = _read(items)
    titles = [column for column in GUESSES["title"] if column in frame.columns]
    if "item_id" not in frame.columns or not titles:
        return None
    return frame.drop_duplicates("item_id").set_index("item_id")[titles[0]]
