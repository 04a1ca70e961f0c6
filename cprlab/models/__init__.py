"""Recommenders: an encoder that reads a history, and a head that turns its states into a distribution over items."""

from cprlab.models.ablation import ablated
from cprlab.models.encoders import EncoderConfig, GRU4RecConfig, MFConfig, SASRecConfig
from cprlab.models.heads import Head
from cprlab.models.names import HeadConfig, parse_head
from cprlab.models.partitions import Context, Outputs
from cprlab.models.recommender import Parts, Recommender

__all__ = [
    "Context",
    "EncoderConfig",
    "GRU4RecConfig",
    "Head",
    "HeadConfig",
    "MFConfig",
    "Outputs",
    "Parts",
    "Recommender",
    "SASRecConfig",
    "ablated",
    "parse_head",
]
