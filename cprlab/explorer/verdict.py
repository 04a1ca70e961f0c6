"""The verdict on one case: what each head, and one hidden state at best, loses where it should copy or exclude.

All losses are divergences from the same wanted distributions (`Prediction.wanted`): all probability is on the history,
or none, and is divided as the model itself divides it. For a model as it was trained, this is −log P(history), or
−log(1 − P(history)).
"""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from cprlab.explorer.model import Model, Prediction
from cprlab.models.recommender import Codes
from cprlab.probes import NO_STATES, Certificate, bottleneck_gap, interference, separable

NAMED = 8  # interfering items
COLUMNS = (
    "model",
    "P(history)",
    "lost where it should copy",
    "least where it should copy",
    "lost where it should exclude",
    "least where it should exclude",
    "one state can copy all",
    "one state can exclude all",
)
IN_NATS = COLUMNS[2:6]


@dataclass(frozen=True)
class CaseVerdict:
    """What a single hidden state can do for a history, with a model's item embeddings.

    Attributes:
        least_copying: nats; no state in the ball has a smaller divergence from what is wanted where it should copy.
        least_excluding: the same where it should exclude.
        copying: whether a state can rank the history above all other items.
        excluding: whether a state can rank all other items above the history.
        interfering: codes of the items that score above the history's lowest item at the state in the ball that copies
            best, by this same divergence; strongest first.
        taken: their probabilities at this state.
    """

    least_copying: float
    least_excluding: float
    copying: Certificate
    excluding: Certificate
    interfering: tuple[int, ...]
    taken: tuple[float, ...]


def case_verdict(model: Model, case: int, history: Codes, own: Prediction) -> Generator[None, None, CaseVerdict]:
    """Compute the verdict on a case, yielding between its parts, and return it.

    Args:
        model: the model; some of its items are not in the history.
        case: index of the case.
        history: item codes, oldest first.
        own: the model's prediction, as it was trained.
    """
    one = model.edited(case, history, own.states["V"])
    wanted = own.wanted(copied=True)[None], own.wanted(copied=False)[None]
    gaps = [bottleneck_gap(one, p, model.radius).iloc[0] for p in wanted]
    copied, excluded = (max(0.0, float(gap["gap_ball"] - gap["certificate"])) for gap in gaps)
    yield
    interfering = interference(one, model.radius, wanted[0]).head(NAMED)
    yield
    copying = separable(one, one.distinct)[0]
    yield
    # A state that ranks the history lowest is the negative of one that ranks it highest with negated biases.
    mirrored = one if one.bias is None else replace(one, bias=-one.bias)
    excluding = separable(mirrored, one.distinct)[0]
    items, taken = tuple(interfering["item"].tolist()), tuple(interfering["takes"].tolist())
    return CaseVerdict(copied, excluded, copying, excluding, items, taken)


def losses(own: Prediction, prediction: Prediction) -> tuple[float, float]:
    """Return a prediction's divergences, in nats, from what is wanted where it should copy and where it should exclude.

    They are infinite if it gives a wanted item probability 0, or if no item is left to be wanted.

    Args:
        own: the model's prediction, as it was trained, which says what is wanted.
        prediction: of the same history, perhaps from a moved state or another head; it gives probabilities.
    """

    def loss(copied: bool) -> float:
        wanted = own.wanted(copied)
        kept = wanted > 0
        if not kept.any():
            return np.inf
        return max(0.0, float(wanted[kept] @ (np.log(wanted[kept]) - prediction.scores[kept])))

    return loss(True), loss(False)


def figures(
    model: Model, verdict: CaseVerdict | None, own: Prediction, prediction: Prediction
) -> dict[str, str | float | None]:
    """Return a model's row of the verdict's table, by `COLUMNS`: a share, nats, or None if there is no value."""
    known: dict[str, str | float | None] = dict.fromkeys(COLUMNS) | {"model": model.name}
    if not prediction.ordered:
        on, off = losses(own, prediction)
        known |= {
            "P(history)": prediction.copy,
            "lost where it should copy": on,
            "lost where it should exclude": off,
        }
    if verdict:
        known |= {
            "least where it should copy": verdict.least_copying,
            "least where it should exclude": verdict.least_excluding,
            "one state can copy all": verdict.copying.outcome,
            "one state can exclude all": verdict.excluding.outcome,
        }
    return known


def row(model: Model, verdict: CaseVerdict | None, own: Prediction, prediction: Prediction) -> list[str]:
    """Return `figures` in words; a dash if there is no value."""

    def words(name: str, value: str | float | None) -> str:
        if value is None or isinstance(value, str):
            return value or "–"
        return f"{value:.2f} nats" if name in IN_NATS else f"{value:.1%}"

    return [words(*one) for one in figures(model, verdict, own, prediction).items()]


def wanted_in_words(repeat: bool) -> str:
    """Return what is wanted of a prediction in words, by whether the next item is in the history."""
    if repeat:
        return (
            "The next item is in the history. So all probability is wanted there, and each model's own preferences "
            "among these items are kept."
        )
    return (
        "The next item is new. So no probability is wanted on the history, and each model's own preferences among the "
        "other items are kept."
    )


def sentence(model: Model, verdict: CaseVerdict | None, own: Prediction, prediction: Prediction, repeat: bool) -> str:
    """Return the verdict on a model in words; for a counting model, that it has no states, and its loss."""
    if verdict is None:
        no_states = NO_STATES.format(model.name)
        if prediction.ordered:
            return f"{no_states} It orders the items and gives no probabilities, so it has no loss."
        return f"{no_states} It loses {losses(own, prediction)[not repeat]:.2f} nats."
    size = len(prediction.history)
    says = {"yes": "one hidden state can", "no": "no hidden state can", "undecided": "it is undecided whether one can"}
    least = verdict.least_copying if repeat else verdict.least_excluding
    return (
        f"{model.name}: the head loses {losses(own, prediction)[not repeat]:.2f} nats, and the best single state in "
        f"reach would lose {least:.2f}; {says[verdict.copying.outcome]} rank "
        f"{f'all {size} items' if size > 1 else 'the item'} above everything else, {says[verdict.excluding.outcome]} "
        f"rank {'them' if size > 1 else 'it'} below."
    )
