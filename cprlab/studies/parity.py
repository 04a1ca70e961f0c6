"""parity and silent_options: the recorded checkpoints of RecBole's, as it scores them and as cprlab does."""

import numpy as np
import pandas as pd

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.adapters.recbole import CLASSES, PADDING, RECORDED, Fidelity, Reference, from_state_dict, load
from cprlab.errors import ConfigError
from cprlab.models import Recommender

HISTORIES = [[1, 2, 3, 3, 4, 5, 6], [7], [8, 9, 8]]  # whose probabilities are recorded


def parity() -> pd.DataFrame:
    """Return the largest difference to RecBole's own probabilities, a row a class.

    Returns:
        Rows `class, reference, corrected`: with fidelity "reference", and with its faults mended.
    """
    rows = []
    with np.load(RECORDED / "checkpoints.npz") as recorded:
        for name in CLASSES:
            checkpoint = RECORDED / f"{name}.pth"
            reference, corrected = (
                np.abs(probabilities(load(checkpoint, fidelity), HISTORIES) - recorded[name]).max()
                for fidelity in ("reference", "corrected")
            )
            rows.append((name, reference, corrected))
    return pd.DataFrame(rows, columns=["class", "reference", "corrected"])


def probabilities(recommender: Recommender, histories: list[list[int]]) -> np.ndarray:
    """Return the probabilities (m, n) of RecBole's n items, padding the first, after histories of its item codes."""
    if isinstance(recommender, Reference):
        return np.exp(recommender.log_probs(histories))
    without = [[item - 1 for item in history if item != PADDING] for history in histories]
    return np.insert(np.exp(recommender.log_probs(without)), PADDING, 0, axis=1)


def silent_options() -> pd.DataFrame:
    """Return options that the reference ignores without a word, and what cprlab does (fault 7).

    Returns:
        Rows `class, option, taken_for, difference, cprlab`: what the reference takes the option for, the largest
        difference of its probabilities to those with that, and cprlab's answer.
    """
    rows = []
    for name, option, taken_for in (
        ("GRU4RecCPR", {"partition_merging_mode": "average"}, {"n_facet_context": 0}),
        ("SASRecCPR", {"partition_merging_mode": "average"}, {"partition_merging_mode": "add"}),
        ("SASRecCPR", {"partition_merging_mode": "half"}, {"partition_merging_mode": "add"}),
        ("GRU4RecCPR", {"reranker_merging_mode": "average"}, {"reranker_merging_mode": "replace"}),
    ):
        reference = _probabilities(name, option, "reference")
        difference = np.abs(reference - _probabilities(name, taken_for, "reference")).max()
        try:
            other = _probabilities(name, taken_for, "corrected")
            moved = np.abs(_probabilities(name, option, "corrected") - other).max()
            answer = f"Does it; a probability moves by up to {moved:.1e}."
        except ConfigError as error:
            answer = str(error)
        rows.append((name, _text(option), _text(taken_for), difference, answer))
    return pd.DataFrame(rows, columns=["class", "option", "taken_for", "difference", "cprlab"])


def _probabilities(name: str, changes: dict, fidelity: Fidelity) -> np.ndarray:
    checkpoint = read_checkpoint(RECORDED / f"{name}.pth")
    config = checkpoint["config"].final_config_dict | changes
    return probabilities(from_state_dict(name, config, checkpoint["state_dict"], fidelity), HISTORIES)


def _text(setting: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in setting.items())
