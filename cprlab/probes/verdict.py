"""The verdict on a model, as parts of its loss and in words: does it copy as it should, and what would help?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit, xlogy
from sklearn.linear_model import LogisticRegression

from cprlab.evaluation import FEW_OF_A_KIND, estimate

MATTERS = 0.01  # nats per case; less is not worth a new head
HALF = 0.5
RULE = (
    "The wanted share of probability on the history is a calibrated forecast: a logistic regression of whether the "
    "target was in the history on the logit of the model's own copy probability (the observed share if fewer than "
    f"{FEW_OF_A_KIND} cases repeat, or fewer than {FEW_OF_A_KIND} do not). The loss relative to it is split by the "
    f"copy dial. There is no evidence of a failure if the 95% interval of this loss reaches below {MATTERS} nats per "
    "case. Otherwise the model copies too much or too little if the interval of its copy probability minus the share "
    "of repeats excludes 0, and copies the same whether users repeat or not if it does not. A context partition "
    f"(Softmax + C) is advised if the interval of the bottleneck is above {MATTERS} nats and such a partition, with a "
    "state no longer than the model's, leaves less than half of the bottleneck. If learning could remove more than "
    "the bottleneck, better training comes first. If nobody repeats, removing the history at inference is the cheaper "
    "remedy and comes before both. Nothing here is evidence for pointers, rerankers or multiple input hidden states; "
    "train them to find out."
)


def wanted_share(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) the share of probability that a calibrated forecast puts on the history (see `RULE`).

    Args:
        cases: from `copy_probability` or `evaluation.evaluate`.
    """
    repeat = cases["repeat"].to_numpy(bool)
    if min(repeat.sum(), (~repeat).sum()) < FEW_OF_A_KIND:
        return np.full(len(repeat), repeat.mean())
    tiny = np.finfo(np.float32).tiny
    predictor = logit(cases["copy_probability"].to_numpy(float).clip(tiny, 1 - 1e-12))[:, None]
    model = LogisticRegression(C=np.inf).fit(predictor, repeat)
    return model.predict_proba(predictor)[:, 1]


def loss_parts(cases: pd.DataFrame, wanted: np.ndarray, dial: pd.DataFrame | None, seed: int = 0) -> pd.DataFrame:
    """Split a model's loss on whether to copy into three parts, with 95% bootstrap intervals over cases.

    With wanted share α and copy probability P, the expected loss on whether the next item is in the history is
    H(α) + KL(α ‖ P), and KL(α ‖ P) = bottleneck + learning. The certificate is subtracted from the bottleneck, so only
    the proven part counts.

    Args:
        cases: from `copy_probability` or `evaluation.evaluate`.
        wanted: (m,) from `wanted_share`.
        dial: rows of `copy_dial` at `wanted`, one per case; None for a head that scores the history with a separate
            state, which has no bottleneck of this kind.
        seed: seed of the bootstrap.

    Returns:
        Rows `part, value, low, high, n`, in nats per case: "bottleneck" (no single state in the ball can remove it),
        "learning" (another state for the same item embeddings would remove it), "noise" (the entropy of repeating given
        the model's copy probability), "lost" (bottleneck + learning), "left by a context partition", and "copy excess"
        (copy probability minus share of repeats; not in nats). The interval is NaN for a single case, and if a value is
        infinite.
    """
    p = cases["copy_probability"].to_numpy(float).clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -xlogy(wanted, p) - xlogy(1 - wanted, 1 - p)
    noise = -xlogy(wanted, wanted) - xlogy(1 - wanted, 1 - wanted)
    lost, floor = np.maximum(cross - noise, 0), np.zeros(len(cases))
    if dial is not None:  # double precision; a single-precision P may round to 1
        lost = dial["stay"].to_numpy()
        floor = np.clip((dial["floor_ball"] - dial["certificate"]).to_numpy(), 0, lost)
    parts = {"bottleneck": floor, "learning": lost - floor, "noise": noise, "lost": lost}
    if dial is not None:
        parts["left by a context partition"] = np.minimum(dial["floor_context"].to_numpy(), lost)
    parts["copy excess"] = p - cases["repeat"].to_numpy(float)
    rows = []
    for part, values in parts.items():
        known = len(values) > 1 and np.isfinite(values).all()
        rows.append((part, *(estimate(values, seed) if known else (values.mean(), np.nan, np.nan, len(values)))))
    return pd.DataFrame(rows, columns=["part", "value", "low", "high", "n"])


@dataclass(frozen=True)
class Verdict:
    """Result of the rule (`RULE`).

    Attributes:
        failure: "copies too much", "copies too little", "copies the same whether users repeat or not", or "" for none.
        advice: what to do next, most promising first; empty without evidence.
        words: the verdict in a few sentences.
    """

    failure: str
    advice: tuple[str, ...]
    words: str


def judge(parts: pd.DataFrame, repeats: float, own_state: bool = False) -> Verdict:
    """Apply the rule (`RULE`) to `loss_parts`.

    Args:
        parts: from `loss_parts`.
        repeats: share of the cases whose target is in the history.
        own_state: whether the head already scores the history with a separate state.
    """
    of = parts.set_index("part")
    lost, excess = of.loc["lost"], of.loc["copy excess"]
    spent = (
        f"{excess.value + repeats:.1%} of its probability on the history, which contains {repeats:.1%} of the targets"
    )
    if not lost.low > MATTERS and np.isfinite(lost.value):
        words = f"No evidence of a failure: this model puts {spent}, and loses {_nats(lost)}."
        return Verdict("", (), words)
    if np.isinf(lost.value):
        words = f"This model copies too little: it puts {spent}, and gives some of these targets probability 0."
        return Verdict("copies too little", ("keep the history at inference",), words)
    failure = "copies the same whether users repeat or not"
    if excess.low > 0 or excess.high < 0:
        failure = "copies too much" if excess.value > 0 else "copies too little"
    bottleneck, learning = of.loc["bottleneck"], of.loc["learning"]
    words = f"This model {failure}: it puts {spent}. It loses {_nats(lost)}"
    advice = ["remove the history at inference"] if repeats == 0 else []
    if own_state:
        words += "; it scores the history with a separate state, so training could remove all of this."
        return Verdict(failure, (*advice, "better training"), words)
    share = bottleneck.value / lost.value
    left = of.loc["left by a context partition"]
    words += (
        f". With these item embeddings, training could remove {1 - share:.0%} of this; no single hidden state in "
        f"reach can remove the other {share:.0%} ({_nats(bottleneck)}). A context partition would leave "
        f"{left.value:.3f} nats."
    )
    if learning.value > bottleneck.value:
        advice.append("better training")
    if bottleneck.low > MATTERS and left.value < HALF * bottleneck.value:
        advice.append("a context partition (Softmax + C)")
    return Verdict(failure, tuple(advice), f"{words} Advice: {', then '.join(advice) or 'none'}.")


def _nats(part: pd.Series) -> str:
    bounds = "" if np.isnan(part.low) else f" [{part.low:.3f}, {part.high:.3f}]"
    return f"{part.value:.3f} nats per case{bounds}"
