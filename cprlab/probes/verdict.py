"""What the probes say of a model, in parts of its loss and in words: does it copy as it should, and what helps?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit, xlogy
from sklearn.linear_model import LogisticRegression

from cprlab.evaluation import FEW_OF_A_KIND, estimate

MATTERS = 0.01  # nats a case; less is not worth a new head
HALF = 0.5
RULE = (
    "The wanted share of probability on the history is what a calibrated forecast would say: a logistic regression of "
    "whether the target was in the history on the logit of the model's own copy probability (the observed share where "
    f"fewer than {FEW_OF_A_KIND} cases repeat, or fewer than {FEW_OF_A_KIND} do not). What is lost against it is split "
    "by the copy dial. "
    f"There is no evidence of a failure where the 95% interval of the loss reaches below {MATTERS} nats a case. "
    "Otherwise the model copies too much, or too little, where the interval of its copy probability less the share of "
    "repeats excludes 0, and alike whether users repeat or not where it does not. A context partition (Softmax + C) "
    f"is advised where the interval of the bottleneck lies above {MATTERS} nats and such a partition, its state no "
    "longer than the model's, leaves less than half of it. Where more could be learned than that, better training "
    "comes first. Where nobody repeats, removing the history at inference is the cheaper remedy, and is named before "
    "both. Nothing here is evidence for pointers, rerankers or multiple input hidden states; train them to find out."
)


def wanted_share(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) the share of probability that a calibrated forecast puts on the history (see `RULE`).

    Args:
        cases: of `copy_probability`, or of `evaluation.evaluate`.
    """
    repeat = cases["repeat"].to_numpy(bool)
    if min(repeat.sum(), (~repeat).sum()) < FEW_OF_A_KIND:
        return np.full(len(repeat), repeat.mean())
    tiny = np.finfo(np.float32).tiny
    predictor = logit(cases["copy_probability"].to_numpy(float).clip(tiny, 1 - 1e-12))[:, None]
    model = LogisticRegression(C=np.inf).fit(predictor, repeat)
    return model.predict_proba(predictor)[:, 1]


def loss_parts(cases: pd.DataFrame, wanted: np.ndarray, dial: pd.DataFrame | None, seed: int = 0) -> pd.DataFrame:
    """Return what a model loses on whether to copy, in three parts, with 95% bootstrap intervals over cases.

    With the wanted share α and the copy probability P the expected loss on whether the next item is in the history is
    H(α) + KL(α ‖ P), and KL(α ‖ P) is bottleneck + learning. A floor counts less its certificate: what is proven.

    Args:
        cases: of `copy_probability`, or of `evaluation.evaluate`.
        wanted: (m,) of `wanted_share`.
        dial: rows of `copy_dial` at `wanted`, one for each case; None for a head that scores the history by a state
            of its own, which has no bottleneck of this kind.
        seed: of the bootstrap.

    Returns:
        Rows `part, value, low, high, n`, in nats a case: "bottleneck" (no single state in the ball can remove it),
        "learning" (this model loses it, another state for the same item embeddings would not), "noise" (the entropy of
        repeating, as far as the model's copy probability foretells it), "lost" (bottleneck + learning), "left by a
        context partition", and "copy excess" (the copy probability less the share of repeats; no nats). The interval
        is NaN for a single case, and where a value is infinite.
    """
    p = cases["copy_probability"].to_numpy(float).clip(0, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -xlogy(wanted, p) - xlogy(1 - wanted, 1 - p)
    noise = -xlogy(wanted, wanted) - xlogy(1 - wanted, 1 - wanted)
    lost, floor = np.maximum(cross - noise, 0), np.zeros(len(cases))
    if dial is not None:  # in double precision, where a P of single precision may round to 1
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
    """What comes of the rule (`RULE`).

    Attributes:
        failure: "copies too much", "copies too little", "copies alike whether users repeat or not", or "" for none.
        advice: what to do next, most promising first; empty without evidence.
        words: all of it in a few sentences.
    """

    failure: str
    advice: tuple[str, ...]
    words: str


def judge(parts: pd.DataFrame, repeats: float, own_state: bool = False) -> Verdict:
    """Apply the rule (`RULE`) to `loss_parts`.

    Args:
        parts: of `loss_parts`.
        repeats: share of the cases whose target is in the history.
        own_state: the head scores the history by a state of its own already.
    """
    of = parts.set_index("part")
    lost, excess = of.loc["lost"], of.loc["copy excess"]
    spent = (
        f"{excess.value + repeats:.1%} of its probability on the history, and {repeats:.1%} of the targets are in it"
    )
    if not lost.low > MATTERS and np.isfinite(lost.value):
        words = f"No evidence of a failure: this model puts {spent}; it loses {_nats(lost)}."
        return Verdict("", (), words)
    if np.isinf(lost.value):
        words = f"This model copies too little: it puts {spent}, and gives some of these no probability at all."
        return Verdict("copies too little", ("leave the history in at inference",), words)
    failure = "copies alike whether users repeat or not"
    if excess.low > 0 or excess.high < 0:
        failure = "copies too much" if excess.value > 0 else "copies too little"
    bottleneck, learning = of.loc["bottleneck"], of.loc["learning"]
    words = f"This model {failure}: it puts {spent}. It loses {_nats(lost)}"
    advice = ["remove the history at inference"] if repeats == 0 else []
    if own_state:
        words += "; it scores the history by a state of its own, so all of that is to be learned."
        return Verdict(failure, (*advice, "better training"), words)
    share = bottleneck.value / lost.value
    left = of.loc["left by a context partition"]
    words += (
        f"; {1 - share:.0%} of that could be learned away with these item embeddings, {share:.0%} no single hidden "
        f"state in reach can remove ({_nats(bottleneck)}); a context partition would leave {left.value:.3f} nats."
    )
    if learning.value > bottleneck.value:
        advice.append("better training")
    if bottleneck.low > MATTERS and left.value < HALF * bottleneck.value:
        advice.append("a context partition (Softmax + C)")
    return Verdict(failure, tuple(advice), f"{words} Advice: {', then '.join(advice) or 'none'}.")


def _nats(part: pd.Series) -> str:
    bounds = "" if np.isnan(part.low) else f" [{part.low:.3f}, {part.high:.3f}]"
    return f"{part.value:.3f} nats a case{bounds}"
