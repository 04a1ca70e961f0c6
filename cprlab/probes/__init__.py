"""Probes: does a trained softmax fail to copy or to exclude, where, by how much, and would a CPR head pay?"""

from cprlab.probes.copying import copy_probability, copy_scores
from cprlab.probes.snapshot import Snapshot

__all__ = ["Snapshot", "copy_probability", "copy_scores"]
