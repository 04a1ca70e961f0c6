"""Whatever a log is, a name of the catalogue, a file or a prepared folder, it is opened, prepared or checked here."""

from cprlab.loading.large import prepare
from cprlab.loading.load import load_log, load_sequences

__all__ = ["load_log", "load_sequences", "prepare"]
