"""Open, prepare and check logs, given as a name of the catalogue, a file or a prepared folder."""

from cprlab.loading.large import prepare
from cprlab.loading.load import load_log, load_sequences

__all__ = ["load_log", "load_sequences", "prepare"]
