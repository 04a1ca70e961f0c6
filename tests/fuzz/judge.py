"""judge: a case ends in what a plain reader reads, or in one sentence; else it is a fault."""

import io
import math
import resource
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from cprlab.errors import CprlabError

SECONDS = 30  # of a case, on a busy machine
MEMORY = 4 * 2**30  # bytes, more than the process has


class Case(NamedTuple):
    """A file or folder that may be damaged.

    Attributes:
        read: what cprlab reads, as plain values and arrays.
        plain: the same by a reader that knows nothing of cprlab; it raises where there is nothing to be read.
        command: the arguments of a command line that reads it.
    """

    read: Callable[[], Any]
    plain: Callable[[], Any]
    command: list[str]


Kind = Callable[[np.random.Generator, Path], Case]
Outcome = Literal["equal", "refused"]


class Fault(Exception):
    """A case that ended otherwise than it may."""


class Hang(BaseException):
    """Raised in a case that takes too long; no library code catches it."""


def random(kind: str, number: int) -> np.random.Generator:
    """Return the random numbers of a case: the same for the same name and number."""
    return np.random.default_rng([zlib.crc32(kind.encode()), number])


def judge(kind: Kind, rng: np.random.Generator, folder: Path) -> Outcome:
    """Make a case in an empty folder and let cprlab read it.

    Raises:
        Fault: it ends neither in the values of the plain reader nor in one sentence, or takes too long or too much.
    """
    case = kind(rng, folder)
    try:
        with limits(), redirect_stderr(io.StringIO()):
            read = case.read()
    except CprlabError as error:
        said = str(error)
        if not said.isprintable() or not 10 < len(said) < 2_000:
            raise Fault(f"this is no sentence: {said[:500]!r}") from error
        return "refused"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Fault(f"{type(error).__name__} leaks: {str(error)[:500]}") from error
    try:
        expected = case.plain()
    except Exception as error:
        raise Fault(f"cprlab reads what a plain reader refuses ({type(error).__name__}: {error})") from error
    if difference := differ(read, expected):
        raise Fault(f"cprlab reads other values: {difference}")
    return "equal"


@contextmanager
def limits() -> Iterator[None]:
    """Let what runs inside neither hang nor take the machine's memory."""
    limit = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limit[1]))
    before = signal.signal(signal.SIGALRM, _hang)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limit)


def _hang(*_: Any) -> None:
    raise Hang(f"more than {SECONDS} seconds")


def differ(ours: Any, plain: Any, place: str = "") -> str:
    """Say where two values differ, "" if nowhere: containers and arrays by their entries, nan as itself."""
    if isinstance(ours, np.ndarray) or isinstance(plain, np.ndarray):
        ours, plain = np.asarray(ours), np.asarray(plain)
        if ours.shape != plain.shape:
            return f"{place} is of shape {ours.shape} and not {plain.shape}"
        ours, plain = ours.tolist(), plain.tolist()
    if isinstance(ours, dict) and isinstance(plain, dict):
        if ours.keys() != plain.keys():
            return f"{place} has {sorted(map(str, ours))} and not {sorted(map(str, plain))}"
        return next(filter(None, (differ(ours[key], plain[key], f"{place}.{key}") for key in ours)), "")
    if isinstance(ours, list | tuple) and isinstance(plain, list | tuple):
        if len(ours) != len(plain):
            return f"{place} has {len(ours)} entries and not {len(plain)}"
        pairs = enumerate(zip(ours, plain, strict=True))
        return next(filter(None, (differ(one, other, f"{place}[{at}]") for at, (one, other) in pairs)), "")
    same = ours == plain or (_is_missing(ours) and _is_missing(plain))
    return "" if same else f"{place} is {str(ours)[:100]!r} and not {str(plain)[:100]!r}"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
