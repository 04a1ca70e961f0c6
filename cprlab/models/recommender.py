"""Recommender: item embeddings, an encoder and a head, with methods for prediction."""

import numbers
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cprlab.errors import ConfigError
from cprlab.models.counting import Counting, Unread, empty_items
from cprlab.models.encoders import EncoderConfig, build_encoder
from cprlab.models.heads import Head, build_head
from cprlab.models.names import CountingConfig, HeadConfig
from cprlab.models.partitions import Context, Facets, Outputs, Pointer, largest
from cprlab.models.parts import SoftmaxConfig

HISTORIES_AT_ONCE = 512  # read by the encoder
SCORES_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}  # 4 MB fit in a CPU's caches; on a GPU, launches cost more

Codes = Sequence[int] | np.ndarray  # of items or users
Histories = Sequence[Codes]
# Of queries (b, e) and m, the codes (b, m) of the items with the largest inner products; see `Recommender.topk`.
Retrieve = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class ComponentParts:
    """The logits of one softmax of a head, partition by partition.

    Attributes:
        names: S partitions in order of application: V, R:k, C, P, …
        logits: (S, B, n) logits after each partition.
        owner: (B, n) str, the partition that scored the item last; C for C and P together; "" if none did.
    """

    names: tuple[str, ...]
    logits: np.ndarray
    owner: np.ndarray

    @property
    def contributions(self) -> np.ndarray:
        """(S, B, n) change of each item's logit by each partition; the first starts from 0."""
        before = np.concatenate([np.zeros_like(self.logits[:1]), self.logits[:-1]])
        return np.subtract(self.logits, before, out=np.zeros_like(before), where=self.logits != before)


@dataclass(frozen=True)
class Parts:
    """Predictions and their parts.

    Attributes:
        log_probs: (B, n) log-probabilities; with (post) −inf for the history's items.
        weights: (B, K) mixture weights of the components; None for a single softmax over the largest logits.
        components: K softmaxes, one for most heads.
    """

    log_probs: np.ndarray
    weights: np.ndarray | None
    components: tuple[ComponentParts, ...]


class Recommender(nn.Module):
    """A sequential recommender over items 0 … n − 1; the code n is padding and is never scored.

    Args:
        encoder: settings of the encoder; not used by a counting head.
        head: settings of the head, including whether output embeddings are tied to input embeddings.
        n_items: n, number of items.
        n_users: number of users, for an encoder that learns a vector for each.
        max_len: maximum number of items that are read; the last ones of a longer history.

    Raises:
        ConfigError: a reranker's k is above the number of items, the encoder needs users, or `n_items` or `max_len` is
            below 1.
    """

    item_bias: nn.Parameter | None  # (n + 1,), only in models from other libraries

    def __init__(
        self, encoder: EncoderConfig, head: HeadConfig, n_items: int, *, n_users: int = 0, max_len: int = 50
    ) -> None:
        super().__init__()
        if n_items < 1 or max_len < 1:
            raise ConfigError(f"n_items={n_items} and max_len={max_len} must both be at least 1.")
        head.check_items(n_items)
        self.n_items, self.n_users, self.max_len = n_items, n_users, max_len
        if isinstance(head, CountingConfig):
            self.embedding = empty_items(n_items)
            self.encoder: nn.Module = Unread()
            self.head: Head = Counting(head, n_items)
        else:
            self.embedding = _embedding(n_items, encoder.d)
            self.encoder = build_encoder(encoder, n_users, max_len)
            self.head = build_head(head, encoder.d, encoder.layers)
        own = not head.tied or self.head.width != self.embedding.embedding_dim
        self.output_embedding = _embedding(n_items, self.head.width) if own else None
        self.register_parameter("item_bias", None)

    @property
    def outputs(self) -> Outputs:
        """The output embeddings used for scoring, tied or not, and the item biases, if any."""
        return self._outputs()

    def _outputs(self, codes: torch.Tensor | None = None) -> Outputs:
        """Return the outputs of all items, or only of those with these codes."""
        outputs = Outputs((self.output_embedding or self.embedding).weight, self.item_bias)
        if codes is not None:
            outputs = outputs.lookup(codes)
        return outputs._replace(weight=F.normalize(outputs.weight, dim=1)) if self.head.cosine else outputs

    def item_vectors(self) -> np.ndarray:
        """Return what an index for `topk` holds: each item's w_v (n, d), or [w_v; b_v] (n, d + 1) with item biases.

        The array may share the memory of the weights.
        """
        with torch.no_grad():
            weight, bias = self.outputs
            vectors = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)
            return vectors[:-1].cpu().numpy()

    def freeze_items(self, embeddings: np.ndarray) -> None:
        """Replace the item embeddings (n, d), for reading and scoring, and exclude them from training.

        Raises:
            ConfigError: the shape is wrong, or the head has separate output embeddings.
        """
        wanted = (self.n_items, self.embedding.embedding_dim)
        if np.shape(embeddings) != wanted:
            raise ConfigError(f"The item embeddings must be of shape {wanted}, not {np.shape(embeddings)}.")
        if self.output_embedding is not None:
            raise ConfigError(
                f"The head {self.head.config} has separate output embeddings, which would still be trained; "
                "use a head with tied embeddings."
            )
        with torch.no_grad():
            self.embedding.weight[:-1] = torch.as_tensor(embeddings)
        self.embedding.weight.requires_grad_(False)

    def forward(self, items: torch.Tensor, at: torch.Tensor, users: torch.Tensor | None = None) -> Facets:
        """Read histories and return the facets that the head scores with; only this step uses encoder and head weights.

        Args:
            items: (B, L) int64 codes, padded on the right with n.
            at: (B, T) int64, positions after which to predict.
            users: (B,) int64 codes, for an encoder that learns a vector for each user.

        Returns:
            The head's facets by name (see `Head.facets`).
        """
        return self.head.facets(self.encoder(self.embedding(items), self.valid(items), users), at)

    def valid(self, items: torch.Tensor) -> torch.Tensor:
        """Return (B, L) bool, False for padding."""
        return items != self.n_items

    def score(self, items: torch.Tensor, at: torch.Tensor, users: torch.Tensor | None = None) -> torch.Tensor:
        """Return log-probabilities (B, T, n) of the item after each position in `at`; arguments as in `forward`."""
        return self.distribution(self(items, at, users), Context(items, at, self.n_items))

    def scored(
        self, items: torch.Tensor, at: torch.Tensor, users: torch.Tensor | None = None
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield batches: a slice of windows and the result of `score` (b, T, n); arguments as in `forward`."""
        facets, context = self(items, at, users), Context(items, at, self.n_items)
        held = SCORES_AT_ONCE.get(items.device.type, SCORES_AT_ONCE["cpu"])
        size = max(1, held // (self.n_items * at.shape[1]))
        for start in range(0, len(items), size):
            rows = slice(start, min(start + size, len(items)))
            yield rows, self.distribution({name: facet[rows] for name, facet in facets.items()}, context.rows(rows))

    def distribution(self, facets: Facets, context: Context, outputs: Outputs | None = None) -> torch.Tensor:
        """Return log-probabilities (B, T, n) for the facets from `forward`; over the items of `outputs`, if given."""
        return self.head.log_probs(facets, self.outputs if outputs is None else outputs, context)

    def log_probs(
        self,
        histories: Histories,
        candidates: Codes | Histories | None = None,
        users: Codes | None = None,
    ) -> np.ndarray:
        """Return log-probabilities of the next item, in the weights' precision.

        Args:
            histories: item codes, oldest first, each with at least one item; the last `max_len` are read.
            candidates: items to score, the same m for every history or (len(histories), m); all n if None.
                Probabilities are still relative to all items.
            users: a code for each history, for an encoder that learns a vector for each user.

        Returns:
            (len(histories), n), or (len(histories), m).

        Raises:
            ConfigError: a history is empty, an item or user code is invalid, or the head only ranks.
        """
        if not self.head.config.probabilities:
            raise ConfigError(f"{self.head.config} only ranks items and gives no probabilities; use topk.")
        chosen = None if candidates is None else self._check_candidates(candidates, len(histories))
        rows = [
            scores.cpu().numpy() if chosen is None else np.take_along_axis(scores.cpu().numpy(), chosen[batch], axis=1)
            for batch, scores in self._score(histories, users)
        ]
        return np.concatenate(rows or [self._none(self.n_items if chosen is None else chosen.shape[1])])

    def topk(
        self, histories: Histories, k: int, users: Codes | None = None, *, retrieve: Retrieve | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the k most probable next items, best first; items of the history are not removed.

        Items with probability 0, such as the history's with (post), come last, with −inf. With `retrieve` not all items
        are scored, only those that it lists and the history's. A head's partitions change the history's items and, for
        each R:k, at most k others, from the top. All other items keep their order by the vocabulary's logits. So the
        first k + Σ k_R + |C| items of that order are enough, with |C| distinct items read: if they are exact, so is the
        answer, up to ties.

        Args:
            histories: as in `log_probs`.
            k: from 1 to n.
            users: as in `log_probs`.
            retrieve: a function, such as the search of an index over `item_vectors()`, (n, e). It gets queries (b, e),
                in the weights' precision, and a number m ≤ n, and returns the codes (b, m) of each query's m distinct
                items with the largest inner products, in any order. It is called for up to HISTORIES_AT_ONCE histories
                at once, and for each facet of a `MoS` with max_logits.

        Returns:
            Item codes (len(histories), k) int64, and their log-probabilities, or the scores of a head that only ranks.
            With `retrieve`, the probabilities are relative to the items scored, so their logarithms are too large by
            one constant for each history.

        Raises:
            ConfigError: as in `log_probs`, or k is invalid; or `retrieve` returns something else, or the head is no
                single softmax over inner products (a mixture, RepeatNet, a counting head).
        """
        if not isinstance(k, numbers.Integral) or isinstance(k, bool) or not 1 <= k <= self.n_items:
            raise ConfigError(f"k = {k!r} is not possible; there are {self.n_items} items.")
        if retrieve is None:
            scored = ((None, scores) for _, scores in self._score(histories, users))
        else:
            scored = self._score_retrieved(histories, k, users, retrieve)
        items, values = [np.empty((0, k), np.int64)], []
        for codes, scores in scored:
            best = largest(scores, k)
            top = scores.gather(1, best).sort(descending=True)
            best = best.gather(1, top.indices)
            items.append((best if codes is None else codes[best]).cpu().numpy())
            values.append(top.values.cpu().numpy())
        return np.concatenate(items), np.concatenate(values or [self._none(k)])

    def parts(self, histories: Histories, users: Codes | None = None) -> Parts:
        """Return the predictions of `log_probs` partition by partition.

        Args:
            histories: B histories as in `log_probs`, at least one.
            users: as in `log_probs`.

        Raises:
            ConfigError: as in `log_probs`.
        """
        if not len(histories):
            raise ConfigError("There is no history; a prediction needs at least one.")
        items, at, codes = self.collate(histories, users)
        with inference(self):
            facets = self(items, at, codes)
        return self.explain(facets, Context(items, at, self.n_items))

    def explain(self, facets: Facets, context: Context) -> Parts:
        """Return the same as `parts` for given facets, which may have been moved by hand.

        Args:
            facets: result of `forward`, for B histories and one position of each (T = 1).
            context: the items read, and this position.
        """
        components, norms = [], []
        with inference(self):
            log_probs = self.distribution(facets, context)[:, 0]
            for component in self.head.components:
                names: list[str] = []
                logits = []
                owner = np.full((len(context.at), self.n_items + 1), 0 if component.vocabulary else -1)
                for name, owned, z in self.head.stages(component, facets, self.outputs, context):
                    if owned is not None and name != Pointer.name:
                        np.put_along_axis(owner, owned[:, 0].cpu().numpy(), len(names), axis=1)
                    names.append(name)
                    logits.append(z[:, 0, :-1].cpu().numpy().copy())
                components.append(ComponentParts(tuple(names), np.stack(logits), np.array([*names, ""])[owner[:, :-1]]))
                norms.append(z[:, :, :-1].logsumexp(2))
            weights = np.ones((len(context.at), 1)) if len(components) == 1 else None
            if "mixture" in facets:
                weights = self.head.log_weights(facets, torch.stack(norms, dim=2))[:, 0].exp().cpu().numpy()
        return Parts(log_probs.cpu().numpy(), weights, tuple(components))

    def collate(
        self, histories: Histories, users: Codes | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Check histories and users, and return them as tensors for `forward`.

        Raises:
            ConfigError: as in `log_probs`.
        """
        if self.embedding.weight.dtype == torch.bfloat16:
            raise ConfigError("The weights are in bfloat16, which NumPy does not have; call model.float() first.")
        read = []
        for row, history in enumerate(histories):
            codes = whole_numbers(history)
            if codes is None or codes.ndim != 1:
                raise ConfigError(f"History {row} contains values that are not whole numbers; use lists of item codes.")
            if not len(codes):
                raise ConfigError(f"History {row} is empty; a prediction needs at least one item.")
            if codes.min() < 0 or codes.max() >= self.n_items:
                raise ConfigError(
                    f"History {row} contains an item outside 0 … {self.n_items - 1}; use the codes of the training log."
                )
            read.append(codes[-self.max_len :])
        device = self.embedding.weight.device
        items = torch.full((len(read), max(map(len, read), default=1)), self.n_items)
        for row, codes in enumerate(read):
            items[row, : len(codes)] = torch.from_numpy(codes)
        at = torch.tensor([len(codes) - 1 for codes in read], dtype=torch.int64)[:, None]
        if users is None:
            return items.to(device), at.to(device), None
        codes = whole_numbers(users)
        if codes is None or codes.shape != (len(read),):
            raise ConfigError(f"There must be one user code for each of the {len(read)} histories.")
        if self.n_users and len(codes) and (codes.min() < 0 or codes.max() >= self.n_users):
            raise ConfigError(f"A user is outside 0 … {self.n_users - 1}; use the codes of the training log.")
        return items.to(device), at.to(device), torch.from_numpy(codes).to(device)

    def _check_candidates(self, candidates: Codes | Histories, n_histories: int) -> np.ndarray:
        """Return item codes (n_histories, m)."""
        chosen = whole_numbers(candidates)
        if chosen is None or chosen.ndim not in (1, 2):
            raise ConfigError("The candidates must be item codes, the same number for each history.")
        if chosen.ndim == 2 and len(chosen) != n_histories:
            raise ConfigError(f"There are {len(chosen)} rows of candidates for {n_histories} histories.")
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.n_items):
            raise ConfigError(f"A candidate is outside 0 … {self.n_items - 1}; use the codes of the training log.")
        return np.broadcast_to(chosen, (n_histories, chosen.shape[-1]))

    def _none(self, width: int) -> np.ndarray:
        """Return an array (0, width) in the weights' precision."""
        return self.embedding.weight.detach().cpu().numpy()[:0, :1].repeat(width, axis=1)

    def _score_retrieved(
        self, histories: Histories, k: int, users: Codes | None, retrieve: Retrieve
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield, for each history, the codes (a,) of the items to score, and their log-probabilities (1, a) among them.

        These items are numbered 0 … a − 1, and the head scores them as if there were no others.
        """
        config = self.head.config
        if not isinstance(config, SoftmaxConfig) or config.mixture != "max_logits":
            counts = isinstance(config, CountingConfig)
            why = "it has no hidden state" if counts else "it is a mixture, whose weights need sums over all items"
            raise ConfigError(f"{config} cannot be served from inner products: {why}. Call topk without retrieve.")
        items, at, codes = self.collate(histories, users)
        for start in range(0, len(items), HISTORIES_AT_ONCE):
            read = slice(start, start + HISTORIES_AT_ONCE)
            with inference(self):
                facets = self(items[read], at[read], None if codes is None else codes[read])
                context = Context(items[read], at[read], self.n_items)
                owned = int((context.distinct != self.n_items).sum(2).max())
                m = min(self.n_items, k + sum(config.rerank) + owned)
                lists = [self._retrieve(retrieve, facets[name][:, 0], m) for name in self.head.vocabulary]
                for row, listed in enumerate(torch.cat(lists, dim=1)):
                    history, padding = context.items[row], listed.new_tensor([self.n_items])
                    chosen, places = torch.cat([listed, history, padding]).unique(return_inverse=True)
                    narrow = Context(places[None, len(listed) : -1], context.at[[row]], len(chosen) - 1)
                    of_row = {name: facet[[row]] for name, facet in facets.items()}
                    yield chosen, self.distribution(of_row, narrow, self._outputs(chosen))[:, 0]

    def _retrieve(self, retrieve: Retrieve, facet: torch.Tensor, m: int) -> torch.Tensor:
        """Return the codes (b, m) that `retrieve` finds for facets (b, d), checked."""
        query = facet if self.item_bias is None else F.pad(facet, (0, 1), value=1.0)
        found = whole_numbers(retrieve(query.cpu().numpy(), m))
        if found is None or found.shape != (len(facet), m):
            given = "something else" if found is None else f"an array of shape {found.shape}"
            raise ConfigError(
                f"retrieve must return item codes (whole numbers) of shape {(len(facet), m)}, not {given}."
            )
        if found.min() < 0 or found.max() >= self.n_items:
            raise ConfigError(
                f"retrieve returned a code outside 0 … {self.n_items - 1}; an index that gives −1 found too few items "
                "and must search more of its lists."
            )
        ordered = np.sort(found, axis=1)
        if (twice := ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]]).size:
            raise ConfigError(f"retrieve returned item {twice[0]} twice for one query; each must be listed once.")
        return torch.from_numpy(found).to(facet.device)

    def _score(self, histories: Histories, users: Codes | None) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield batches: a slice of histories and their log-probabilities (b, n)."""
        items, at, codes = self.collate(histories, users)
        for start in range(0, len(histories), HISTORIES_AT_ONCE):
            read = slice(start, start + HISTORIES_AT_ONCE)
            with inference(self):
                for rows, scores in self.scored(items[read], at[read], None if codes is None else codes[read]):
                    yield slice(start + rows.start, start + rows.stop), scores[:, 0]


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation mode, without gradients, for a `with` block."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


class _Undrawn(TorchFunctionMode):
    """Draws no normal numbers; on the meta device these would import all of PyTorch's compiler, for a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (nn.init.normal_, torch.Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs or {})


@contextmanager
def unallocated() -> Iterator[None]:
    """Make modules without memory for their weights, and draw none, in a `with` block."""
    with torch.device("meta"), _Undrawn():
        yield


def _embedding(n_items: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(n_items + 1, width, padding_idx=n_items)
    nn.init.xavier_normal_(embedding.weight)
    with torch.no_grad():
        embedding.weight[n_items] = 0
    return embedding


def whole_numbers(values: Any) -> np.ndarray | None:
    """Return whole numbers as a new int64 array, or None for anything else."""
    try:
        codes = np.asarray(values)
    except ValueError:  # rows of different lengths
        return None
    return codes.astype(np.int64) if codes.dtype.kind in "iu" or not codes.size else None


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return which tensor has numbers that are not finite, where and how many; "" if all numbers are finite."""
    for name, tensor in tensors.items():
        wrong = ~tensor.isfinite()
        if count := int(wrong.sum()):
            first = wrong.reshape(-1).nonzero()[0]
            row = int(first) * len(tensor) // tensor.numel() if tensor.dim() else 0
            value = tensor.reshape(-1)[first].item()
            return f"{name} contains {value} in row {row} ({count:,} of its {tensor.numel():,} numbers are not finite)"
    return ""
