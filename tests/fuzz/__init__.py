"""Bad input, made by the thousand: files that cprlab can read, or nearly, and what a plain reader makes of them.

A kind makes a case from random numbers: it writes a sound file, damages it most of the time, and says how cprlab reads
it, how a plain reader does, and which command line reads it. `judge` lets a case end in the same values or in one
sentence. Add a kind to `KINDS`; `make fuzz` and the test's sample then try it too.
"""

from tests.fuzz.arrays import histories, snapshot_npz, snapshot_safetensors
from tests.fuzz.doubtful import closed, copies, odd_ids, odd_titles, parquet_parts, terminal, ties
from tests.fuzz.judge import Case, Fault, Kind, judge, random
from tests.fuzz.logs import csv_log, inter_log, parquet_log, tsv_log
from tests.fuzz.models import recbole_checkpoint, run_folder
from tests.fuzz.prepared import prepared_log
from tests.fuzz.texts import explorer_state, grid

KINDS: dict[str, tuple[Kind, int]] = {  # and how many of each `make fuzz` tries
    "log .csv": (csv_log, 900),
    "log .tsv": (tsv_log, 300),
    "log .inter and .item": (inter_log, 400),
    "log .parquet": (parquet_log, 700),
    "log of Parquet parts": (parquet_parts, 300),
    "log with ties": (ties, 300),
    "log with odd ids": (odd_ids, 300),
    "log with copies": (copies, 200),
    "log with odd titles": (odd_titles, 200),
    "log in another terminal": (terminal, 60),
    "log in a closed place": (closed, 60),
    "prepared log": (prepared_log, 300),
    "Snapshot .safetensors": (snapshot_safetensors, 400),
    "Snapshot .npz": (snapshot_npz, 400),
    "histories .parquet": (histories, 200),
    "run folder": (run_folder, 500),
    "RecBole checkpoint .pth": (recbole_checkpoint, 500),
    "grid .yaml": (grid, 500),
    "explorer state .json": (explorer_state, 500),
}

__all__ = ["KINDS", "Case", "Fault", "judge", "random"]
