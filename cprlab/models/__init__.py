"""Recommenders: an encoder reads a history, and a head turns its states into a distribution over items."""

from cprlab.models.ablation import ablated, extended
from cprlab.models.encoders import EncoderConfig, GRU4RecConfig, MFConfig, SASRecConfig
from cprlab.models.heads import Head
from cprlab.models.names import CountingConfig, HeadConfig, RepeatNetConfig, parse_head
from cprlab.models.partitions import Context, Outputs
from cprlab.models.parts import PARTS, Part, SoftmaxConfig
from cprlab.models.recommender import Parts, Recommender

__all__ = [
    "PARTS",
    "Context",
    "CountingConfig",
    "EncoderConfig",
    "GRU4RecConfig",
    "Head",
    "HeadConfig",
    "MFConfig",
    "Outputs",
    "Part",
    "Parts",
    "Recommender",
    "RepeatNetConfig",
    "SASRecConfig",
    "SoftmaxConfig",
    "ablated",
    "extended",
    "parse_head",
]
