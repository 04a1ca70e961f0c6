"""Files and folders that are written whole or not at all; Parquet files and archives, which may come from elsewhere."""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from cprlab.errors import DataError

_NO_ROOM = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG")}
_NO_ROOM |= {getattr(errno, name) for name in ("ENOTDIR", "EISDIR", "EEXIST", "EBUSY", "ELOOP")}

MOST, FOLD = 2**28, 100  # bytes that any archive may unpack to, and how many times its size it may beyond that


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the block ends well, what it wrote there replaces `path`.

    Whatever stood at `path` stays untouched until then, and for good if the block raises.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    path = Path(path)
    if path.is_symlink() or not path.name:
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    make_folder(path.parent)
    try:
        with _in_a_sentence(path):
            yield temporary
            if temporary.is_dir() and path.is_dir():
                outgoing = temporary.with_suffix(".replaced")
                os.rename(path, outgoing)
                os.rename(temporary, path)
                shutil.rmtree(outgoing)
            else:
                os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, for what is needed while `path` is made; it is gone after the block.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    make_folder(path.parent)
    with (
        _in_a_sentence(path),
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as folder,
    ):
        yield Path(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time, of those that ask, make `path`; the others wait.

    A process that dies lets the next one in. The lock's file is gone once `path` is there.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with _in_a_sentence(path):
        lock.acquire()
    try:
        yield
    finally:
        if path.exists():  # so whoever waits for this file, or makes a new one, has nothing left to make
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def read_parquet(path: Path) -> pd.DataFrame:
    """Return a file's table; what pandas may have written beside it on types and indices does not count.

    Raises:
        ValueError: it is not Parquet, or does not fit in memory.
        OSError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)  # text is UTF-8, which the file's reader does not look at
        return table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, MemoryError, OverflowError) as error:
        raise ValueError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def refuse_bomb(archive: ZipFile) -> None:
    """Raise a ValueError if a small archive would unpack to much: to more than `MOST`, and `FOLD` times its size."""
    members = archive.infolist()
    size, packed = (sum(getattr(member, name) for member in members) for name in ("file_size", "compress_size"))
    if size > MOST and size > FOLD * packed:
        raise ValueError(f"it is an archive of {packed:,} bytes that would unpack to {size:,}")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        DataError: the place is read-only, full, or not a folder.
    """
    with _in_a_sentence(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); choose another folder or free some space."
        ) from error
