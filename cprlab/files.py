"""Files and folders that are written whole or not at all; Parquet files and archives, which may come from elsewhere."""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from cprlab.errors import CprlabError, DataError

_NO_ROOM = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG")}
_NO_ROOM |= {getattr(errno, name) for name in ("ENOTDIR", "EISDIR", "EEXIST", "EBUSY", "ELOOP")}
_PARTIAL, _REPLACED = "partial", "replaced"  # endings of what is being written, and of what it takes the place of
_HERE, _EXCHANGE = -100, 2  # Linux's AT_FDCWD and RENAME_EXCHANGE

MOST, FOLD = 2**28, 100  # bytes that any archive may unpack to, and how many times its size it may beyond that


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, what it wrote there replaces `path`.

    Whatever stood at `path` stays untouched until then, and for good if the block raises. Others who write `path` wait
    for the end of the block (see `locked`).

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    with locked(path), _in_a_sentence(path):
        place = Path(path).resolve()
        temporary = _beside(place, _PARTIAL)
        try:
            yield temporary
            if temporary.is_dir() and place.is_dir():
                _exchange(temporary, place)
            else:
                os.replace(temporary, place)
        finally:
            _remove(temporary)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, for what is needed while `path` is made; it is gone after the block.

    Others who write `path` wait for the end of the block (see `locked`).

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    with locked(path), _in_a_sentence(path):
        folder = _beside(path.resolve(), _PARTIAL)
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def name_of(words: str) -> str:
    """Return 12 hexadecimal digits to name a file by, which change when the words do that say what is in it."""
    return hashlib.sha256(words.encode()).hexdigest()[:12]


@contextmanager
def missing(path: Path, *others: Path) -> Iterator[bool]:
    """Say whether `path` is yet to be made, by the block; others who ask wait for its end (see `locked`).

    Args:
        path: what is made once, and kept.
        others: files that its making leaves where it is killed; they are removed once `path` is there.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    if path.exists():
        tidy(path, *others)
        yield False
    else:
        with locked(path):
            yield not path.exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one thread at a time, of all processes that ask, make `path`; the others wait, and say so.

    Who holds `path` may ask again. A process that dies lets the next one in, which removes what was left half written.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    make_folder(Path(path).parent)
    place = Path(path).resolve()
    lock = FileLock(_lock_of(place), is_singleton=True)
    held = lock.is_locked
    with _in_a_sentence(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"Another process writes {path}; waiting for it.", file=sys.stderr)
            lock.acquire()
    try:
        if not held:
            _clear(place)
        yield
    finally:
        if not held:  # whoever waits sees that the file is gone, and makes another
            with suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def discard(path: Path) -> None:
    """Remove a file, if it is there, and what writers of it left that were killed.

    Raises:
        DataError: the place is read-only.
    """
    with locked(path):
        path.unlink(missing_ok=True)


def tidy(path: Path, *others: Path) -> None:
    """Remove what a writer of `path` left that was killed once `path` was there: other files, and all their locks.

    Nothing happens where there is nothing of the kind, or where nothing can be written.
    """
    with suppress(DataError, OSError):
        if any(left.exists() for left in (*others, *map(_lock_of, (path, *others)))):
            with locked(path):
                for other in others:
                    discard(other)


def read_parquet(path: Path) -> pd.DataFrame:
    """Return a file's table; what pandas may have written beside it on types and indices does not count.

    Raises:
        ValueError: it is not Parquet, or does not fit in memory.
        OSError: it cannot be read.
    """
    try:
        with pq.ParquetFile(os.path.abspath(path)) as file:  # Arrow would take a "~" in front for the home folder
            return as_frame(file.read())
    except (pa.ArrowException, MemoryError, OverflowError) as error:
        raise ValueError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Return a table read from Parquet as pandas', whole numbers as they are where some are missing.

    Raises:
        pa.ArrowException: text in it is not UTF-8, which the file's reader does not look at.
    """
    table.validate(full=True)
    return table.to_pandas(ignore_metadata=True, integer_object_nulls=True)


def refuse_bomb(archive: ZipFile) -> None:
    """Raise a ValueError if a small archive would unpack to much: to more than `MOST`, and `FOLD` times its size."""
    members = archive.infolist()
    size, packed = (sum(getattr(member, name) for member in members) for name in ("file_size", "compress_size"))
    if size > MOST and size > FOLD * packed:
        raise ValueError(f"it is an archive of {packed:,} bytes that would unpack to {size:,}")


def refuse_other_files(folder: Path, ours: Callable[[set[str]], bool], what: str, how: str) -> bool:
    """Return whether a folder holds something that may be replaced; False where it is empty, or not there.

    Args:
        folder: what would be replaced.
        ours: whether a folder with files of these names is such as may be.
        what: what such a folder is, and
        how: what to do where it is another, for the error message.

    Raises:
        DataError: the folder is a file, or holds other files.
    """
    if folder.is_file():
        raise DataError(f"{folder} is a file; {how}.")
    held = {path.name for path in folder.iterdir()} - {".ipynb_checkpoints"} if folder.is_dir() else set()
    if held and not ours(held):
        raise DataError(f"{folder} holds other files than {what}; {how}.")
    return bool(held)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    with _in_a_sentence(path):
        path.mkdir(parents=True, exist_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _beside(path: Path, ending: str) -> Path:
    """Return a new hidden name beside `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{ending}")


def _clear(path: Path) -> None:
    """Remove what writers of `path` left that were killed. Whoever holds the lock of `path` knows them to be dead."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.({_PARTIAL}|{_REPLACED})")
    for found in [entry for entry in path.parent.iterdir() if left.fullmatch(entry.name)]:
        if found.suffix == f".{_REPLACED}" and not path.exists():  # killed between the two renames
            os.rename(found, path)
        else:
            _remove(found)


def _exchange(temporary: Path, path: Path) -> None:
    """Let two folders change their names: where the system can in one step, so that `path` is always there."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename and rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _EXCHANGE) == 0:
        return
    outgoing = _beside(path, _REPLACED)
    os.rename(path, outgoing)
    os.rename(temporary, path)
    _remove(outgoing)


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except CprlabError:
        raise
    except Exception as error:
        number = _number(error)
        if number is None or number not in _NO_ROOM:
            raise
        raise DataError(
            f"{path} cannot be written ({os.strerror(number)}); choose another folder or free some space."
        ) from error


def _number(error: BaseException | None) -> int | None:
    """Return the system's number of an error; torch tells it by the error before, and safetensors in words."""
    while error is not None and not isinstance(error, OSError):
        if told := re.search(r"\(os error (\d+)\)", str(error)):
            return int(told[1])
        error = error.__context__
    return None if error is None else error.errno
