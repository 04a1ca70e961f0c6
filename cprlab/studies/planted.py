"""The planted logs as a test of the probes: what these say beside what was planted, and the verdict in words."""

import numpy as np
import pandas as pd

from cprlab.data import Plan
from cprlab.models import Recommender
from cprlab.probes import Snapshot, bottleneck_gap, copy_dial, separable

NEAR = 0.001  # nats within which a gap is the one that was planted
CLOSED = 0.01  # of the best loss, within which a head has come to it


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


def planted_answer(losses: pd.DataFrame, probes: pd.DataFrame) -> str:
    """Return Markdown: whether the probes found what was planted, and how near each head came to the best loss.

    Args:
        losses: of `training.planted_losses`, for several plans and heads, with the columns `plan` and `head`; the last
            head is the one that is to close the bottleneck.
        probes: of `probe_plan`, for several plans, with the column `plan`.
    """
    planted = probes["planted"] > 0
    right = (
        ((probes["gap_free"] - probes["planted"]).abs() < NEAR)
        & (probes["separable"] == np.where(planted, "no", "yes"))
        & ((probes["blamed"] - planted).abs() < NEAR)
    )
    lines = [
        f"- **Probes.** On {right.sum():,} of {len(right):,} histories they found what was planted. Where a bottleneck "
        f"was planted ({planted.sum():,} histories), the gap is {probes.loc[planted, 'gap_free'].mean():.3f} nats "
        f"(planted: {probes.loc[planted, 'planted'].mean():.3f}); elsewhere it is "
        f"{probes.loc[~planted, 'gap_free'].mean():.3f}."
    ]
    closed = []
    for plan, of_plan in losses.groupby("plan", sort=False):
        mean = of_plan.groupby("head", sort=False)[["best", "floor", "loss"]].mean()
        floor, above = (mean["floor"] / mean["best"]).iloc[0], mean["loss"] / mean["best"] - 1
        limit = f"misses the best loss by {floor:.1%} or more" if floor else "can have the best loss"
        ends = "; ".join(f"{head} ends {share:.1%} above it" for head, share in above.items())
        lines.append(f"- **{plan}.** A single state {limit}. {ends}.")
        closed += [above.iloc[-1] < CLOSED] * bool(floor)
    found = (
        "The probes find the bottleneck where it was planted, and none elsewhere"
        if right.all()
        else (f"The probes are wrong on {(~right).sum():,} of {len(right):,} histories")
    )
    closes = "comes within" if all(closed) else "does not always come within"
    lines += ["", f"{found}; {losses['head'].iloc[-1]} {closes} {CLOSED:.0%} of the best loss where one was planted."]
    return "\n".join(lines)
