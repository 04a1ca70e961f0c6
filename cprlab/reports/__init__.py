"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures."""

from cprlab.reports.answer import answer
from cprlab.reports.config import ReportConfig
from cprlab.reports.figures import write_figures
from cprlab.reports.page import as_text, to_page
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.probe import Findings, ProbeConfig, examine, verdicts, write_findings
from cprlab.reports.run import run_probe, run_report, write_metrics
from cprlab.reports.subjects import ModelsConfig, Subject, open_subject

__all__ = [
    "Findings",
    "ModelsConfig",
    "ProbeConfig",
    "ReportConfig",
    "Subject",
    "answer",
    "as_text",
    "examine",
    "open_subject",
    "planted_answer",
    "probe_plan",
    "run_probe",
    "run_report",
    "to_page",
    "verdicts",
    "write_figures",
    "write_findings",
    "write_metrics",
]
