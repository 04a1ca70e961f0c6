"""Interaction logs: checking, typing and sorting them, and the sequences that models read."""

from cprlab.data.columns import Columns
from cprlab.data.log import InteractionLog
from cprlab.data.prepared import load_prepared, save_prepared
from cprlab.data.repeats import RepeatCounts, count_repeats, repeat_curve, repeat_gaps, repeat_statistics, thin_repeats
from cprlab.data.sequences import Sequences
from cprlab.data.synthetic import CopyingPlan, ExcludingPlan, Plan, cyclic_polytope
from cprlab.data.windows import Batch, Windows

__all__ = [
    "Batch",
    "Columns",
    "CopyingPlan",
    "ExcludingPlan",
    "InteractionLog",
    "Plan",
    "RepeatCounts",
    "Sequences",
    "Windows",
    "count_repeats",
    "cyclic_polytope",
    "load_prepared",
    "repeat_curve",
    "repeat_gaps",
    "repeat_statistics",
    "save_prepared",
    "thin_repeats",
]
