"""The verdict on one case: what each head, and one hidden state at best, loses where it should copy or exclude.

All losses are divergences from the same wanted distributions (`Prediction.wanted`): all probability is on the history,
or none, and is divided as the model itself divides it. For a model as it was trained, this is −log P(history), or
−log(1 − P(history)).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np

from cprlab.explorer.model import Model, Prediction
from cprlab.models import HeadConfig
from cprlab.models.recommender import Codes
from cprlab.probes import NO_STATES, Certificate, bottleneck_gap, interference, separable

NAMED = 8  # interfering items
NEARLY = 0.95  # a probability above which a state is said to do what is wanted
CERTAIN = 1e-5  # of a probability; certificates of least losses are smaller
REMEDIES = {  # by field of `SoftmaxConfig`, the most important first
    "context": "the history has a state of its own",
    "frequency": "the history's items gain by how often and how recently they were consumed",
    "shift": "one learned number is added to the logits of the history's items",
}
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


def given(prediction: Prediction, head: HeadConfig, target: int, k: int) -> str:
    """Return what a model gives the history and the next item, as a sentence without its subject, the model.

    Args:
        prediction: the model's.
        head: its head.
        target: code of the next item.
        k: number of items that count as found.
    """
    size, rank = len(prediction.history), int(prediction.ranks([target])[0])
    items = f"these {size} different items" if size > 1 else "the one item of the history"
    one_of = "one of them" if size > 1 else "the same"
    following = f"the next item, {one_of if target in prediction.history else 'which is new'}"
    found = f"has {following}, in its top {k}, at rank {rank}" if rank <= k else f"misses {following}, at rank {rank:,}"
    if prediction.ordered:
        return f"gives no probabilities and {found}."
    if head.post:
        return f"rules {items} out and {found}."
    remedy = next((words for field, words in REMEDIES.items() if getattr(head, field, False)), "")
    return f"gives {items} {prediction.copy:.1%} and {found}.{remedy and f' Here {remedy}.'}"


def possible(model: Model, verdict: CaseVerdict, own: Prediction, repeat: bool) -> str:
    """Return what a single state could do for the history in words, which bounds keep true when rounded.

    A state's divergence is at least −log of the probability that it gives to what is wanted, and is just this if it
    keeps the wanted proportions. So exp(−least) is the most that a state in the ball gives in these proportions, and
    the best state gives no less.

    Args:
        model: the model.
        verdict: on the history.
        own: the model's prediction, as it was trained.
        repeat: whether the next item is in the history, so that copying is wanted, or else excluding.
    """
    wanted = own.history if repeat else np.setdiff1d(np.arange(len(own.scores)), own.history)
    them, all_of = ("them", "all of them") if len(own.history) > 1 else ("it", "it")
    proportions = "the trained model's" if np.isfinite(own.scores[wanted]).any() else "equal"
    if repeat:
        most, among, where, outcome = np.exp(-verdict.least_copying), "", "above", verdict.copying.outcome
        none = f"gives {them} more than {_rounded(most, np.ceil)}"
        one = f"gives {them} {_rounded(most - CERTAIN, np.floor)} or more"
        bound = most < NEARLY
    else:
        least, among = -np.expm1(-verdict.least_excluding), " among the others"
        where, outcome = "below", verdict.excluding.outcome
        none = f"leaves {them} less than {_rounded(least - CERTAIN, np.floor)}"
        one = f"leaves {them} {_rounded(least + CERTAIN, np.ceil)} or less"
        bound = least > 1 - NEARLY
    if bound:
        words = f"No single state in reach {none} in {proportions} proportions{among}"
    else:
        words = f"The best single state in reach {one}, nearly in {proportions} proportions{among}"
    ranked = f"rank {all_of} {where} everything else"
    words += {
        "yes": f"{'; but' if bound else ', and'} one can {ranked}.",
        "no": f"{', and' if bound else '; but'} none of any length can {ranked}.",
        "undecided": f"; it is undecided whether one can {ranked}.",
    }[outcome]
    beyond = np.linalg.norm(own.states["V"]) > model.radius
    return words + " The model's own state is beyond this reach." * bool(beyond)


def _rounded(share: float, towards: Callable[[float], float]) -> str:
    return f"{max(0.0, min(1.0, towards(1000 * share) / 1000)):.1%}"


def sentence(
    model: Model,
    verdict: CaseVerdict | None,
    own: Prediction,
    prediction: Prediction,
    head: HeadConfig,
    target: int,
    k: int,
) -> str:
    """Return the verdict on a model in words, `given` and `possible`; of one without states, that it has none."""
    repeat = target in prediction.history
    rest = possible(model, verdict, own, repeat) if verdict else NO_STATES.format("It")
    return f"{model.name} {given(prediction, head, target, k)} {rest}"
