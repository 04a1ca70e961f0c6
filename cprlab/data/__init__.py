"""From a raw log to checked, typed, sorted interactions and to the sequences that models read."""

from cprlab.data.builtin import BUILTIN
from cprlab.data.catalogue import CATALOGUE, PAPER, DataSet
from cprlab.data.fetching import fetch_data
from cprlab.data.importing import import_data
from cprlab.data.large import prepare
from cprlab.data.load import load_log, load_sequences
from cprlab.data.log import InteractionLog
from cprlab.data.overview import beside_paper, describe, describe_sizes, list_catalogue
from cprlab.data.prepared import load_prepared, save_prepared
from cprlab.data.repeats import RepeatCounts, count_repeats, repeat_curve, repeat_gaps, repeat_statistics, thin_repeats
from cprlab.data.sequences import Sequences
from cprlab.data.synthetic import CopyingPlan, ExcludingPlan, Plan
from cprlab.data.windows import Batch, Windows

__all__ = [
    "BUILTIN",
    "CATALOGUE",
    "PAPER",
    "Batch",
    "CopyingPlan",
    "DataSet",
    "ExcludingPlan",
    "InteractionLog",
    "Plan",
    "RepeatCounts",
    "Sequences",
    "Windows",
    "beside_paper",
    "count_repeats",
    "describe",
    "describe_sizes",
    "fetch_data",
    "import_data",
    "list_catalogue",
    "load_log",
    "load_prepared",
    "load_sequences",
    "prepare",
    "repeat_curve",
    "repeat_gaps",
    "repeat_statistics",
    "save_prepared",
    "thin_repeats",
]
