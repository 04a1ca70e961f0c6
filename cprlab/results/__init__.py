"""Results: what was trained, small enough to be kept beside the code, and the tables that are made of it."""

from cprlab.results.store import Kept, keep, keep_all, listed, read_cases, read_results, rows

__all__ = ["Kept", "keep", "keep_all", "listed", "read_cases", "read_results", "rows"]
