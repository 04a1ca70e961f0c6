"""Protocol: how a log is ordered, cut and split; fields that all settings share."""

from typing import Any

import pydantic

from cprlab.config import Config
from cprlab.data.splits import SplitBy
from cprlab.data.ties import Ties


class Protocol(Config):
    """How a log becomes sequences; all settings that read logs have these fields.

    Attributes:
        max_len: maximum number of items that a model reads; 0 means 50, or the value of a prepared folder.
        split: how interactions are held out.
        ties: order of rows whose order is unknown, see `InteractionLog.from_frame`.
    """

    max_len: int = pydantic.Field(0, ge=0, lt=2**31)
    split: SplitBy = "leave-one-out"
    ties: Ties = "auto"

    @property
    def protocol(self) -> dict[str, Any]:
        """These fields only, as arguments of `load_sequences`."""
        return self.model_dump(include=set(Protocol.model_fields))
