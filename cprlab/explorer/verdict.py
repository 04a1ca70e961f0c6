"""The verdict on one case: whether one hidden state can copy or exclude the history, and what each head loses."""

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from cprlab.explorer.model import Model, Prediction
from cprlab.models.recommender import Codes
from cprlab.probes import NO_STATES, Certificate, copy_dial, interference, separable

NAMED = 8  # interfering items
COLUMNS = (
    "model",
    "one state can copy all",
    "one state can exclude all",
    "P(history)",
    "lost where it should copy",
    "least where it should copy",
    "lost where it should exclude",
    "least where it should exclude",
)


@dataclass(frozen=True)
class CaseVerdict:
    """What a single hidden state can do for a history, with a model's item embeddings.

    Attributes:
        copying: whether a state can rank the history above all other items.
        excluding: whether a state can rank all other items above the history.
        least_copying: loss, in nats, of the best state in the ball if all probability is wanted on the history.
        least_excluding: loss, in nats, of the best state in the ball if no probability is wanted on the history.
        interfering: codes of the items that score above the history's lowest item at the state that copies best,
            strongest first.
    """

    copying: Certificate
    excluding: Certificate
    least_copying: float
    least_excluding: float
    interfering: tuple[int, ...]


def case_verdict(model: Model, case: int, history: Codes, state: np.ndarray) -> Generator[None, None, CaseVerdict]:
    """Compute the verdict on a case, yielding between its parts, and return it.

    Args:
        model: the model; some of its items are not in the history.
        case: index of the case.
        history: item codes, oldest first.
        state: (d,) the model's hidden state for the history.
    """
    one = model.edited(case, history, state)
    copying = separable(one, one.distinct)[0]
    yield
    # A state that ranks the history lowest is the negative of one that ranks it highest with negated biases.
    mirrored = one if one.bias is None else replace(one, bias=-one.bias)
    excluding = separable(mirrored, one.distinct)[0]
    yield
    interfering = interference(one, radius=model.radius)["item"]
    yield
    dial = copy_dial(one, (1, 0), radius=model.radius)
    copied, excluded = dial["floor_ball"].tolist()
    return CaseVerdict(copying, excluding, copied, excluded, tuple(interfering.tolist()[:NAMED]))


def losses(prediction: Prediction) -> tuple[float, float]:
    """Return −log P and −log(1 − P), in nats, of the copy probability P; infinite if a head is certain and wrong.

    The head must give probabilities.
    """
    others = np.delete(prediction.scores, prediction.history)
    with np.errstate(divide="ignore"):
        copied, rest = prediction.copy, np.exp(others).sum()
        return max(0.0, -float(np.log(copied))), max(0.0, -float(np.log(rest)))


def row(model: Model, verdict: CaseVerdict | None, prediction: Prediction) -> list[str]:
    """Return a model's row of the verdict's table, in the order of `COLUMNS`; a dash if there is no value."""
    known = dict.fromkeys(COLUMNS, "–") | {"model": model.name}
    if verdict:
        known |= {
            "one state can copy all": verdict.copying.outcome,
            "one state can exclude all": verdict.excluding.outcome,
            "least where it should copy": f"{verdict.least_copying:.2f} nats",
            "least where it should exclude": f"{verdict.least_excluding:.2f} nats",
        }
    if not prediction.ordered:
        on, off = losses(prediction)
        known |= {
            "P(history)": f"{prediction.copy:.1%}",
            "lost where it should copy": f"{on:.2f} nats",
            "lost where it should exclude": f"{off:.2f} nats",
        }
    return list(known.values())


def sentence(model: Model, verdict: CaseVerdict | None, prediction: Prediction, repeat: bool) -> str:
    """Return the verdict on a model in words; for a counting model, that it has no states, and its loss."""
    if verdict is None:
        no_states = NO_STATES.format(model.name)
        if prediction.ordered:
            return f"{no_states} It orders the items and gives no probabilities, so it has no loss."
        loss = losses(prediction)[not repeat]
        return f"{no_states} It loses {loss:.2f} nats on whether the next item is in the history."
    size = len(prediction.history)
    says = {"yes": "one hidden state can", "no": "no hidden state can", "undecided": "it is undecided whether one can"}
    lost = losses(prediction)[not repeat]
    least = verdict.least_copying if repeat else verdict.least_excluding
    return (
        f"{model.name}: {says[verdict.copying.outcome]} rank {f'all {size} items' if size > 1 else 'the item'} above "
        f"everything else, {says[verdict.excluding.outcome]} rank {'them' if size > 1 else 'it'} below. The next item "
        f"is {'in the history' if repeat else 'new'}: the head loses {lost:.2f} nats on that, the best single state "
        f"would lose {least:.2f}."
    )
