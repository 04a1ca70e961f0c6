"""The folder of a prepared log: memory-mapped arrays, two tables, and a JSON file of facts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic

from cprlab.config import Config
from cprlab.data.log import check_ids
from cprlab.data.readers import parts_of
from cprlab.data.sequences import Sequences
from cprlab.data.splits import FEWEST, OWN
from cprlab.data.times import from_one
from cprlab.errors import DataError
from cprlab.files import read_parquet, refuse_other_files, refuse_unreadable, whole

FORMATS = {"leave-one-out": 1, "temporal": 2, "next-basket": 3, OWN: 4}  # of each split; older versions read fewer
BASKETS = "basket_start.npy"  # of the next-basket split
FILES = ("items.npy", "offsets.npy", BASKETS, "users.parquet", "items.parquet", "sequences.json")
POINTS = ("before_validation", "before_test")  # columns of users.parquet
CHECKED_AT_ONCE = 2**20  # items; all of them may not fit in memory


class _Facts(Config):
    """Contents of `sequences.json`; types are checked strictly."""

    model_config = pydantic.ConfigDict(strict=True)

    format: int
    name: str
    max_len: int = pydantic.Field(ge=1, lt=2**31)
    fingerprint: str
    notes: list[str]


def save_prepared(sequences: Sequences, folder: Path | str) -> None:
    """Write a folder that `load_prepared` reads, replacing an earlier one.

    Raises:
        DataError: the folder cannot be written or contains other files, or ids have mixed types.
    """
    folder = Path(folder)
    facts = {
        "format": FORMATS[sequences.split],
        "name": sequences.name,
        "max_len": sequences.max_len,
        "fingerprint": sequences.fingerprint,
        "notes": sequences.notes,
    }
    with whole(folder, partial(refuse_all_but_prepared, folder)) as new:
        new.mkdir()
        arrays = {"items.npy": sequences.items, "offsets.npy": sequences.offsets}
        if sequences.basket_start is not None:
            arrays[BASKETS] = sequences.basket_start
        for name, array in arrays.items():
            with open_npy(new / name, array.dtype, len(array)) as file:
                file.write(array.data)
        try:
            points = {} if sequences.before is None else dict(zip(POINTS, sequences.before, strict=True))
            pd.DataFrame({"id": sequences.user_ids} | points).to_parquet(new / "users.parquet")
            pd.DataFrame({"id": sequences.item_ids, "title": sequences.titles}).to_parquet(new / "items.parquet")
        except pa.ArrowException as error:
            raise DataError(f"{sequences.name}: ids have mixed types; make them all numbers or all text.") from error
        (new / "sequences.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_prepared(folder: Path | str) -> Sequences:
    """Open a folder that `save_prepared` wrote; arrays stay on disk until they are read.

    Raises:
        DataError: the folder is incomplete, or its files do not match.
    """
    folder = Path(folder)
    try:
        facts = _Facts(**json.loads((folder / "sequences.json").read_text(encoding="utf-8")))
        if facts.format not in FORMATS.values():
            raise ValueError(f"its format is {facts.format}, this version reads up to {max(FORMATS.values())}")
        items, offsets = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("items", "offsets")
        )
        users, catalogue = (read_parquet(folder / f"{name}.parquet") for name in ("users", "items"))
        for name, table in (("users.parquet", users), ("items.parquet", catalogue)):
            check_ids(table["id"], name, from_one)
        if not pd.api.types.is_string_dtype(catalogue["title"]) or catalogue["title"].isna().any():
            raise ValueError("a title in items.parquet is not text")
        user_ids, item_ids = (np.asarray(table["id"]) for table in (users, catalogue))
        _check_arrays(items, offsets, len(users), len(catalogue))
        before = basket_start = None
        if facts.format == FORMATS["next-basket"]:
            basket_start = np.load(folder / BASKETS, mmap_mode="r", allow_pickle=False)
            _check_baskets(basket_start, offsets)
        if facts.format != FORMATS["leave-one-out"]:
            before = np.stack([users[name].to_numpy(dtype=np.int64) for name in POINTS])
            if (np.diff(np.stack([0 * before[0], *before, np.diff(offsets)]), axis=0) < 0).any():
                raise ValueError("users.parquet has split points outside a user's sequence")
        return Sequences(
            items,
            offsets,
            user_ids,
            item_ids,
            catalogue["title"].to_numpy(dtype=object),
            facts.max_len,
            facts.name,
            facts.fingerprint,
            tuple(facts.notes),
            before,
            basket_start,
            facts.format == FORMATS[OWN],
        )
    except Exception as error:  # NumPy's and Arrow's readers raise many kinds for damaged files
        refuse_unreadable(folder, error)
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{folder} is not a complete prepared log ({detail}); prepare it again.") from error


def is_prepared(folder: Path) -> bool:
    """Return whether a folder is to be read as a prepared log, even a damaged one, not as the parts of a log."""
    return folder.is_dir() and (any((folder / name).exists() for name in FILES) or not parts_of(folder))


@contextmanager
def open_npy(path: Path, dtype: np.dtype, length: int) -> Iterator[BinaryIO]:
    """Open an npy file for a one-dimensional array of `length` numbers, to be written in pieces.

    Unlike `np.save` and memory maps, this distinguishes a full disk from other errors.
    """
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def refuse_all_but_prepared(folder: Path) -> None:
    """Raise a DataError if writing to `folder` would remove anything but an earlier prepared log."""

    def ours(held: set[str]) -> bool:  # a complete prepared log, not a user's own file called items.parquet
        return held <= set(FILES) and FILES[-1] in held

    refuse_other_files(folder, ours, "a prepared log's", "choose another folder")


def _check_baskets(basket_start: np.ndarray, offsets: np.ndarray) -> None:
    """Raise a ValueError if the basket starts are not valid for users with these offsets."""
    if basket_start.dtype != np.int64 or basket_start.shape != (offsets[-1],):
        raise ValueError(f"{BASKETS} has dtype {basket_start.dtype} and shape {basket_start.shape}")
    places = np.arange(len(basket_start))
    begins = np.repeat(offsets[:-1], np.diff(offsets))
    new = basket_start == places
    if (np.maximum.accumulate(np.where(new, places, 0)) != basket_start).any() or (basket_start < begins).any():
        raise ValueError(f"{BASKETS} does not divide each user's items into baskets")


def _check_arrays(items: np.ndarray, offsets: np.ndarray, n_users: int, n_items: int) -> None:
    """Raise a ValueError if a folder's arrays do not match the number of users and items."""
    if items.dtype != np.int32 or items.ndim != 1:
        raise ValueError(f"items.npy has dtype {items.dtype} and shape {items.shape}, not int32 and one dimension")
    if offsets.dtype != np.int64 or offsets.shape != (n_users + 1,):
        raise ValueError(f"offsets.npy has dtype {offsets.dtype} and shape {offsets.shape} for {n_users:,} users")
    if offsets[0] != 0 or offsets[-1] != len(items) or np.diff(offsets).min(initial=FEWEST) < FEWEST:
        raise ValueError(f"offsets.npy does not divide the {len(items):,} items among users, at least {FEWEST} each")
    for start in range(0, len(items), CHECKED_AT_ONCE):
        part = items[start : start + CHECKED_AT_ONCE]
        if part.min() < 0 or part.max() >= n_items:
            raise ValueError(f"items.npy has codes outside the {n_items:,} items of items.parquet")
