"""From a raw log to checked, typed, sorted interactions and to the sequences that models read."""

from cprlab.data.builtin import BUILTIN
from cprlab.data.large import prepare
from cprlab.data.load import load_log, load_sequences
from cprlab.data.log import InteractionLog
from cprlab.data.repeats import repeat_curve, repeat_statistics
from cprlab.data.sequences import Batch, Sequences, Windows
from cprlab.data.synthetic import CopyingPlan, ExcludingPlan, Plan

__all__ = [
    "BUILTIN",
    "Batch",
    "CopyingPlan",
    "ExcludingPlan",
    "InteractionLog",
    "Plan",
    "Sequences",
    "Windows",
    "load_log",
    "load_sequences",
    "prepare",
    "repeat_curve",
    "repeat_statistics",
]
