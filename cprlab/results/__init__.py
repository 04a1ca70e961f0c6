"""Results: trained runs in a form small enough to keep next to the code, and tables made from them."""

from cprlab.results.store import Kept, keep, keep_all, listed, read_cases, read_results, rows

__all__ = ["Kept", "keep", "keep_all", "listed", "read_cases", "read_results", "rows"]
