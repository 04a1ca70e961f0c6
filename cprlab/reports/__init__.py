"""Batch reports: a notebook with parameters becomes one page, its numbers and its figures.

Here is what the notebooks need. What runs notebooks and draws pages (`cprlab.reports.run`, `page` and `figures`) is not
imported with it: that takes as long again as all the rest, and every kernel would wait.
"""

from cprlab.reports.answer import answer, caution, gain_in_words, overall, relative_in_words
from cprlab.reports.comparison import ablation_answer, comparison_answer, top_predictions
from cprlab.reports.config import ReportConfig
from cprlab.reports.copying import copying_answer, forecast_scores, scale_runs
from cprlab.reports.diversity import diversity_answer, measured, survey
from cprlab.reports.dose import by_dose, changes, dose_answer, planted_gains, thinned
from cprlab.reports.geometry import (
    Geometry,
    GeometryConfig,
    geometry_answer,
    interferers,
    norms_by_popularity,
    over_epochs,
    probe_runs,
)
from cprlab.reports.inputs import by_inputs, inputs_answer, readers
from cprlab.reports.losses import losses_answer
from cprlab.reports.numbers import write_metrics
from cprlab.reports.planted import planted_answer, probe_plan
from cprlab.reports.probe import Findings, ProbeConfig, examine, picture, verdicts, write_findings
from cprlab.reports.repeats import repeats_answer
from cprlab.reports.sensitivity import sensitivity_answer
from cprlab.reports.study import StudyConfig
from cprlab.reports.subjects import ModelsConfig, Subject, open_subject
from cprlab.reports.summary import SummaryConfig, summary_answer

__all__ = [
    "Findings",
    "Geometry",
    "GeometryConfig",
    "ModelsConfig",
    "ProbeConfig",
    "ReportConfig",
    "StudyConfig",
    "Subject",
    "SummaryConfig",
    "ablation_answer",
    "answer",
    "by_dose",
    "by_inputs",
    "caution",
    "changes",
    "comparison_answer",
    "copying_answer",
    "diversity_answer",
    "dose_answer",
    "examine",
    "forecast_scores",
    "gain_in_words",
    "geometry_answer",
    "inputs_answer",
    "interferers",
    "losses_answer",
    "measured",
    "norms_by_popularity",
    "open_subject",
    "over_epochs",
    "overall",
    "picture",
    "planted_answer",
    "planted_gains",
    "probe_plan",
    "probe_runs",
    "readers",
    "relative_in_words",
    "repeats_answer",
    "scale_runs",
    "sensitivity_answer",
    "summary_answer",
    "survey",
    "thinned",
    "top_predictions",
    "verdicts",
    "write_findings",
    "write_metrics",
]
