"""Examples: real cases where one head copies wrongly or fails to copy and another does not, chosen by a rule."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cprlab.data import Sequences
from cprlab.evaluation.cases import TOP
from cprlab.models import Recommender

RULE = (
    f"A case qualifies if one of the first two heads has the true next item in its top {TOP} and the other does not. "
    "The head that misses it fails to copy if the item is in the history and this head puts less probability on the "
    "history than the other. It copies wrongly if the item is new and this head puts more probability on the history. "
    "For each kind and head, the cases whose copy probabilities differ most come first."
)


@dataclass(frozen=True)
class Example:
    """A test case on which two heads disagree.

    Attributes:
        kind: "fails to copy" or "copies wrongly": what the head `wrong` does.
        wrong: name of this head.
        right: name of the other head.
        user: the user's own id.
        history: (L,) codes of the items read, oldest first.
        target: code of the true next item.
        log_probs: (n,) log-probabilities of all items, by head.
    """

    kind: str
    wrong: str
    right: str
    user: str
    history: np.ndarray
    target: int
    log_probs: dict[str, np.ndarray]


def choose_examples(
    recommenders: dict[str, Recommender], cases: dict[str, pd.DataFrame], sequences: Sequences, each: int = 3
) -> list[Example]:
    """Apply the rule (`RULE`) to the first two heads.

    Args:
        recommenders: recommenders by head.
        cases: results of `evaluate` on the test split, by head.
        sequences: the log.
        each: maximum number of examples of each kind for each head.
    """
    heads = list(recommenders)[:2]
    windows = sequences.windows("test")
    examples = []
    for kind, wrong, right, place in disagreements({head: cases[head] for head in heads}, each):
        case = cases[wrong].iloc[place]
        window = np.searchsorted(windows.user, case["user"])
        history = sequences.items[windows.start[window] : windows.stop[window]]
        scores = {head: recommenders[head].log_probs([history], users=[case["user"]])[0] for head in heads}
        user = str(sequences.user_ids[case["user"]])
        examples.append(Example(kind, wrong, right, user, history, case["target"], scores))
    return examples


def disagreements(cases: dict[str, pd.DataFrame], each: int = 3) -> Iterator[tuple[str, str, str, int]]:
    """Apply the rule (`RULE`) to the cases of two heads, and yield kind, wrong head, right head and the case's place.

    Args:
        cases: results of `evaluate` or `probes.copy_probability` on the same cases, by head.
        each: maximum number of cases of each kind for each head.
    """
    heads = list(cases)
    for wrong, right in (heads, heads[::-1]):
        for kind, places in _qualifying(cases[wrong], cases[right]).items():
            yield from ((kind, wrong, right, place) for place in places[:each])


def _qualifying(wrong: pd.DataFrame, right: pd.DataFrame) -> dict[str, list[int]]:
    """Return the places of the cases of each kind, strongest first."""
    missed = (wrong["rank"] > TOP) & (right["rank"] <= TOP)
    excess = wrong["copy_probability"] - right["copy_probability"]
    ordered = np.argsort(-excess.abs(), kind="stable")
    qualifies = {
        "fails to copy": missed & wrong["repeat"] & (excess < 0),
        "copies wrongly": missed & ~wrong["repeat"] & (excess > 0),
    }
    return {kind: [int(place) for place in ordered if rows.iloc[place]] for kind, rows in qualifies.items()}
