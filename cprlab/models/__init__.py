"""Recommenders: an encoder that reads a history, and a head that turns its states into a distribution over items."""

from cprlab.models.encoders import EncoderConfig, GRU4Rec
from cprlab.models.heads import Head
from cprlab.models.names import HeadConfig, parse_head
from cprlab.models.partitions import Context
from cprlab.models.recommender import Recommender

__all__ = ["Context", "EncoderConfig", "GRU4Rec", "Head", "HeadConfig", "Recommender", "parse_head"]
