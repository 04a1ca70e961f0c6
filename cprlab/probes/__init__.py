"""Probes: does a trained softmax fail to copy or to exclude, where, by how much, and would a CPR head help?"""

from cprlab.probes.attribution import attribution, leave_one_out
from cprlab.probes.bottleneck import bottleneck_gap, copy_dial, copying_states, interference
from cprlab.probes.capacity import capacity, separable_share
from cprlab.probes.certificates import Certificate, argmaxable, copyable, separable
from cprlab.probes.cheapest import CHEAPEST, NOTHING, Cheapest, cheapest, retrofits
from cprlab.probes.copying import copy_probability, copy_scores
from cprlab.probes.foreign import from_recbole, from_rectools
from cprlab.probes.geometry import facet_distances, geometry, neighbourhood, space, spectra
from cprlab.probes.likelihood import PARTS, Part
from cprlab.probes.retrofit import Retrofit, retrofit
from cprlab.probes.snapshot import NO_STATES, HeldOut, Snapshot
from cprlab.probes.verdict import RULE, Verdict, judge, loss_parts, wanted_share
from cprlab.probes.width import FreeEmbedding, floor_by_width, free_embedding, loss_by_rank

__all__ = [
    "CHEAPEST",
    "NOTHING",
    "NO_STATES",
    "PARTS",
    "RULE",
    "Certificate",
    "Cheapest",
    "FreeEmbedding",
    "HeldOut",
    "Part",
    "Retrofit",
    "Snapshot",
    "Verdict",
    "argmaxable",
    "attribution",
    "bottleneck_gap",
    "capacity",
    "cheapest",
    "copy_dial",
    "copy_probability",
    "copy_scores",
    "copyable",
    "copying_states",
    "facet_distances",
    "floor_by_width",
    "free_embedding",
    "from_recbole",
    "from_rectools",
    "geometry",
    "interference",
    "judge",
    "leave_one_out",
    "loss_by_rank",
    "loss_parts",
    "neighbourhood",
    "retrofit",
    "retrofits",
    "separable",
    "separable_share",
    "space",
    "spectra",
    "wanted_share",
]
