"""Protocol: how a log is ordered, cut and split; fields that all settings share."""

from typing import Any

import pydantic

from cprlab.config import Config
from cprlab.data.columns import Columns
from cprlab.data.splits import SplitBy
from cprlab.data.ties import Ties


class Protocol(Config):
    """How a log becomes sequences; all settings that read logs have these fields."""

    ties: Ties = pydantic.Field("auto", description="Order of rows that share a time or basket")
    split: SplitBy = pydantic.Field("leave-one-out", description="How interactions are held out")
    max_len: int = pydantic.Field(
        0, ge=0, lt=2**31, description="Maximum number of items a model reads (0: 50, or as a folder was prepared)."
    )

    @property
    def protocol(self) -> dict[str, Any]:
        """These fields only, as arguments of `load_sequences`."""
        return self.model_dump(include=set(Protocol.model_fields))


class Reading(Protocol, Columns):
    """How the file of a log is read, and what is held out."""

    @property
    def reading(self) -> dict[str, Any]:
        """These fields alone."""
        return self.model_dump(include=set(Reading.model_fields))
