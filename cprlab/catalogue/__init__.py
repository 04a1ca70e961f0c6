"""The catalogue: public data sets, how to get them from their publishers, and the logs that come with cprlab."""

from cprlab.catalogue.builtin import BUILTIN
from cprlab.catalogue.data_sets import CATALOGUE, PAPER, DataSet
from cprlab.catalogue.download import fetch_data
from cprlab.catalogue.overview import beside_paper, describe, describe_sizes, list_catalogue
from cprlab.catalogue.to_parquet import import_data

__all__ = [
    "BUILTIN",
    "CATALOGUE",
    "PAPER",
    "DataSet",
    "beside_paper",
    "describe",
    "describe_sizes",
    "fetch_data",
    "import_data",
    "list_catalogue",
]
