"""Models to look at: runs, RecBole checkpoints and Snapshots, opened as subjects of the same probes and views."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import torch

from cprlab.adapters import recbole
from cprlab.catalogue import BUILTIN
from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.errors import ConfigError, DataError
from cprlab.models import Recommender
from cprlab.probes import NO_STATES, HeldOut, Snapshot, copy_probability, from_recbole
from cprlab.probes.arrays import SUFFIXES
from cprlab.settings import RunsConfig
from cprlab.training import Run, train_all

AT_ONCE = 512  # histories


class ModelsConfig(RunsConfig):
    """Which models to look at; where none is given, the heads are trained, or read back."""

    models: Names = pydantic.Field(
        (),
        description="Runs' folders and RecBole's .pth files (with the log that they trained on as --data), or "
        "Snapshots (.safetensors, .npz). If none, the heads are trained.",
    )
    histories: str = pydantic.Field("", description="A Parquet file of histories and targets, for Snapshots.")

    @property
    def stem(self) -> str:
        """What to call a page on the models: the name of the first, or of the data."""
        first = next(iter(self.models), self.data)
        return first if first in BUILTIN else Path(first).stem

    def subjects(self, facet: str = "") -> "list[Subject]":
        """Open, or train, the models; each of several with one name has its place among all behind it.

        Args:
            facet: as in `open_subject`.

        Raises:
            CprlabError: one of them cannot be, or is given twice.
        """
        sources, sequences = list(self.models), None
        if any(Path(source).is_dir() for source in sources):
            sequences = self.sequences()
        if not sources:
            sequences = self.sequences()
            trained = train_all(sequences, self.run_configs(), self.runs, self.device)
            sources = [str(run.folder) for run in trained.values()]
        if len({Path(source).resolve() for source in sources}) < len(sources):
            raise ConfigError(f"{max(sources, key=sources.count)} is given twice; give each model once.")
        subjects = [open_subject(source, sequences, self.data, self.histories, facet) for source in sources]
        names = Counter(subject.name for subject in subjects)
        return [
            replace(subject, name=f"{subject.name} ({place})") if names[subject.name] > 1 else subject
            for place, subject in enumerate(subjects, 1)
        ]


@dataclass(frozen=True)
class Subject:
    """A model to look at.

    Attributes:
        name: what to call it.
        held_out: the cases that it is looked at on: a Snapshot, with W and the states that score the vocabulary, unless
            the model counts and has no states.
        cases: a row for each of these, what the whole head does there (see `copy_probability`).
        own_state: the head scores the history otherwise than by the one state and W, so the copy dial does not apply.
        recommender: what gave the states, with the same item codes; None for a Snapshot from a file.
        users: (cases,) the recommender's codes of the users, where it has any.
        user_ids: (cases,) who they are, where that is known.
        fingerprint: 16 hexadecimal digits that change when the data do: the log of a run, the cases of another model.
    """

    name: str
    held_out: HeldOut
    cases: pd.DataFrame
    own_state: bool
    recommender: Recommender | None = None
    users: np.ndarray | None = None
    user_ids: np.ndarray | None = None
    fingerprint: str = ""

    @property
    def has_states(self) -> bool:
        """Whether the model has hidden states, and item vectors that they score; a rival that counts has none."""
        return isinstance(self.held_out, Snapshot)

    @property
    def snapshot(self) -> Snapshot:
        """The cases with the model's states.

        Raises:
            ConfigError: it has none.
        """
        if not isinstance(self.held_out, Snapshot):
            raise ConfigError(NO_STATES.format(self.name))
        return self.held_out

    def sample(self, cases: int, seed: int) -> "Subject":
        """Return the subject on `cases` of its cases, drawn at random; all if there are no more.

        Histories that hold every item there is are left out: nothing can be told apart from them.

        Raises:
            DataError: there are no others.
        """
        open_ = np.flatnonzero([len(history) < self.held_out.n_items for history in self.held_out.distinct])
        if not len(open_):
            raise DataError(f"{self.name}: every history holds every item there is, so nothing can be excluded.")
        drawn = np.sort(np.random.default_rng(seed).choice(open_, min(cases, len(open_)), replace=False))
        return replace(
            self,
            held_out=self.held_out.take(drawn),
            cases=self.cases.iloc[drawn].reset_index(drop=True),
            users=None if self.users is None else self.users[drawn],
            user_ids=None if self.user_ids is None else self.user_ids[drawn],
        )


def open_subject(
    source: str, sequences: Sequences | None, data: str = "", histories: str = "", facet: str = ""
) -> Subject:
    """Open a run's folder, a checkpoint of RecBole's (`.pth`) or a Snapshot (`.safetensors`, `.npz`).

    Args:
        source: the folder or file.
        sequences: the log, for a run.
        data: the log's file, for a RecBole checkpoint.
        histories: a Parquet file of histories, for a Snapshot's arrays.
        facet: the hidden state to take of a run or checkpoint, as in `Snapshot.from_recommender`.

    Raises:
        CprlabError: it cannot be read, the log is not the one that it was trained on, or its head is a mixture, of
            which a facet must be named.
    """
    path = Path(source)
    if path.is_dir():
        return _of_run(path, sequences, facet)
    if path.suffix == ".pth":
        if not data or data in BUILTIN:
            raise ConfigError(f"{path} holds no histories; give the log that RecBole read as --data.")
        recommender = recbole.load(path)
        snapshot = from_recbole(recommender, data, facet=facet)
        plain = recommender.head.plain
        cases = copy_probability(snapshot, None if plain else _whole(recommender, snapshot))
        return Subject(path.name, snapshot, cases, not plain, recommender, fingerprint=snapshot.fingerprint)
    if path.suffix in SUFFIXES:
        snapshot = Snapshot.load(path, histories or None)
        return Subject(path.name, snapshot, copy_probability(snapshot), False, fingerprint=snapshot.fingerprint)
    raise DataError(f"{path} is no run's folder, no .pth checkpoint and no Snapshot ({' or '.join(SUFFIXES)}).")


def _of_run(folder: Path, sequences: Sequences | None, facet: str) -> Subject:
    run = Run.load(folder)
    if sequences is None:
        raise ConfigError(f"{folder} holds no histories; give the log that it was trained on as --data.")
    run.check_data(sequences)
    held_out = (
        HeldOut.of_log(sequences)
        if run.config.counts
        else Snapshot.from_sequences(run.recommender, sequences, facet=facet)
    )
    users = sequences.windows("test").user
    return Subject(
        run.config.name,
        held_out,
        run.cases,
        not run.recommender.head.plain,
        run.recommender,
        users,
        sequences.user_ids[users],
        sequences.fingerprint,
    )


def _whole(recommender: Recommender, snapshot: Snapshot) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield what all partitions of a model score on a Snapshot's cases."""
    for start in range(0, len(snapshot), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        yield rows, torch.from_numpy(recommender.log_probs(snapshot.histories[rows]))
