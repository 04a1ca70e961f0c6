"""Studies: what single notebooks compute, each in the module that is named like the notebook."""

from cprlab.studies.config import StudyConfig

__all__ = ["StudyConfig"]
