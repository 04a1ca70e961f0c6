"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures."""

from cprlab.reports.answer import answer
from cprlab.reports.config import ReportConfig
from cprlab.reports.figures import write_figures
from cprlab.reports.page import to_page
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.run import run_report, write_metrics

__all__ = [
    "ReportConfig",
    "answer",
    "planted_answer",
    "probe_plan",
    "run_report",
    "to_page",
    "write_figures",
    "write_metrics",
]
