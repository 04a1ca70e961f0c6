"""Snapshot: the arrays of a trained model that probes need, from any library."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.numpy import save_file

from cprlab.data import Sequences
from cprlab.data.sequences import Split
from cprlab.errors import ConfigError, DataError
from cprlab.files import whole
from cprlab.models import Recommender
from cprlab.models.recommender import HISTORIES_AT_ONCE, Codes, Histories, inference
from cprlab.probes.arrays import (
    ARRAYS,
    PAD,
    check_history,
    check_names,
    check_table,
    check_targets,
    padding_doubt,
    read_arrays,
    read_histories,
)

AT_ONCE = 256  # cases whose scores of all items are in memory
NO_STATES = "{} has no hidden state and no item vectors, as it only counts."


@dataclass(frozen=True)
class HeldOut:
    """Held-out cases: m histories with their targets, and the ids and titles of the n items.

    Attributes:
        histories: m arrays of item codes 0 … n − 1, oldest first, each with at least one item.
        targets: (m,) int64, code of the next item.
        item_ids: (n,) the log's own item ids.
        titles: (n,) str, each item's title.
    """

    histories: tuple[np.ndarray, ...]
    targets: np.ndarray
    item_ids: np.ndarray
    titles: np.ndarray

    def __len__(self) -> int:
        return len(self.histories)

    @property
    def n_items(self) -> int:
        """Number of items, n."""
        return len(self.item_ids)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the histories, the targets, the item ids and their order."""
        digest = hashlib.sha256()
        for codes in (*self.histories, self.targets):
            digest.update(f"{len(codes)} ".encode() + np.asarray(codes, np.int64).tobytes())
        digest.update("".join(f"{one}\0" for one in self.item_ids).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def doubt(self) -> str:
        """A sentence with the evidence if item 0 seems to be padding of the histories, else ""."""
        return padding_doubt(self.histories, self.targets)

    @cached_property
    def distinct(self) -> tuple[np.ndarray, ...]:
        """The distinct item codes of each history, in increasing order."""
        return tuple(np.unique(history) for history in self.histories)

    def take(self, cases: np.ndarray) -> Self:
        """Return the cases with these indices."""
        histories = tuple(self.histories[case] for case in cases)
        return replace(self, histories=histories, targets=self.targets[cases])

    @staticmethod
    def of_log(sequences: Sequences, split: Split = "test") -> "HeldOut":
        """Take the held-out cases of a log."""
        windows = sequences.windows(split)
        return HeldOut(
            tuple(sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)),
            sequences.items[windows.first].astype(np.int64),
            sequences.item_ids,
            np.array([str(title) for title in sequences.titles], dtype=object),
        )


@dataclass(frozen=True, init=False)
class Snapshot(HeldOut):
    """A trained softmax p(v) ∝ exp(h · w_v + b_v) evaluated on m cases, with their histories and targets.

    Everything is checked on construction; histories that seem to be padded with item 0 give a warning. Arrays may also
    be PyTorch tensors or lists. Double precision is kept; other numbers become single precision.

    Attributes:
        item_embeddings: W (n, d), one row per item.
        states: (m, d), hidden state h of each case.
        histories: as in `HeldOut`, like `targets`, `item_ids` (default: the codes) and `titles` (default: the ids).
        bias: (n,) b, or None.

    Raises:
        DataError: shapes do not match, a number is not finite, or an item code is invalid; the message says where.
    """

    item_embeddings: np.ndarray
    states: np.ndarray
    bias: np.ndarray | None

    def __init__(
        self,
        item_embeddings: ArrayLike,
        states: ArrayLike,
        histories: Sequence[ArrayLike],
        targets: ArrayLike,
        bias: ArrayLike | None = None,
        item_ids: ArrayLike | None = None,
        titles: ArrayLike | None = None,
    ) -> None:
        weights = check_table(item_embeddings, "item_embeddings", "items")
        states = check_table(states, "states", "cases")
        n, m = len(weights), len(states)
        if states.shape[1] != weights.shape[1]:
            raise DataError(
                f"states have {states.shape[1]} columns and item_embeddings {weights.shape[1]}; both must have the "
                "same number, since a score is their product."
            )
        if len(histories) != m:
            raise DataError(f"There are {m:,} states and {len(histories):,} histories; give one for each case.")
        ids = np.arange(n) if item_ids is None else check_names(item_ids, "item_ids", n)
        names = ids if titles is None else check_names(titles, "titles", n)
        checked = {
            "item_embeddings": weights,
            "states": states,
            "histories": tuple(check_history(case, history, n) for case, history in enumerate(histories)),
            "targets": check_targets(targets, m, n),
            "bias": None if bias is None else check_table(bias, "bias", "items", n),
            "item_ids": ids,
            "titles": np.array([str(name) for name in names], dtype=object),
        }
        vars(self).update(checked)
        if self.doubt:
            warnings.warn(self.doubt, stacklevel=2)

    @property
    def radius(self) -> float:
        """ρ, the 99th percentile of the states' norms: the reach of this model."""
        return float(np.percentile(np.linalg.norm(self.states.astype(np.float64), axis=1), 99))

    def sample(self, cases: int, seed: int = 0) -> Self:
        """Return a random sample of `cases` cases in their order; all if there are no more."""
        if cases >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), cases, replace=False)))

    def take(self, cases: np.ndarray) -> Self:
        """Return the cases with these indices, without checking them again."""
        taken = object.__new__(type(self))
        vars(taken).update({field.name: getattr(self, field.name) for field in fields(self)})
        vars(taken).update(
            states=self.states[cases],
            histories=tuple(self.histories[case] for case in cases),
            targets=self.targets[cases],
        )
        return taken

    def log_probs(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield batches: a slice of cases and their log-probabilities (b, n), in the arrays' precision."""
        weights = torch.from_numpy(self.item_embeddings)
        bias = 0 if self.bias is None else torch.from_numpy(self.bias)
        for start in range(0, len(self), AT_ONCE):
            cases = slice(start, start + AT_ONCE)
            yield cases, (torch.from_numpy(self.states[cases]).to(weights.dtype) @ weights.T + bias).log_softmax(1)

    @classmethod
    def from_recommender(
        cls,
        recommender: Recommender,
        histories: Histories,
        targets: Codes,
        *,
        users: Codes | None = None,
        item_ids: ArrayLike | None = None,
        titles: ArrayLike | None = None,
        facet: str = "",
    ) -> Self:
        """Take the states of a recommender, from cprlab or an adapter, after the given histories.

        Args:
            recommender: the model.
            histories: item codes, oldest first; the last `max_len` are read and kept.
            targets: the item that came after each history.
            users: a code for each history, for an encoder that learns a vector for each user.
            item_ids: (n,) as in the class, for the recommender's codes.
            titles: (n,) as in the class, for the recommender's codes.
            facet: the hidden state to take. The default is V, which scores the vocabulary; for a mixture one must be
                named, V, V_2, …. A CPR head has others, such as C and R100.

        Raises:
            ConfigError: a history is invalid, the head has no such state, has several and none is named, or only
                counts.
            DataError: as in the class.
        """
        if not recommender.head.states:
            raise ConfigError(NO_STATES.format(recommender.head.config))
        items, at, codes = recommender.collate(histories, users)
        given = torch.cat([items, at, *([] if codes is None else [codes[:, None]])], dim=1).cpu().numpy()
        _, first, same = np.unique(given, axis=0, return_index=True, return_inverse=True)  # cases may share a history
        states = []
        with inference(recommender):
            for start in range(0, len(first), HISTORIES_AT_ONCE):
                rows = torch.from_numpy(first[start : start + HISTORIES_AT_ONCE]).to(items.device)
                facets = recommender(items[rows], at[rows], None if codes is None else codes[rows])
                own = recommender.head.states
                if not facet and len(recommender.head.vocabulary) > 1:
                    raise ConfigError(
                        "A mixture of softmaxes has several hidden states for one prediction; name the one to probe "
                        f"as the facet ({', '.join(own)}). Copy probability and attribution use the recommender itself."
                    )
                name = facet or recommender.head.vocabulary[0]
                if name not in own:
                    raise ConfigError(f"This head has no hidden state {name!r}; it has: {', '.join(own)}.")
                states.append(facets[name][:, 0].cpu().numpy())
            weight = recommender.outputs.weight[:-1].cpu().numpy()
            bias = None if recommender.item_bias is None else recommender.item_bias[:-1].cpu().numpy()
        if not states:
            raise DataError("There is no history, so there is nothing to probe.")
        valid = recommender.valid(items).cpu().numpy()
        read = [row[where] for row, where in zip(items.cpu().numpy(), valid, strict=True)]
        return cls(weight, np.concatenate(states)[same], read, targets, bias, item_ids, titles)

    @classmethod
    def from_sequences(
        cls, recommender: Recommender, sequences: Sequences, split: Split = "test", facet: str = ""
    ) -> Self:
        """Take a recommender's states on the held-out cases of its log; see `from_recommender`."""
        held_out = HeldOut.of_log(sequences, split)
        return cls.from_recommender(
            recommender,
            held_out.histories,
            held_out.targets,
            users=sequences.windows(split).user,
            item_ids=held_out.item_ids,
            titles=held_out.titles,
            facet=facet,
        )

    def save(self, path: Path | str) -> None:
        """Write a `.safetensors` file that `load` reads, with ids and titles as JSON in its header.

        Raises:
            DataError: the name does not end in .safetensors, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise DataError(f"A Snapshot is saved as NAME.safetensors, not as {path.name}.")
        table = np.full((len(self), max(map(len, self.histories))), PAD)
        for row, history in zip(table, self.histories, strict=True):
            row[: len(history)] = history
        arrays = {
            "item_embeddings": self.item_embeddings,
            "states": self.states,
            "histories": table,
            "targets": self.targets,
        }
        if self.bias is not None:
            arrays["bias"] = self.bias
        names = {"item_ids": json.dumps(self.item_ids.tolist()), "titles": json.dumps(self.titles.tolist())}
        with whole(path) as file:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file, names)

    @classmethod
    def load(cls, path: Path | str, histories: Path | str | None = None) -> Self:
        """Read a Snapshot from a file of plain arrays; no code in it is run.

        Args:
            path: a `.npz` or `.safetensors` file with arrays named as in the class; `histories` is (m, longest), padded
                with −1. Ids and titles are arrays too, or JSON in the header, as written by `save`.
            histories: a Parquet file with one row per case and columns `history` (lists) and `target`, in the order of
                the states; replaces the histories of `path`. Items are ids from `item_ids`, or codes if there are none.

        Raises:
            DataError: a file cannot be read, an array is missing, or the class refuses the contents.
        """
        arrays = read_arrays(Path(path))
        if unknown := arrays.keys() - set(ARRAYS):
            raise DataError(f"{path} contains {', '.join(sorted(unknown))}; a Snapshot has only: {', '.join(ARRAYS)}.")
        if histories is not None:
            arrays |= read_histories(Path(histories), arrays.get("item_ids"))
        if missing := [name for name in ARRAYS[:4] if name not in arrays]:
            raise DataError(f"{path} has no {' and no '.join(missing)}; a Snapshot needs: {', '.join(ARRAYS[:4])}.")
        rows = arrays["histories"]
        if isinstance(rows, np.ndarray):
            if rows.ndim != 2 or rows.dtype.kind not in "iu":
                raise DataError(f"{path}: histories must be a table of item codes, padded with {PAD}.")
            lengths = np.where(rows != PAD, np.arange(1, rows.shape[1] + 1), 0).max(1, initial=0)
            arrays["histories"] = [row[:length] for row, length in zip(rows, lengths, strict=True)]
        try:
            return cls(**arrays)
        except DataError as error:
            raise DataError(f"{path}{'' if histories is None else f' with {histories}'}: {error}") from None
