"""The planted logs as a test of the probes: their results, and whether these agree with the plan."""

import numpy as np
import pandas as pd

from cprlab.data import Plan
from cprlab.models import Recommender
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, separable

NEAR = 0.001  # nats; tolerance of a gap


def probe_plan(plan: Plan, recommender: Recommender, cases: int = 50, seed: int = 0) -> pd.DataFrame:
    """Return the results of the probes on test cases of a plan.

    Args:
        plan: the log, the wanted probabilities and the true answers.
        recommender: a model trained on the log.
        cases: number of test cases, drawn at random.
        seed: seed of the draw.

    Returns:
        A row for each case: `planted` (the planted floor, nats), `gap_free` and `gap_ball` (as in `bottleneck_gap`,
        nats), `dial` and `dial_context` (as in `copy_dial` at the wanted copy share, nats: the loss of a single state
        and of a context partition), `separable` ("yes", "no" or "undecided": whether a single state ranks the most
        wanted items above all others), `blamed` (share of a "no" proof's β on the items that were planted to interfere;
        0 without a proof).
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
    """Return whether the probes are right, for each row of `probe_plan`: in gap, separability and blamed items."""
    planted = probes["planted"] > 0
    return (
        ((probes["gap_free"] - probes["planted"]).abs() < NEAR)
        & (probes["separable"] == np.where(planted, "no", "yes"))
        & ((probes["blamed"] - planted).abs() < NEAR)
    )
