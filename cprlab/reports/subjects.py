"""What `cprlab probe` is given: runs, RecBole checkpoints and Snapshots, opened as subjects of the same probes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from cprlab.adapters import recbole
from cprlab.data import BUILTIN, Sequences
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import evaluate
from cprlab.models import HeadConfig, Recommender
from cprlab.probes import Snapshot, copy_probability, from_recbole
from cprlab.probes.arrays import SUFFIXES
from cprlab.training import Run

AT_ONCE = 512  # histories


@dataclass(frozen=True)
class Subject:
    """A model under the probes.

    Attributes:
        name: what to call it.
        snapshot: W and the states that score the vocabulary.
        cases: a row for each case of the snapshot, what the whole head does there (see `copy_probability`).
        own_state: the head scores the history otherwise than by the one state and W, so the copy dial does not apply.
    """

    name: str
    snapshot: Snapshot
    cases: pd.DataFrame
    own_state: bool

    def sample(self, cases: int, seed: int) -> "Subject":
        """Return the subject on `cases` of its cases, drawn at random; all if there are no more.

        Histories that hold every item there is are left out: nothing can be told apart from them.

        Raises:
            DataError: there are no others.
        """
        open_ = np.flatnonzero([len(history) < self.snapshot.n_items for history in self.snapshot.distinct])
        if not len(open_):
            raise DataError(f"{self.name}: every history holds every item there is, so nothing can be excluded.")
        drawn = np.sort(np.random.default_rng(seed).choice(open_, min(cases, len(open_)), replace=False))
        return Subject(
            self.name, self.snapshot.take(drawn), self.cases.iloc[drawn].reset_index(drop=True), self.own_state
        )


def open_subject(source: str, sequences: Sequences | None, data: str = "", histories: str = "") -> Subject:
    """Open a run's folder, a checkpoint of RecBole's (`.pth`) or a Snapshot (`.safetensors`, `.npz`).

    Args:
        source: the folder or file.
        sequences: the log, for a run.
        data: the log's file, for a RecBole checkpoint.
        histories: a Parquet file of histories, for a Snapshot's arrays.

    Raises:
        CprlabError: it cannot be read, the log is not the one that it was trained on, or its head is a mixture.
    """
    path = Path(source)
    if path.is_dir():
        return _of_run(path, sequences)
    if path.suffix == ".pth":
        if not data or data in BUILTIN:
            raise ConfigError(f"{path} holds no histories; give the log that RecBole read as --data.")
        recommender = recbole.load(path)
        snapshot = from_recbole(recommender, data)
        plain = recommender.head.config == HeadConfig()
        cases = copy_probability(snapshot, None if plain else _whole(recommender, snapshot))
        return Subject(path.name, snapshot, cases, not plain)
    if path.suffix in SUFFIXES:
        snapshot = Snapshot.load(path, histories or None)
        return Subject(path.name, snapshot, copy_probability(snapshot), False)
    raise DataError(f"{path} is no run's folder, no .pth checkpoint and no Snapshot ({' or '.join(SUFFIXES)}).")


def _of_run(folder: Path, sequences: Sequences | None) -> Subject:
    run = Run.load(folder)
    if sequences is None:
        raise ConfigError(f"{folder} holds no histories; give the log that it was trained on as --data.")
    if run.record["data"]["fingerprint"] != sequences.fingerprint:
        raise DataError(
            f"{folder} was trained on other data ({run.record['data']['name']}) than {sequences.name}; give that log, "
            "with the same --users."
        )
    snapshot = Snapshot.from_sequences(run.recommender, sequences)
    head = run.recommender.head.config
    plain = not (head.repeatnet or head.context or head.pointer or head.rerank or head.post)
    return Subject(f"{run.config.encoder.name}, {head}", snapshot, evaluate(run.recommender, sequences), not plain)


def _whole(recommender: Recommender, snapshot: Snapshot) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield what all partitions of a RecBole model score, without the column of its padding."""
    for start in range(0, len(snapshot), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        scores = recommender.log_probs([history + 1 for history in snapshot.histories[rows]])
        yield rows, torch.from_numpy(scores[:, 1:])
