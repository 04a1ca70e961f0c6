"""Probes: does a trained softmax fail to copy or to exclude, where, by how much, and would a CPR head pay?"""

from cprlab.probes.attribution import attribution, leave_one_out
from cprlab.probes.bottleneck import bottleneck_gap, copy_dial, interference
from cprlab.probes.capacity import capacity, separable_share
from cprlab.probes.certificates import Certificate, copyable, separable
from cprlab.probes.copying import copy_probability, copy_scores
from cprlab.probes.geometry import facet_distances, geometry, neighbourhood, space, spectra
from cprlab.probes.snapshot import Snapshot

__all__ = [
    "Certificate",
    "Snapshot",
    "attribution",
    "bottleneck_gap",
    "capacity",
    "copy_dial",
    "copy_probability",
    "copy_scores",
    "copyable",
    "facet_distances",
    "geometry",
    "interference",
    "leave_one_out",
    "neighbourhood",
    "separable",
    "separable_share",
    "space",
    "spectra",
]
