"""Try bad input by the thousand, with a bar, and say what came of it: `python -m tests.fuzz [KIND [NUMBER]]`."""

import collections
import faulthandler
import resource
import sys
import tempfile
from pathlib import Path

import torch
from tqdm import tqdm

from tests.fuzz import KINDS, Fault, judge, random


def main(kind: str = "", number: str = "") -> int:
    """Try all cases of all kinds, or of one kind, or one case; return 1 if there was a fault."""
    faulthandler.enable()
    torch.set_num_threads(1)
    chosen = {name: count for name, (_, count) in KINDS.items() if kind in ("", name)}
    print("| kind | tried | read, equal to the plain reader | refused in a sentence | faults |")
    print("| --- | ---: | ---: | ---: | ---: |")
    came: collections.Counter[str] = collections.Counter()
    with tqdm(total=1 if number else sum(chosen.values()), unit=" cases", mininterval=1.0) as bar:
        for name, count in chosen.items():
            of_kind = collections.Counter(_outcome(name, at, bar) for at in ([int(number)] if number else range(count)))
            came += of_kind
            tqdm.write(_row(name, of_kind))
    faulthandler.cancel_dump_traceback_later()
    print(_row("all", came))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nAt the most {peak:.1f} GiB were taken, of which PyTorch and the other libraries are a part.")
    return bool(came["fault"])


def _outcome(name: str, at: int, bar: tqdm) -> str:
    """Try a case, which may take two minutes with all that it needs, and tell of a fault at once."""
    faulthandler.dump_traceback_later(120, exit=True)
    bar.update()
    with tempfile.TemporaryDirectory(prefix="cprlab-fuzz-") as folder:
        try:
            return judge(KINDS[name][0], random(name, at), Path(folder))
        except Fault as fault:
            tqdm.write(f"python -m tests.fuzz {name!r} {at}: {fault}", file=sys.stderr)
            return "fault"


def _row(name: str, came: collections.Counter[str]) -> str:
    counts = came.total(), came["equal"], came["refused"], came["fault"]
    return f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
