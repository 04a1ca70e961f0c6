"""Files and folders that are written whole or not at all."""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cprlab.errors import DataError

_NO_ROOM = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "ENAMETOOLONG")}
_NO_ROOM |= {getattr(errno, name) for name in ("ENOTDIR", "EISDIR", "EEXIST", "EBUSY", "ELOOP")}


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
