"""retrofit: fit a copy head to a frozen model by maximum likelihood, and measure on other cases what it changes.

A softmax scores item v by h · w_v + b_v. A retrofit keeps h, w and b, and changes the scores of the history's items to

    z_x = f_C · w_x + b_x + b + w₁ log(1 + count of x) + w₂ log Σ_j age_j^−½,    f_C = (1 + s) h + A h + a,

with the ages j of x's occurrences, 1 for the latest item. "B" fits b; "F" fits b, s, w₁ and w₂; "C" fits b, s, A and a;
"C + F" fits all. A and a have a ridge, so that f_C stays (1 + s) h without evidence. Scores are linear in these, so the
loss is convex. Only the history's part of the normaliser changes; the rest is computed once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors.numpy import save_file
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits
from torch import nn

from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import gains, means, stacked
from cprlab.files import whole
from cprlab.models import Recommender, SoftmaxConfig, extended
from cprlab.models.heads import PartitionedSoftmax
from cprlab.probes.arrays import check_history, check_table, read_arrays
from cprlab.probes.copying import copy_probability
from cprlab.probes.likelihood import DECAY, PARTS, Part, fitted, occurrences
from cprlab.probes.snapshot import AT_ONCE, Snapshot

METRICS = ("log-loss", "NDCG@10", "HIT@10", "copy probability", "loss on whether", "loss on which")


@dataclass(frozen=True)
class Retrofit:
    """A part that was fitted to a frozen model.

    Attributes:
        part: "B", "F", "C" or "C + F".
        item_embeddings: W (n, d) of the model.
        bias: (n,) the model's item bias, or None.
        numbers: (3,) b, w₁ and w₂; 0 where the part has none.
        matrix: (d, d) M of f_C = M h + a: (1 + s) I + A.
        vector: (d,) a.
        parameters: how many numbers were fitted.
        ridge: of A and a, chosen by cross-validation; 0 where there are none.
        table: rows `part, parameters, model ("before" | "after" | "difference"), cases ("all" | "repeat" | "new"),
            metric, value, low, high, n` on cases that were not fitted. The difference is paired, after less before.
        cases: by "before" and "after", what the table is made of, see `copy_probability`.
    """

    part: Part
    item_embeddings: np.ndarray
    bias: np.ndarray | None
    numbers: np.ndarray
    matrix: np.ndarray
    vector: np.ndarray
    parameters: int
    ridge: float
    table: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    cases: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def log_probs(self, states: ArrayLike, histories: Sequence[ArrayLike]) -> np.ndarray:
        """Return log-probabilities (m, n), float64, for hidden states (m, d) and the item codes read, oldest first.

        Raises:
            DataError: a history holds a code that no item has, or shapes do not fit.
        """
        n, d = self.item_embeddings.shape
        h = check_table(states, "states", "cases").astype(np.float64)
        if h.shape != (len(histories), d):
            raise DataError(f"states must be of shape {(len(histories), d)}, a row a history, not {h.shape}.")
        z = h @ self.item_embeddings.T + (0 if self.bias is None else self.bias)
        facet, (b, by_count, by_age) = h @ self.matrix.T + self.vector, self.numbers
        for case, history in enumerate(histories):
            items, count, age = occurrences(check_history(case, history, n))
            z[case, items] = self.item_embeddings[items] @ facet[case] + b + by_count * count + by_age * age
            if self.bias is not None:
                z[case, items] += self.bias[items]
        return z - logsumexp(z, axis=1, keepdims=True)

    def recommender(self, model: Recommender) -> Recommender:
        """Return the model with the part in its head: "Softmax" becomes "Softmax + B", "+ C + F" (F), "+ C + B" (C), …

        Its encoder, item embeddings and vocabulary's map are the model's own, not copies. With C all maps have biases.

        Raises:
            ConfigError: the model is not a plain softmax, or not the one that was fitted.
        """
        trained, config = model.head, model.head.config
        if not (isinstance(trained, PartitionedSoftmax) and isinstance(config, SoftmaxConfig) and trained.plain):
            raise ConfigError(f"A part is added to a plain Softmax; {config} has other parts already.")
        weight = model.outputs.weight[:-1].detach()
        if weight.shape != self.item_embeddings.shape or not np.array_equal(weight.cpu(), self.item_embeddings):
            raise ConfigError(
                f"This retrofit was fitted to another model: its item embeddings are not those of {config}."
            )
        vocabulary = trained.maps["V"]
        assert isinstance(vocabulary, nn.Linear)
        matrix = torch.from_numpy(self.matrix).to(weight)
        context = nn.utils.skip_init(nn.Linear, vocabulary.in_features, len(matrix)).to(weight)
        before = 0 if vocabulary.bias is None else matrix @ vocabulary.bias.detach()
        context.weight = nn.Parameter(matrix @ vocabulary.weight.detach())
        context.bias = nn.Parameter(before + torch.from_numpy(self.vector).to(weight))
        b, by_count, by_age = self.numbers
        decay = np.log(np.expm1(DECAY))  # of which F takes the softplus
        own: dict[str, nn.Linear | nn.Parameter] = {
            "C": context,
            "B": nn.Parameter(weight.new_tensor([b])),
            "F": nn.Parameter(weight.new_tensor([b, by_count, by_age, decay])),
        }
        head = config.but(
            context=self.part != "B",
            frequency="F" in self.part,
            shift="F" not in self.part,
            projection_bias=config.projection_bias or self.part != "B",  # a is one
        )
        return extended(model, head, own)

    def save(self, path: Path | str) -> None:
        """Write the weights as a `.safetensors` file that `load` reads.

        Raises:
            DataError: the name ends otherwise, or the place cannot be written.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise DataError(f"A retrofit is saved as NAME.safetensors, not as {path.name}.")
        arrays = {name: np.atleast_1d(getattr(self, name)) for name in ARRAYS} | {
            "part": np.array([PARTS.index(self.part)])
        }
        if self.bias is not None:
            arrays["bias"] = self.bias
        with whole(path) as file:
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)

    @classmethod
    def load(cls, path: Path | str) -> "Retrofit":
        """Read what `save` wrote, without the table and its cases; nothing in the file is run.

        Raises:
            DataError: it cannot be read, or holds something else.
        """
        arrays = read_arrays(Path(path))
        try:
            part, bias = PARTS[arrays.pop("part").item()], arrays.pop("bias", None)
            n, d = arrays["item_embeddings"].shape
            shapes = dict(zip(ARRAYS, ((n, d), (3,), (d, d), (d,), (1,), (1,)), strict=True))
            assert {name: array.shape for name, array in arrays.items()} == shapes
            assert bias is None or bias.shape == (n,)
            assert all(np.isfinite(array).all() for array in arrays.values())
        except (KeyError, ValueError, IndexError, TypeError, AttributeError, AssertionError):
            raise DataError(f"{path} is no retrofit; write one with `cprlab retrofit` or Retrofit.save.") from None
        parameters, ridge = (arrays.pop(name).item() for name in ("parameters", "ridge"))
        return cls(part, bias=bias, parameters=parameters, ridge=ridge, **arrays)


ARRAYS = ("item_embeddings", "numbers", "matrix", "vector", "parameters", "ridge")


def retrofit(
    snapshot: Snapshot,
    part: Part,
    *,
    validation: Snapshot | None = None,
    users: ArrayLike | None = None,
    validation_users: ArrayLike | None = None,
    seed: int = 0,
) -> Retrofit:
    """Fit a part to a frozen model, and measure what it changes.

    Args:
        snapshot: the model at work.
        part: what to fit.
        validation: cases to fit on; without them a random half of the snapshot's users is, and only the others are
            judged.
        users: (m,) whose each case of the snapshot is; without them each is one user's own. Users are not divided.
        validation_users: the same for the cases to fit on.
        seed: of the halves, the folds and the bootstrap.

    Raises:
        DataError: there are too few users, or the two snapshots are not of one model.
    """
    users = np.arange(len(snapshot)) if users is None else np.asarray(users)
    if validation is None:
        fitted, judged = halves(users, seed)
        validation, of_fitted = snapshot.take(fitted), users[fitted]
        snapshot, users = snapshot.take(judged), users[judged]
    elif not np.array_equal(validation.item_embeddings, snapshot.item_embeddings):
        raise DataError("The cases to fit on are of another model: its item_embeddings are not those of the snapshot.")
    else:
        of_fitted = np.arange(len(validation)) if validation_users is None else np.asarray(validation_users)
    with threadpool_limits(limits=1, user_api="blas"):  # of thousands of small products: threads would mostly wait
        found = fit(validation, part, of_fitted, seed)
    cases = {
        "before": copy_probability(snapshot).assign(case=users),
        "after": copy_probability(snapshot, _scored(found, snapshot)).assign(case=users),
    }
    both = stacked(cases)
    levels = means(both, METRICS, seed)
    change = gains(both, {"head": "before"}, METRICS, seed).assign(head="difference")
    table = pd.concat([levels, change]).query("ranking == 'raw'").rename(columns={"head": "model"})
    table = table.assign(part=part, parameters=found.parameters)[[*COLUMNS]].reset_index(drop=True)
    return replace(found, table=table, cases=cases)


COLUMNS = ("part", "parameters", "model", "cases", "metric", "value", "low", "high", "n")


def halves(users: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the cases of a random half of the users, and those of the others."""
    names = np.unique(users)
    chosen = np.isin(users, np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def _scored(found: Retrofit, snapshot: Snapshot) -> Iterator[tuple[slice, torch.Tensor]]:
    for start in range(0, len(snapshot), AT_ONCE):
        cases = slice(start, start + AT_ONCE)
        yield cases, torch.from_numpy(found.log_probs(snapshot.states[cases], snapshot.histories[cases]))


def fit(snapshot: Snapshot, part: Part, users: np.ndarray, seed: int = 0) -> Retrofit:
    """Fit a part on all cases of a snapshot, each user weighing the same; arguments as of `retrofit`."""
    return Retrofit(part, snapshot.item_embeddings, snapshot.bias, *fitted(snapshot, part, users, seed))
