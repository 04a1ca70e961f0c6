"""What depends on the system: standard output and standard error that take all text, and names that all can open."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from cprlab.errors import PlaceError


@contextmanager
def writable() -> Iterator[None]:
    """Make standard output and standard error take all text while the block runs.

    Characters that the encoding lacks become escapes such as \\xe9. What cannot be written to standard error is lost,
    so that no training stops for a progress bar. What is closed, is not written.

    Raises:
        PlaceError: standard output is full.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file would be taken for a closed stream
        os.set_inheritable(free, True)
    os.close(free)
    before = sys.stdout, sys.stderr
    try:
        if sys.stdout is sys.__stdout__:
            sys.stdout = _text(1, sys.stdout, lossy=False)
        if sys.stderr is sys.__stderr__:
            sys.stderr = _text(2, sys.stderr, lossy=True)
        yield
    finally:
        sys.stdout, sys.stderr = before


def _text(number: int, stream: TextIO | None, lossy: bool) -> TextIO:
    file = _Stream(number, "w", closefd=False)
    file.lossy = lossy
    encoding = stream.encoding if stream else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, errors="backslashreplace", line_buffering=True)


class _Stream(io.FileIO):
    lossy: bool

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if self.lossy:
                return len(data)
            self.lossy = True  # or what is left would be written again at the end
            if isinstance(error, BrokenPipeError):  # its reader has read enough
                raise
            raise PlaceError(f"The output cannot be written ({error.strerror}).") from error


def refuse_name(path: Path | str) -> None:
    """Raise a PlaceError if a name is not UTF-8: Arrow and safetensors would look for another file, or fail."""
    name = str(path)
    try:
        readable = os.fsencode(name) == name.encode()
    except UnicodeEncodeError:
        readable = False
    if not readable:
        raise PlaceError(
            f"{name} is not a name in UTF-8; rename it, or set PYTHONUTF8=1 if only the locale is not UTF-8."
        )
