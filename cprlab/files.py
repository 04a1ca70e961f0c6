"""Atomic writes of files and folders, locks, and safe reading of Parquet files and archives."""

import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
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

from cprlab.errors import CprlabError, PlaceError
from cprlab.system import refuse_name

_NO_ROOM = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG")}
_NO_ROOM |= {getattr(errno, name) for name in ("ENOTDIR", "EISDIR", "EEXIST", "EBUSY", "ELOOP")}
_UNREAD = {getattr(errno, name) for name in ("EACCES", "EPERM", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")}
_PARTIAL, _REPLACED = "partial", "replaced"  # endings of what is being written, and of what it replaces
_HERE, _EXCHANGE = -100, 2  # Linux's AT_FDCWD and RENAME_EXCHANGE

MOST, FOLD = 2**28, 100  # an archive may unpack to this number of bytes, or to this multiple of its size


@contextmanager
def whole(path: Path, check: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Yield a temporary name next to `path`; when the block succeeds, what it wrote there replaces `path`.

    Until then `path` does not change, and not at all if the block raises. Other writers of `path` wait for the end of
    the block (see `locked`). What is written has the permissions of any new file.

    Args:
        path: the file or folder.
        check: raises an error if what is at `path` may not be replaced. It is called at once, again when no other
            writer holds `path`, and a last time directly before the exchange.

    Raises:
        PlaceError: the place is read-only, full, or not a folder.
    """
    check()
    with locked(path), _in_a_sentence(path):
        check()
        place = Path(path).resolve()
        temporary = _beside(place, _PARTIAL)
        try:
            yield temporary
            _open_to_others(temporary, place)
            check()
            if temporary.is_dir() and place.is_dir():
                _exchange(temporary, place)
            else:
                os.replace(temporary, place)
        finally:
            _remove(temporary)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, for files needed while `path` is made; it is removed after the block.

    Other writers of `path` wait for the end of the block (see `locked`).

    Raises:
        PlaceError: the place is read-only, full, or not a folder.
    """
    with locked(path), _in_a_sentence(path):
        folder = _beside(path.resolve(), _PARTIAL)
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def name_of(words: str) -> str:
    """Return 12 hexadecimal digits as a file name; they change when the words that describe its content change."""
    return hashlib.sha256(words.encode()).hexdigest()[:12]


@contextmanager
def missing(path: Path, *others: Path) -> Iterator[bool]:
    """Yield whether `path` is missing, so that the block must make it; others wait for its end (see `locked`).

    Args:
        path: file or folder that is made once, and kept.
        others: files left behind when the making is killed; they are removed once `path` exists.

    Raises:
        PlaceError: the place is read-only, full, or not a folder.
    """
    if path.exists():
        tidy(path, *others)
        yield False
    else:
        with locked(path):
            yield not path.exists()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock `path` for one thread of one process at a time; the others print a message and wait.

    The lock is reentrant. When its process dies, the next one gets it and removes what was left half written.

    Raises:
        PlaceError: the place is read-only, full, or not a folder.
    """
    refuse_name(os.path.abspath(path))
    make_folder(Path(path).parent)
    place = Path(path).resolve()
    lock = FileLock(_lock_of(place), is_singleton=True)
    held = lock.is_locked
    with _in_a_sentence(path):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"Another process is writing {path}; waiting for it.", file=sys.stderr)
            lock.acquire()
    try:
        if not held:
            _clear(place)
        yield
    finally:
        if not held:  # waiting processes notice that the file is gone, and make another
            with suppress(OSError):
                os.unlink(lock.lock_file)
        lock.release()


def discard(path: Path) -> None:
    """Remove a file, if it exists, and what killed writers of it left.

    Raises:
        PlaceError: the place is read-only.
    """
    with locked(path):
        path.unlink(missing_ok=True)


def tidy(path: Path, *others: Path) -> None:
    """Remove the files `others` and all locks, left by a writer that was killed after it wrote `path`.

    Does nothing if there are no such files, or if the folder is read-only.
    """
    with suppress(PlaceError, OSError):
        if any(left.exists() for left in (*others, *map(_lock_of, (path, *others)))):
            with locked(path):
                for other in others:
                    discard(other)


def read_parquet(path: Path) -> pd.DataFrame:
    """Return a Parquet file's table, ignoring pandas' metadata on types and indices.

    Raises:
        ValueError: the file is not Parquet, or does not fit in memory.
        OSError: the file cannot be read.
    """
    try:
        with pq.ParquetFile(os.path.abspath(path)) as file:  # Arrow would expand a leading "~"
            return as_frame(file.read())
    except (pa.ArrowException, MemoryError, OverflowError) as error:
        raise ValueError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Convert a table read from Parquet to pandas; columns of integers with missing values keep exact integers.

    Raises:
        pa.ArrowException: text is not UTF-8, which Arrow's Parquet reader does not check.
    """
    table.validate(full=True)
    return table.to_pandas(ignore_metadata=True, integer_object_nulls=True)


def refuse_bomb(archive: ZipFile) -> None:
    """Raise a ValueError if an archive would unpack to more than `MOST` bytes and more than `FOLD` times its size."""
    members = archive.infolist()
    size, packed = (sum(getattr(member, name) for member in members) for name in ("file_size", "compress_size"))
    if size > MOST and size > FOLD * packed:
        raise ValueError(f"it is an archive of {packed:,} bytes that would unpack to {size:,}")


def refuse_other_files(folder: Path, ours: Callable[[set[str]], bool], what: str, how: str) -> bool:
    """Return whether a folder has contents that may be replaced; False if it is empty or missing.

    Args:
        folder: the folder to replace.
        ours: whether a folder with files of these names may be replaced.
        what: whose files may be replaced, for the error message.
        how: what to do otherwise, for the error message.

    Raises:
        PlaceError: the folder is a file, or contains other files.
    """
    if folder.is_file():
        raise PlaceError(f"{folder} is a file; {how}.")
    held = {path.name for path in folder.iterdir()} - {".ipynb_checkpoints"} if folder.is_dir() else set()
    if held and not ours(held):
        raise PlaceError(f"{folder} holds other files, not only {what}; {how}.")
    return bool(held)


def refuse_unreadable(path: Path, error: BaseException) -> None:
    """Raise a PlaceError if the system does not let a file be read, so that nobody takes it for damaged.

    Args:
        path: the file, or a folder; then its files.
        error: what was raised when it was read. Some libraries call a file missing that they are not allowed to open.
    """
    refuse_name(os.path.abspath(path))
    number, unread = _number(error), str(path)
    try:
        for file in path.iterdir() if path.is_dir() else [path]:
            if file.is_file():
                file.open("rb").close()
    except OSError as refused:
        number, unread = refused.errno, refused.filename
    if number is not None and number in _UNREAD:
        remedy = "ask its owner for the permission" if number in (errno.EACCES, errno.EPERM) else "try again"
        raise PlaceError(
            f"{unread} cannot be read: {os.strerror(number).lower()}. It may be whole: keep it, and {remedy}."
        ) from error


def make_folder(path: Path) -> None:
    """Create a folder and its parents, if missing.

    Raises:
        PlaceError: the place is read-only, full, or not a folder.
    """
    with _in_a_sentence(path):
        path.mkdir(parents=True, exist_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _beside(path: Path, ending: str) -> Path:
    """Return a new hidden name next to `path`."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{ending}")


def _clear(path: Path) -> None:
    """Remove what killed writers of `path` left; the caller holds the lock, so no writer is alive."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.({_PARTIAL}|{_REPLACED})")
    for found in [entry for entry in path.parent.iterdir() if left.fullmatch(entry.name)]:
        if found.suffix == f".{_REPLACED}" and not path.exists():  # killed between the two renames
            os.rename(found, path)
        else:
            _remove(found)


def _exchange(temporary: Path, path: Path) -> None:
    """Replace `path` by the folder `temporary`; where the system allows, atomically, so that `path` always exists."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename and rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _EXCHANGE) == 0:
        return
    outgoing = _beside(path, _REPLACED)
    os.rename(path, outgoing)
    os.rename(temporary, path)
    _remove(outgoing)


def _open_to_others(path: Path, place: Path) -> None:
    """Give files the mode that the umask gives a new one; safetensors writes files that only their owner can read.

    If the process is killed meanwhile, the next writer of `place` removes the new file, by its name.
    """
    new = _beside(place, _PARTIAL)
    new.touch()
    mode = stat.S_IMODE(new.stat().st_mode)
    new.unlink()
    for file in (path, *path.rglob("*")):
        if file.is_file() and stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


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
        raise PlaceError(
            f"{path} cannot be written ({os.strerror(number)}); choose another folder or free some space."
        ) from error


def _number(error: BaseException | None) -> int | None:
    """Return an error's system number; torch has it in the error's context, safetensors in the message."""
    while error is not None and not isinstance(error, OSError):
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            return int(found[1])
        error = error.__context__
    return None if error is None else error.errno
