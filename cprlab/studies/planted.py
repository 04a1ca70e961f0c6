"""The planted logs as a test of the probes: what these say beside what was planted, and whether that is right."""

import numpy as np
import pandas as pd

from cprlab.data import Plan
from cprlab.models import Recommender
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, separable

NEAR = 0.001  # nats within which a gap is the one that was planted


def probe_plan(plan: Plan, recommender: Recommender, cases: int = 50, seed: int = 0) -> pd.DataFrame:
    """Return what the probes find on test cases of a plan.

    Args:
        plan: the log, the wanted probabilities and the truth.
        recommender: trained on it.
        cases: how many of the test cases are probed, drawn at random.
        seed: of the draw.

    Returns:
        A row a case: `planted` (the floor, nats), `gap_free` and `gap_ball` (of `bottleneck_gap`, nats), `dial` and
        `dial_context` (of `copy_dial` at the wanted copy share, nats: what a single state and a context partition
        lose), `separable` ("yes", "no" or "undecided": a single state ranks the most wanted items above all others),
        and `blamed` (share of a "no"'s proof, its β, on the items that were planted to interfere; 0 without one).
    """
    snapshot = Snapshot.from_sequences(recommender, plan.sequences()).sample(cases, seed)
    wanted, interfering = plan.wanted(snapshot.histories), plan.interfering(snapshot.histories)
    share = [p[history].sum() for p, history in zip(wanted, snapshot.distinct, strict=True)]
    gaps = bottleneck_gap(snapshot, wanted)
    dial = copy_dial(snapshot, [np.array(share)])
    certificates = separable(snapshot, [np.flatnonzero(p == p.max()) for p in wanted])
    return pd.DataFrame(
        {
            "planted": plan.floor(snapshot.histories),
            "gap_free": gaps["gap_free"],
            "gap_ball": gaps["gap_ball"],
            "dial": dial["floor_free"],
            "dial_context": dial["floor_context"],
            "separable": [certificate.outcome for certificate in certificates],
            "blamed": [
                sum(weight for item, weight in (certificate.below or {}).items() if lifted[item])
                for certificate, lifted in zip(certificates, interfering, strict=True)
            ],
        }
    )


def right(probes: pd.DataFrame) -> pd.Series:
    """Return for each row of `probe_plan` whether the probes found what was planted, and blamed what was."""
    planted = probes["planted"] > 0
    return (
        ((probes["gap_free"] - probes["planted"]).abs() < NEAR)
        & (probes["separable"] == np.where(planted, "no", "yes"))
        & ((probes["blamed"] - planted).abs() < NEAR)
    )
