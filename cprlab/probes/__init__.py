"""Probes: does a trained softmax fail to copy or to exclude, where, by how much, and would a CPR head pay?"""

from cprlab.probes.attribution import attribution, leave_one_out
from cprlab.probes.copying import copy_probability, copy_scores
from cprlab.probes.geometry import facet_distances, geometry, neighbourhood, space, spectra
from cprlab.probes.snapshot import Snapshot

__all__ = [
    "Snapshot",
    "attribution",
    "copy_probability",
    "copy_scores",
    "facet_distances",
    "geometry",
    "leave_one_out",
    "neighbourhood",
    "space",
    "spectra",
]
