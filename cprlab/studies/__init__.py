"""Studies: what the numbered notebooks train, measure and say, a module for each that needs one."""

from cprlab.studies.config import StudyConfig

__all__ = ["StudyConfig"]
