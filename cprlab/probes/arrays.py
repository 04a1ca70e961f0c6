"""Read a Snapshot's arrays from files, without running code from them, and check them.

All functions raise a DataError that says what is wrong and where.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open

from cprlab.errors import DataError
from cprlab.files import read_parquet, refuse_bomb, refuse_unreadable
from cprlab.models.recommender import not_finite

PAD = -1  # padding after shorter histories in a file's table of histories
ARRAYS = ("item_embeddings", "states", "histories", "targets", "bias", "item_ids", "titles")
REMEDY = (
    "It looks like padding, but a Snapshot has none: item 0 is the first row of item_embeddings. Leave padding out of "
    f"the histories, or write {PAD} after their ends; if that row is the padding's, leave it out and subtract 1 from "
    "all codes."
)
SUFFIXES = (".safetensors", ".npz")


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a `.npz` or `.safetensors` file by name, with ids and titles from its header."""
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path} is not a Snapshot; use a file that ends in {' or '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                refuse_bomb(file.zip)
                return {name: _entry(file, name) for name in file.files}
        with safe_open(path, framework="pt") as file:
            arrays: dict[str, Any] = {name: _widened(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            header = file.metadata() or {}
        return arrays | {name: _plain(json.loads(header[name])) for name in ("item_ids", "titles") if name in header}
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
        refuse_unreadable(path, error)
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read as arrays ({detail}).") from error


def _entry(file: Any, name: str) -> np.ndarray:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise ValueError(
            f"{name} contains Python objects, which are not read, since they can run code; save text as "
            f"np.array({name}, dtype=str), and histories as one table of codes, padded with {PAD}"
        ) from error


def _widened(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor as an array; NumPy has no bfloat16 and no float8."""
    return (tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor).numpy()


def read_histories(path: Path, item_ids: np.ndarray | None) -> dict[str, Any]:
    """Return `histories`, m lists of item codes, and `targets` (m,) from a Parquet file of codes or `item_ids` (n,)."""
    try:
        table = read_parquet(path)
    except (OSError, ValueError) as error:
        refuse_unreadable(path, error)
        raise DataError(f"{path} cannot be read as Parquet ({error}).") from error
    if missing := {"history", "target"} - set(table.columns):
        raise DataError(f"{path} has no column {' and no '.join(sorted(missing))}; it needs history and target.")
    if item_ids is None:
        return {"histories": list(table["history"]), "targets": table["target"].to_numpy()}
    codes = pd.Index(item_ids)
    if not codes.is_unique:
        raise DataError(f"{path}: item_ids contain {codes[codes.duplicated()][0]!r} twice; make them unique.")
    return {
        "histories": [_lookup(codes, history, f"{path}, row {row}") for row, history in enumerate(table["history"])],
        "targets": _lookup(codes, table["target"], f"{path}, column target"),
    }


def _lookup(codes: pd.Index, ids: Any, place: str) -> np.ndarray:
    if not isinstance(ids, Sequence | np.ndarray | pd.Series) or isinstance(ids, str):
        raise DataError(f"{place}: a history must be a list of item ids.")
    try:
        found = codes.get_indexer(pd.Index(ids))
    except TypeError as error:
        raise DataError(f"{place}: an id is a list or a table; ids must be numbers or text.") from error
    if (found < 0).any():
        raise DataError(f"{place}: {np.asarray(ids)[found < 0][0]!r} is not among item_ids.")
    return found


def _plain(values: Any) -> np.ndarray:
    array = np.array(values)
    return array if array.ndim == 1 and array.dtype.kind == "i" else np.array(values, dtype=object)


def check_table(values: Any, name: str, rows: str, n: int | None = None) -> np.ndarray:
    """Return a finite floating-point array (rows, columns), or (n,) if n is given."""
    if isinstance(values, torch.Tensor):
        values = _widened(values.detach().cpu())
    try:
        array = np.asarray(values)
        double = array.dtype.kind == "f" and array.itemsize > 4
        array = array.astype(np.float64 if double else np.float32, casting="same_kind", copy=False)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be a table of numbers.") from error
    if n is None and (array.ndim != 2 or not array.size):
        raise DataError(f"{name} must have a row for each of the {rows} and a column per dimension, not {array.shape}.")
    if n is not None and array.shape != (n,):
        raise DataError(f"{name} must have one number for each of the {n:,} {rows}, not {array.shape}.")
    array = np.ascontiguousarray(array)
    if wrong := not_finite({name: torch.from_numpy(array)}):
        raise DataError(f"{wrong}; every number must be finite.")
    return array


def _whole(values: Any) -> np.ndarray | None:
    """Return values as a one-dimensional int64 array, or None if they are not one."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array.astype(np.int64) if array.ndim == 1 and array.dtype.kind in "iu" else None


def check_history(case: int, values: Any, n: int) -> np.ndarray:
    """Return the history of a case as one or more int64 codes of n items."""
    codes = _whole(values)
    if codes is None or not len(codes):
        raise DataError(f"The history of case {case} must be a list of one or more item codes.")
    if codes.min() < 0 or codes.max() >= n:
        wrong = codes[(codes < 0) | (codes >= n)][0]
        raise DataError(f"The history of case {case} contains item {wrong}; codes go from 0 to {n - 1}.")
    return codes


def check_targets(values: Any, m: int, n: int) -> np.ndarray:
    """Return the targets of m cases as int64 codes of n items, (m,)."""
    codes = _whole(values)
    if codes is None or len(codes) != m:
        raise DataError(f"targets must be {m:,} item codes, one for each case.")
    wrong = (codes < 0) | (codes >= n)
    if wrong.any():
        case = int(np.argmax(wrong))
        raise DataError(f"The target of case {case} is item {codes[case]}; codes go from 0 to {n - 1}.")
    return codes


def check_names(values: Any, name: str, n: int) -> np.ndarray:
    """Return ids or titles, (n,)."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{name} must have one entry for each of the {n:,} items, not lists of different lengths."
        ) from error
    if array.shape != (n,):
        raise DataError(f"{name} must have one entry for each of the {n:,} items, not {array.shape}.")
    return array


def padding_doubt(histories: Sequence[np.ndarray], targets: np.ndarray) -> str:
    """Return a sentence on item 0 if it seems to pad the histories at one end, else "".

    At least 1% of the histories, and two of them, have a run of two or more at that end. Besides, item 0 occurs nowhere
    else; or all histories with such a run are as long as the longest, and the runs are ten times as frequent as pairs
    of item 0 elsewhere, so that a popular item, or one that is repeated, does not count.
    """
    zero = [history == 0 for history in histories]
    for end, flags in (("begin", zero), ("end", [one[::-1] for one in zero])):
        runs = np.array([len(one) if one.all() else int(np.argmin(one)) for one in flags])
        padded = runs >= 2
        count, elsewhere = int(padded.sum()), sum(map(np.count_nonzero, flags)) - int(runs.sum())
        if count < max(2, len(histories) / 100):
            continue
        said = f"{count:,} of {len(histories):,} histories {end} with item 0 twice or more"
        if not elsewhere and (targets != 0).all():
            return f"{said}, and it is nowhere else in them and no target. {REMEDY}"
        lengths = np.array([len(one) for one in flags])
        inner = [one[run:] for one, run in zip(flags, runs, strict=True)]
        pairs = sum(max(len(one) - 1, 0) for one in inner)
        both = sum(int(np.count_nonzero(one[1:] & one[:-1])) for one in inner)
        if (lengths[padded] == lengths.max()).all() and count / len(histories) > 10 * (both + 1) / (pairs + 1):
            return (
                f"{said}, all of them {lengths.max()} items long, and {both:,} of {pairs:,} other pairs are. {REMEDY}"
            )
    return ""
