"""The planted logs as a test of the probes: their results, and whether these agree with the plan."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import softmax

from cprlab.data import Plan, cyclic_polytope
from cprlab.models import Recommender
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, copying_states, separable

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


def probe_cyclic(n: int, d: int, norms: Sequence[float] = (10, 100, 1000)) -> pd.DataFrame:
    """Return what single states can copy of items on the moment curve (`data.cyclic_polytope`).

    Args:
        n: number of items.
        d: width of the embeddings and the states.
        norms: largest norms of the states.

    Returns:
        A row for every set of 1 to d / 2 + 1 items, but for rotations: one of them is item 0. `size`, `runs` (number of
        runs of neighbours on the circle), `separable` ("yes", "no" or "undecided": whether a single state ranks the set
        above all others), `margin` (as in `Certificate`) and, for each norm, `norm …`: the probability of the set at
        the state, no longer than that, which copies it best uniformly.

    Raises:
        ConfigError: d is not an even number from 2 to n − 1.
    """
    embeddings = cyclic_polytope(n, d)
    sets = [np.array((0, *rest)) for size in range(d // 2 + 1) for rest in combinations(range(1, n), size)]
    snapshot = Snapshot(embeddings, np.zeros((len(sets), d)), sets, np.zeros(len(sets), int))
    inside = np.zeros((len(sets), n), dtype=bool)
    for row, items in zip(inside, sets, strict=True):
        row[items] = True
    certificates = separable(snapshot, sets)
    return pd.DataFrame(
        {
            "size": inside.sum(1),
            "runs": (inside & ~np.roll(inside, 1, axis=1)).sum(1),
            "separable": [certificate.outcome for certificate in certificates],
            "margin": [certificate.margin for certificate in certificates],
        }
        | {
            f"norm {norm:g}": (softmax(copying_states(snapshot, norm) @ embeddings.T, axis=1) * inside).sum(1)
            for norm in norms
        }
    )
