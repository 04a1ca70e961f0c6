"""Real cases where one head copies wrongly, or fails to copy, and another does not: chosen by a rule."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cprlab.data import Sequences
from cprlab.evaluation.cases import TOP
from cprlab.models import Recommender

RULE = (
    f"A case qualifies when one of the first two heads has the true next item in its top {TOP} and the other has not. "
    "If the item is in the history, and the head that misses it puts less probability on the history than the other, "
    "it fails to copy; if the item is new, and the head that misses it puts more probability on the history, it copies "
    "wrongly. Of each kind and each head the cases come first in which the two heads' copy probabilities differ most."
)


@dataclass(frozen=True)
class Example:
    """A test case on which two heads disagree.

    Attributes:
        kind: "fails to copy" or "copies wrongly", said of the head `wrong`.
        wrong: name of that head.
        right: name of the other.
        user: the user's own id.
        history: (L,) codes of the items read, oldest first.
        target: code of the true next item.
        log_probs: by head, (n,) log-probabilities of every item.
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
        recommenders: by head.
        cases: by head, what `evaluate` gave on the test split.
        sequences: the log.
        each: at most so many of each kind for each head being wrong.
    """
    heads = list(recommenders)[:2]
    windows = sequences.windows("test")
    examples = []
    for wrong, right in (heads, heads[::-1]):
        for kind, rows in _qualifying(cases[wrong], cases[right]).items():
            for case in rows.head(each).itertuples():
                window = np.searchsorted(windows.user, case.user)
                history = sequences.items[windows.start[window] : windows.stop[window]]
                scores = {head: recommenders[head].log_probs([history], users=[case.user])[0] for head in heads}
                user = str(sequences.user_ids[case.user])
                examples.append(Example(kind, wrong, right, user, history, case.target, scores))
    return examples


def _qualifying(wrong: pd.DataFrame, right: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the cases of each kind, strongest first."""
    missed = (wrong["rank"] > TOP) & (right["rank"] <= TOP)
    excess = wrong["copy_probability"] - right["copy_probability"]
    ordered = excess.abs().sort_values(ascending=False, kind="stable").index
    qualifies = {
        "fails to copy": missed & wrong["repeat"] & (excess < 0),
        "copies wrongly": missed & ~wrong["repeat"] & (excess > 0),
    }
    return {kind: wrong.loc[[case for case in ordered if rows[case]]] for kind, rows in qualifies.items()}
