"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures.

Here is what the notebooks need. What runs notebooks and draws pages (`cprlab.reports.run`, `page` and `figures`) is not
imported with it: that takes as long again as all the rest, and every kernel would wait.
"""

from cprlab.reports.answer import answer, gain_in_words
from cprlab.reports.config import ReportConfig
from cprlab.reports.copying import copying_answer, forecast_scores, scale_runs
from cprlab.reports.geometry import (
    Geometry,
    GeometryConfig,
    geometry_answer,
    interferers,
    norms_by_popularity,
    over_epochs,
    probe_runs,
)
from cprlab.reports.numbers import write_metrics
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.probe import Findings, ProbeConfig, examine, picture, verdicts, write_findings
from cprlab.reports.study import StudyConfig
from cprlab.reports.subjects import ModelsConfig, Subject, open_subject

__all__ = [
    "Findings",
    "Geometry",
    "GeometryConfig",
    "ModelsConfig",
    "ProbeConfig",
    "ReportConfig",
    "StudyConfig",
    "Subject",
    "answer",
    "copying_answer",
    "examine",
    "forecast_scores",
    "gain_in_words",
    "geometry_answer",
    "interferers",
    "norms_by_popularity",
    "open_subject",
    "over_epochs",
    "picture",
    "planted_answer",
    "probe_plan",
    "probe_runs",
    "scale_runs",
    "verdicts",
    "write_findings",
    "write_metrics",
]
