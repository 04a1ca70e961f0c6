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
    chosen = {name: (make, count) for name, (make, count) in KINDS.items() if kind in ("", name)}
    tried = [(name, at) for name, (_, count) in chosen.items() for at in ([int(number)] if number else range(count))]
    came, faults = collections.Counter(), []
    for name, at in tqdm(tried, unit=" cases", mininterval=1.0):
        faulthandler.dump_traceback_later(120, exit=True)
        with tempfile.TemporaryDirectory(prefix="cprlab-fuzz-") as folder:
            try:
                came[name, judge(KINDS[name][0], random(name, at), Path(folder))] += 1
            except Fault as fault:
                came[name, "fault"] += 1
                faults.append(f"{name} {at}: {fault}")
                tqdm.write(f"python -m tests.fuzz {name!r} {at}: {fault}\n", file=sys.stderr)
                if number:
                    raise
    faulthandler.cancel_dump_traceback_later()
    columns = ("equal", "refused", "fault")
    print("| kind | tried | read, equal to the plain reader | refused in a sentence | faults |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in [*chosen, "all"]:
        counts = [
            sum(n for (one, end), n in came.items() if end == column and name in (one, "all")) for column in columns
        ]
        print("|", " | ".join([name, f"{sum(counts):,}", *(f"{count:,}" for count in counts)]), "|")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nAt the most {peak:.1f} GiB were taken, of which PyTorch and the other libraries are a part.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
