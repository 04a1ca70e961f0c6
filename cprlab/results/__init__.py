"""Results: trained runs in a form small enough to keep next to the code, and tables made from them."""

from cprlab.results.evidence import KEPT, EvidenceConfig, curves
from cprlab.results.page import forest_figure
from cprlab.results.store import Kept, keep, keep_all, listed, read_cases, read_results, rows
from cprlab.results.tables import averaged

__all__ = [
    "KEPT",
    "EvidenceConfig",
    "Kept",
    "averaged",
    "curves",
    "forest_figure",
    "keep",
    "keep_all",
    "listed",
    "read_cases",
    "read_results",
    "rows",
]
