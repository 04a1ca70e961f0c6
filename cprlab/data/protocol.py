"""Protocol: in which order a log is read, how much of it, and what is held out; fields that all settings share."""

from typing import Any

import pydantic

from cprlab.config import Config
from cprlab.data.splits import SplitBy
from cprlab.data.ties import Ties


class Protocol(Config):
    """How a log becomes sequences; the settings of whatever reads logs have these fields.

    Attributes:
        max_len: how many items a model reads at the most; 0 stands for 50, or for what a folder was prepared with.
        split: how interactions are held out.
        ties: in which order rows are whose order is not known, see `InteractionLog.from_frame`.
    """

    max_len: int = pydantic.Field(0, ge=0, lt=2**31)
    split: SplitBy = "leave-one-out"
    ties: Ties = "auto"

    @property
    def protocol(self) -> dict[str, Any]:
        """These fields alone, as `load_sequences` takes them."""
        return self.model_dump(include=set(Protocol.model_fields))
