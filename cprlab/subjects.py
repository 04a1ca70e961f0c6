"""Subjects: runs, RecBole checkpoints and Snapshots, opened for the same probes and views."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic
import torch

from cprlab.adapters import recbole
from cprlab.catalogue import BUILTIN
from cprlab.config import Names
from cprlab.data import Sequences
from cprlab.data.readers import called
from cprlab.errors import ConfigError, DataError
from cprlab.models import Recommender
from cprlab.probes import NO_STATES, HeldOut, Snapshot, copy_probability, from_recbole
from cprlab.probes.arrays import SUFFIXES
from cprlab.probes.foreign import notes_of_recbole
from cprlab.settings import RunsConfig
from cprlab.training import Run, train_all

AT_ONCE = 512  # histories


class ModelsConfig(RunsConfig):
    """Settings: which models to look at; if none is given, the heads are trained, or loaded if trained."""

    models: Names = pydantic.Field(
        (),
        description="Folders of runs and RecBole's .pth files (with the log of their training as --data), or "
        "Snapshots (.safetensors, .npz). If none, the heads are trained.",
    )
    histories: str = pydantic.Field("", description="A Parquet file of histories and targets, for Snapshots.")

    @property
    def stem(self) -> str:
        """Name of a page on the models: that of the first model, or of the data."""
        first = next(iter(self.models), self.data)
        return first if first in BUILTIN else Path(called(Path(first))).stem

    def subjects(self, facet: str = "") -> "list[Subject]":
        """Open or train the models; if several have the same name, each gets its number in the list as a suffix.

        Args:
            facet: as in `open_subject`.

        Raises:
            CprlabError: a model cannot be opened or trained, or is given twice.
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
        name: its name.
        held_out: the test cases: a Snapshot, with W and the states that score the vocabulary, or a HeldOut if the model
            counts and has no states.
        cases: a row for each case with the output of the whole head (see `copy_probability`).
        own_state: whether the head scores the history by more than the one state and W, so that the copy dial does not
            apply.
        recommender: the model that computed the states, with the same item codes; None for a Snapshot from a file.
        users: (cases,) the recommender's user codes; None if there are none.
        user_ids: (cases,) the users' ids; None if unknown.
        fingerprint: 16 hexadecimal digits that change when the data do: the log of a run, the cases of another model.
        validation: returns the cases of the validation split, and (cases,) users; None for a Snapshot from a file.
        run: the run, and `sequences`, its log; None for other models.
        notes: the notes on the log, with its doubts; none for a Snapshot from a file, whose log is not known.
    """

    name: str
    held_out: HeldOut
    cases: pd.DataFrame
    own_state: bool
    recommender: Recommender | None = None
    users: np.ndarray | None = None
    user_ids: np.ndarray | None = None
    fingerprint: str = ""
    validation: Callable[[], tuple[Snapshot, np.ndarray]] | None = None
    run: Run | None = None
    sequences: Sequences | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_states(self) -> bool:
        """Whether the model has hidden states and item embeddings; a counting baseline has none."""
        return isinstance(self.held_out, Snapshot)

    @property
    def snapshot(self) -> Snapshot:
        """The cases with the model's states.

        Raises:
            ConfigError: the model has no states.
        """
        if not isinstance(self.held_out, Snapshot):
            raise ConfigError(NO_STATES.format(self.name))
        return self.held_out

    def sample(self, cases: int, seed: int) -> "Subject":
        """Return the subject with at most `cases` of its cases, drawn at random without replacement.

        Histories that contain every item are left out, since no item is left to exclude.

        Raises:
            DataError: every history contains every item.
        """
        open_ = np.flatnonzero([len(history) < self.held_out.n_items for history in self.held_out.distinct])
        if not len(open_):
            raise DataError(f"{self.name}: every history contains every item, so nothing can be excluded.")
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
    """Open the folder of a run, a RecBole checkpoint (`.pth`) or a Snapshot (`.safetensors`, `.npz`).

    Args:
        source: the folder or file.
        sequences: the log, for a run.
        data: file of the log, for a RecBole checkpoint.
        histories: a Parquet file of histories, for a Snapshot's arrays.
        facet: which hidden state of a run or checkpoint to use, as in `Snapshot.from_recommender`.

    Raises:
        CprlabError: the source cannot be read, the model was trained on another log, or its head is a mixture and no
            facet is named.
    """
    path = Path(source)
    if path.is_dir():
        return _of_run(path, sequences, facet)
    if path.suffix == ".pth":
        if not data or data in BUILTIN:
            raise ConfigError(f"{path} contains no histories; give the log that RecBole read as --data.")
        recommender = recbole.load(path)
        subject = of_recommender(path.name, recommender, from_recbole(recommender, data, facet=facet))
        notes = notes_of_recbole(recommender, data)
        return replace(subject, validation=partial(_validation_of_recbole, recommender, data), notes=notes)
    if path.suffix in SUFFIXES:
        snapshot = Snapshot.load(path, histories or None)
        return Subject(path.name, snapshot, copy_probability(snapshot), False, fingerprint=snapshot.fingerprint)
    raise DataError(f"{path} is not a run's folder, a .pth checkpoint or a Snapshot ({' or '.join(SUFFIXES)}).")


def of_recommender(
    name: str, recommender: Recommender, snapshot: Snapshot, user_ids: np.ndarray | None = None
) -> Subject:
    """Return a recommender that was opened without its log, on the cases of its Snapshot."""
    plain = recommender.head.plain
    cases = copy_probability(snapshot, None if plain else _whole(recommender, snapshot))
    return Subject(name, snapshot, cases, not plain, recommender, None, user_ids, snapshot.fingerprint)


def _of_run(folder: Path, sequences: Sequences | None, facet: str) -> Subject:
    run = Run.load(folder)
    if sequences is None:
        raise ConfigError(f"{folder} contains no histories; give the log that it was trained on as --data.")
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
        partial(_validation_of_run, run.recommender, sequences),
        run,
        sequences,
        sequences.notes,
    )


def _validation_of_run(recommender: Recommender, sequences: Sequences) -> tuple[Snapshot, np.ndarray]:
    return Snapshot.from_sequences(recommender, sequences, "validation"), sequences.windows("validation").user


def _validation_of_recbole(recommender: recbole.FromRecBole, data: str) -> tuple[Snapshot, np.ndarray]:
    snapshot = from_recbole(recommender, data, split="validation")
    return snapshot, np.arange(len(snapshot))


def _whole(recommender: Recommender, snapshot: Snapshot) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield slices of a Snapshot's cases and the log-probabilities that all partitions of a model give them."""
    for start in range(0, len(snapshot), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        yield rows, torch.from_numpy(recommender.log_probs(snapshot.histories[rows]))
