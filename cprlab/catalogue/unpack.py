"""Plain and gzipped files, and members of zip and tar archives, read as streams.

Nothing is unpacked to disk, so a member's path cannot do harm; archives with unsafe paths are refused nevertheless.
"""

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from cprlab.errors import DataError
from cprlab.files import refuse_unreadable

LARGEST = 64 * 2**30  # bytes of an unpacked file
SWELLING = 100  # largest compression ratio of files that unpack to more than SMALL bytes
SMALL = 2**26
FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive, which cprlab does not unpack; unpack it and name the file in it",
    b"Rar!": "a rar archive, which cprlab does not unpack; unpack it and name the file in it",
    b"BZh": "compressed by bzip2, which cprlab does not unpack; unpack it first",
    b"\xfd7zXZ": "compressed by xz, which cprlab does not unpack; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd, which cprlab does not unpack here; unpack it first",
    b"PAR1": "a Parquet file, which needs no import; use it with --data",
}


class Member(NamedTuple):
    """A file on disk, or a file in an archive.

    Attributes:
        name: path within the archive, or file name without `.gz`.
        path: path of the file on disk.
        open: opens a context that yields the unpacked bytes.
    """

    name: str
    path: Path
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def members(path: Path) -> list[Member]:
    """Return the members of an archive, or the file itself.

    Raises:
        DataError: the file is damaged or of an unsupported type, or contains links, devices, or absolute or parent
            paths.
    """
    with _in_a_sentence(path), open(path, "rb") as file:
        start = file.read(8)
    for magic, kind in FOREIGN.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {kind}.")
    with _in_a_sentence(path):
        if zipfile.is_zipfile(path):
            return _zipped(path)
        if start.startswith(b"PK\x03\x04"):
            raise EOFError("the end of the zip archive is missing")
        packed = start.startswith(b"\x1f\x8b")
        with _unpacked(path, packed) as stream:
            is_tar = stream.peek(512)[257:262] == b"ustar"
    if is_tar:
        return _tarred(path, packed)
    name = path.name.removesuffix(".gz") if packed else path.name
    return [Member(name, path, lambda: _unpacked(path, packed))]


def _zipped(path: Path) -> list[Member]:
    found = []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            _refuse_unsafe(path, info.filename, not stat.S_ISLNK(info.external_attr >> 16))
            if not info.is_dir():
                _refuse_swollen(path, info.filename, info.file_size, info.compress_size)
                found.append(Member(info.filename, path, _zip_opener(path, info)))
    return found


def _zip_opener(path: Path, info: zipfile.ZipInfo) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def opened() -> Iterator[io.BufferedReader]:
        with _in_a_sentence(path):
            archive = zipfile.ZipFile(path)
        with archive:
            with _in_a_sentence(path):
                stream = archive.open(info)
            with stream, _bounded(stream, path, info.filename, info.compress_size) as bounded:
                yield bounded

    return opened


def _tarred(path: Path, packed: bool) -> list[Member]:
    found = []
    with _unpacked(path, packed) as stream, _in_a_sentence(path), tarfile.open(fileobj=stream, mode="r|") as archive:
        for info in archive:
            _refuse_unsafe(path, info.name, info.isfile() or info.isdir())
            if info.isfile():
                found.append(Member(info.name, path, _tar_opener(path, packed, info.name)))
    return found


def _tar_opener(path: Path, packed: bool, name: str) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    @contextmanager
    def opened() -> Iterator[io.BufferedReader]:
        with _unpacked(path, packed) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            with _in_a_sentence(path):
                info = next(info for info in archive if info.name == name)
            inner = archive.extractfile(info)
            assert inner is not None  # only plain files were listed
            yield io.BufferedReader(_Bounded(inner, path, name, LARGEST))

    return opened


@contextmanager
def _unpacked(path: Path, packed: bool) -> Iterator[io.BufferedReader]:
    """Open a file, decompressed by gzip if it is packed."""
    with _in_a_sentence(path):
        file = gzip.open(path, "rb") if packed else path.open("rb")  # noqa: SIM115
    size = path.stat().st_size
    with file, _bounded(file, path, path.name, size) as bounded:
        yield bounded


def _bounded(stream: io.BufferedIOBase | IO[bytes], path: Path, name: str, packed: int) -> io.BufferedReader:
    return io.BufferedReader(_Bounded(stream, path, name, packed), 2**16)


class _Bounded(io.RawIOBase):
    """A stream that raises a DataError if it is damaged, or larger than its packed size allows."""

    def __init__(self, stream: io.BufferedIOBase | IO[bytes], path: Path, name: str, packed: int):
        self.stream, self.path, self.name, self.packed, self.seen = stream, path, name, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _in_a_sentence(self.path):
            piece = self.stream.read(len(buffer))
        buffer[: len(piece)] = piece
        self.seen += len(piece)
        _refuse_swollen(self.path, self.name, self.seen, self.packed)
        return len(piece)


def _refuse_unsafe(path: Path, name: str, plain: bool) -> None:
    place = PurePosixPath(name.replace("\\", "/"))
    if not plain:
        raise DataError(f"{path} contains {name!r}, which is neither a file nor a folder; the archive is not trusted.")
    if place.is_absolute() or ".." in place.parts or ":" in name[:2] or not name.isprintable():
        raise DataError(
            f"{path} contains the unsafe name {name!r} (absolute, upwards or unprintable); the archive is not trusted."
        )


def _refuse_swollen(path: Path, name: str, size: int, packed: int) -> None:
    if size > min(LARGEST, max(SMALL, SWELLING * packed)):
        raise DataError(
            f"{path} contains {name!r}, whose {packed:,} bytes unpack to at least {size:,}; the limit is {SWELLING} "
            f"times its size, and {LARGEST // 2**30} GiB. Unpack it yourself if you trust it."
        )


@contextmanager
def _in_a_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError) as error:
        refuse_unreadable(path, error)
        raise DataError(f"{path} cannot be read or unpacked ({_first_line(error)}); download it again.") from error
    except (RuntimeError, NotImplementedError) as error:  # raised by zipfile for passwords and unknown methods
        raise DataError(f"{path} cannot be unpacked here ({_first_line(error)}); unpack it yourself.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
