"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures.

Here is what the notebooks need. What runs notebooks and draws pages (`cprlab.reports.run`, `page` and `figures`) is not
imported with it: that takes as long again as all the rest, and every kernel would wait.
"""

from cprlab.reports.answer import against_rivals, answer, overall
from cprlab.reports.config import ReportConfig
from cprlab.reports.numbers import about_data, write_metrics
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.probe import Findings, ProbeConfig, examine, origins, picture, probed, verdicts, write_findings
from cprlab.reports.subjects import ModelsConfig, Subject, open_subject
from cprlab.reports.summary import SummaryConfig, summary_answer

__all__ = [
    "Findings",
    "ModelsConfig",
    "ProbeConfig",
    "ReportConfig",
    "Subject",
    "SummaryConfig",
    "about_data",
    "against_rivals",
    "answer",
    "examine",
    "open_subject",
    "origins",
    "overall",
    "picture",
    "planted_answer",
    "probe_plan",
    "probed",
    "summary_answer",
    "verdicts",
    "write_findings",
    "write_metrics",
]
