"""Probes: does a trained softmax fail to copy or to exclude, where, by how much, and would a CPR head pay?"""

from cprlab.probes.bottleneck import bottleneck_gap, copy_dial, interference
from cprlab.probes.capacity import capacity, separable_share
from cprlab.probes.certificates import Certificate, copyable, separable
from cprlab.probes.copying import copy_probability, copy_scores
from cprlab.probes.snapshot import Snapshot

__all__ = [
    "Certificate",
    "Snapshot",
    "bottleneck_gap",
    "capacity",
    "copy_dial",
    "copy_probability",
    "copy_scores",
    "copyable",
    "interference",
    "separable",
    "separable_share",
]
