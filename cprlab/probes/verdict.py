"""The verdict on a model, as parts of its loss and in words: does it copy as it should, and what would help?"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logit, xlogy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cprlab.evaluation import FEW_OF_A_KIND, estimate

MATTERS = 0.01  # nats per case; less is not worth a new head
HALF = 0.5
STEEPEST = 300  # a bias in nats that moves any probability of single precision to the other end
RULE = (
    "The wanted share of probability on the history is a calibrated forecast: a logistic regression of whether the "
    "target was in the history on the logit of the model's own copy probability (the observed share if fewer than "
    f"{FEW_OF_A_KIND} cases repeat, or fewer than {FEW_OF_A_KIND} do not). What is wanted has this share on the "
    "history, and keeps the model's own preferences among the history's items and among the others. The loss is the "
    "divergence from it, for the model as for any other state, and is split by the copy dial. There is no evidence of "
    f"a failure if the 95% interval of this loss reaches below {MATTERS} nats per case. Otherwise the model copies too "
    "much or too little if the interval of its copy probability minus the share of repeats excludes 0; if it does not, "
    "it is not shown which of them. The advice names the cheapest remedy first. If "
    "nobody repeats, that is to remove the history at inference. If users repeat, it is one bias on the history's "
    "items (Softmax + B) if the best one would leave less than half of the loss; and counts and ages (Softmax + F) if "
    f"one bias would leave more than {MATTERS} nats, or more than half. Then comes a context partition (Softmax + C), "
    f"if the interval of the bottleneck is above {MATTERS} nats and such a partition, with a state no longer than the "
    "model's, leaves less than half of the bottleneck; and better training, if learning could remove more than the "
    "bottleneck. Nothing here is evidence for pointers, rerankers or multiple input hidden states; train them to find "
    "out."
)


def wanted_share(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) the share of probability that a calibrated forecast puts on the history (see `RULE`).

    Args:
        cases: from `copy_probability` or `evaluation.evaluate`.
    """
    repeat = cases["repeat"].to_numpy(bool)
    if min(repeat.sum(), (~repeat).sum()) < FEW_OF_A_KIND:
        return np.full(len(repeat), repeat.mean())
    predictor = _logits(cases)[:, None]
    model = LogisticRegression(C=np.inf).fit(predictor, repeat)
    return model.predict_proba(predictor)[:, 1]


def loss_parts(cases: pd.DataFrame, wanted: np.ndarray, dial: pd.DataFrame | None, seed: int = 0) -> pd.DataFrame:
    """Split a model's loss on whether to copy into three parts, with 95% bootstrap intervals over cases.

    With wanted share α and copy probability P, the expected loss on whether the next item is in the history is
    H(α) + KL(α ‖ P). KL(α ‖ P) is the divergence of the model from α p_C + (1 − α) p_V, where p_C and p_V are its own
    preferences (see `copy_dial`). No single state in the ball has a smaller one than the bottleneck; the rest is
    learning. The certificate is subtracted from the bottleneck, so only the proven part counts.

    Args:
        cases: from `copy_probability` or `evaluation.evaluate`.
        wanted: (m,) from `wanted_share`.
        dial: rows of `copy_dial` at `wanted`, one per case; None for a head that scores the history with a separate
            state, which has no bottleneck of this kind.
        seed: seed of the bootstrap.

    Returns:
        Rows `part, value, low, high, n`, in nats per case: "bottleneck" (no single state in the ball can remove it and
        keep the model's own preferences), "learning" (another state for the same item embeddings would remove it),
        "noise" (the entropy of repeating given the model's copy probability), "lost" (bottleneck + learning), "left by
        one bias" (of what is lost, after the best constant is added to the logits of all histories), "left by a context
        partition"; and, not in nats, "copy excess" (copy probability minus share of repeats), "copy probability of
        repeats", "copy probability of new items" and "AUC" (the chance that the first is higher than the second for a
        repeat and a new item drawn at random), where there are both. The interval is NaN for a single case, for the
        AUC, and if a value is infinite.
    """
    p, repeat = cases["copy_probability"].to_numpy(float).clip(0, 1), cases["repeat"].to_numpy(bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = -xlogy(wanted, p) - xlogy(1 - wanted, 1 - p)
    noise = -xlogy(wanted, wanted) - xlogy(1 - wanted, 1 - wanted)
    lost, floor = np.maximum(cross - noise, 0), np.zeros(len(cases))
    if dial is not None:  # double precision; a single-precision P may round to 1
        lost = dial["stay"].to_numpy()
        floor = np.clip((dial["floor_ball"] - dial["certificate"]).to_numpy(), 0, lost)
    parts = {"bottleneck": floor, "learning": lost - floor, "noise": noise, "lost": lost}
    if dial is not None:
        parts["left by one bias"] = _left_by_bias(_logits(cases), wanted) - noise
        parts["left by a context partition"] = np.minimum(dial["floor_context"].to_numpy(), lost)
    parts["copy excess"] = p - repeat
    if 0 < repeat.sum() < len(repeat):
        parts |= {"copy probability of repeats": p[repeat], "copy probability of new items": p[~repeat]}
    rows = []
    for part, values in parts.items():
        known = len(values) > 1 and np.isfinite(values).all()
        rows.append((part, *(estimate(values, seed) if known else (values.mean(), np.nan, np.nan, len(values)))))
    if 0 < repeat.sum() < len(repeat):
        rows.append(("AUC", roc_auc_score(repeat, p), np.nan, np.nan, len(cases)))
    return pd.DataFrame(rows, columns=["part", "value", "low", "high", "n"])


def _logits(cases: pd.DataFrame) -> np.ndarray:
    """Return (m,) the finite logits of the copy probabilities."""
    return logit(cases["copy_probability"].to_numpy(float).clip(np.finfo(np.float32).tiny, 1 - 1e-12))


def _left_by_bias(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return (m,) the cross-entropies of α and σ(logit P + b), with the b of the least mean."""
    mean = wanted.mean()
    if mean in (0, 1):
        return np.zeros(len(wanted))
    moved = logits + brentq(lambda bias: expit(logits + bias).mean() - mean, -STEEPEST, STEEPEST)
    return -wanted * log_expit(moved) - (1 - wanted) * log_expit(-moved)


@dataclass(frozen=True)
class Verdict:
    """Result of the rule (`RULE`).

    Attributes:
        failure: "copies too much", "copies too little", "copies too much or too little, it is not shown which", or ""
            for none.
        advice: what to do, the cheapest first; empty without evidence.
        words: the verdict in a few sentences.
    """

    failure: str
    advice: tuple[str, ...]
    words: str


def judge(parts: pd.DataFrame, repeats: float, own_state: bool = False, behind: str = "") -> Verdict:
    """Apply the rule (`RULE`) to `loss_parts`.

    Args:
        parts: from `loss_parts`.
        repeats: share of the cases whose target is in the history.
        own_state: whether the head already scores the history with a separate state.
        behind: a sentence that comes first, if the model ranks worse than one that only counts.
    """
    of = parts.set_index("part")
    lost, excess = of.loc["lost"], of.loc["copy excess"]
    opening = f"{behind} " if behind else ""
    spent = (
        f"{excess.value + repeats:.1%} of its probability on the history, which contains {repeats:.1%} of the targets"
    )
    if not lost.low > MATTERS and np.isfinite(lost.value):
        words = f"No evidence that this model copies too much or too little: it puts {spent}.{_when(of['value'])} It "
        words += f"loses {_nats(lost)}."
        return Verdict("", (), opening + words)
    if np.isinf(lost.value):
        words = f"This model copies too little: it puts {spent}, and gives some of these targets probability 0."
        return Verdict("copies too little", ("keep the history at inference",), opening + words)
    failure = "copies too much or too little, it is not shown which"
    if excess.low > 0 or excess.high < 0:
        failure = "copies too much" if excess.value > 0 else "copies too little"
    bottleneck, learning = of.loc["bottleneck"], of.loc["learning"]
    words = f"{opening}This model {failure}: it puts {spent}.{_when(of['value'])} It loses {_nats(lost)}"
    advice = ["remove the history at inference"] if repeats == 0 else []
    if own_state:
        words += "; it scores the history with a separate state, so training could remove all of this."
        return Verdict(failure, (*advice, "better training"), words)
    share = bottleneck.value / lost.value
    bias, context = of.loc["left by one bias"].value, of.loc["left by a context partition"].value
    words += (
        f". With these item embeddings, training could remove {1 - share:.0%} of this; no single hidden state in "
        f"reach can remove the other {share:.0%} ({_nats(bottleneck)}) and keep the model's own preferences among the "
        f"history's items and among the others. One bias on the history's items would leave {bias:.3f} nats, a context "
        f"partition at most {context:.3f}."
    )
    if repeats > 0:
        enough = bias < HALF * lost.value
        if enough:
            advice.append("one bias on the history's items (Softmax + B)")
        if bias > MATTERS or not enough:
            advice.append("counts and ages (Softmax + F)")
    if bottleneck.low > MATTERS and context < HALF * bottleneck.value:
        advice.append("a context partition (Softmax + C)")
    if learning.value > bottleneck.value:
        advice.append("better training")
    return Verdict(failure, tuple(advice), f"{words} Advice: {', then '.join(advice) or 'none'}.")


def _when(values: pd.Series) -> str:
    """Return a sentence on whether the model knows when to copy; "" if all cases are of one kind."""
    if "AUC" not in values:
        return ""
    repeats, new = values["copy probability of repeats"], values["copy probability of new items"]
    return (
        f" Where the target is in the history this is {repeats:.1%}, where it is new {new:.1%}; the AUC is "
        f"{values['AUC']:.3f}, where 0.5 is chance and 1 is perfect."
    )


def _nats(part: pd.Series) -> str:
    bounds = "" if np.isnan(part.low) else f" [{part.low:.3f}, {part.high:.3f}]"
    return f"{part.value:.3f} nats per case{bounds}"
