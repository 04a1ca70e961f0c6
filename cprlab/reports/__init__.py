"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures.

Here is what the notebooks need. What runs notebooks and draws pages (`cprlab.reports.run`, `page` and `figures`) is not
imported with it: that takes as long again as all the rest, and every kernel would wait.
"""

from cprlab.reports.answer import answer, caution, gain_in_words, relative_in_words
from cprlab.reports.comparison import comparison_answer, top_predictions
from cprlab.reports.config import ReportConfig
from cprlab.reports.diversity import diversity_answer, measured, survey
from cprlab.reports.losses import losses_answer
from cprlab.reports.numbers import write_metrics
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.probe import Findings, ProbeConfig, examine, verdicts, write_findings
from cprlab.reports.study import StudyConfig
from cprlab.reports.subjects import ModelsConfig, Subject, open_subject

__all__ = [
    "Findings",
    "ModelsConfig",
    "ProbeConfig",
    "ReportConfig",
    "StudyConfig",
    "Subject",
    "answer",
    "caution",
    "comparison_answer",
    "diversity_answer",
    "examine",
    "gain_in_words",
    "losses_answer",
    "measured",
    "open_subject",
    "planted_answer",
    "probe_plan",
    "relative_in_words",
    "survey",
    "top_predictions",
    "verdicts",
    "write_findings",
    "write_metrics",
]
