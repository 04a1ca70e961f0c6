"""Studies: the computations of single notebooks, each in a module named after its notebook."""

from cprlab.studies.config import StudyConfig

__all__ = ["StudyConfig"]
