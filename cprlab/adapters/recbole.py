"""Load RecBole's GRU4Rec, SASRec, GRU4RecCPR, SASRecCPR and RepeatNet (version 1.2) as cprlab recommenders.

RecBole's item 0 is padding. With `fidelity="corrected"` it is left out, and items have the codes 0 … n − 1 as
everywhere in cprlab: RecBole's codes minus one. With `fidelity="reference"` items keep RecBole's codes, histories are
padded as in RecBole, and padding is scored, which gives RecBole's own numbers.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.errors import ConfigError, DataError, suggestion
from cprlab.models import (
    Context,
    EncoderConfig,
    GRU4RecConfig,
    HeadConfig,
    Recommender,
    RepeatNetConfig,
    SASRecConfig,
    SoftmaxConfig,
)
from cprlab.models.heads import RepeatNet
from cprlab.models.partitions import Facets, Outputs, Reranker
from cprlab.models.recommender import Codes, Histories, not_finite, unallocated, whole_numbers

CLASSES = ("GRU4Rec", "SASRec", "GRU4RecCPR", "SASRecCPR", "RepeatNet")
PADDING = 0
ITEMS = ("embedding.weight", "output_embedding.weight")  # weights with one row per item
LONGEST = 100_000  # maximum number of items in a history
RECORDED = Path(__file__).parent / "recorded"  # a small checkpoint of each class, and what RecBole computes from it

Fidelity = Literal["corrected", "reference"]
Weights = dict[str, torch.Tensor]


class FromRecBole(Recommender):
    """A model that RecBole trained.

    Attributes:
        settings: RecBole's configuration, which says what rows of its log RecBole kept (see `recbole_rows`).
    """

    settings: Mapping[str, Any]


def load(path: Path | str, fidelity: Fidelity = "corrected") -> FromRecBole:
    """Load a RecBole checkpoint, without running any code that it may contain.

    Args:
        path: the `.pth` file.
        fidelity: as in `from_state_dict`.

    Raises:
        DataError: the file is not a readable RecBole checkpoint, or a weight is not finite.
        ConfigError: the model's class or configuration is not supported.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.get("config")
    config = getattr(config, "final_config_dict", config)
    if not isinstance(config, Mapping) or not isinstance(checkpoint.get("state_dict"), Mapping):
        raise DataError(f"{path} is not a RecBole checkpoint: it contains no configuration or no weights.")
    try:
        return from_state_dict(config.get("model", ""), config, checkpoint["state_dict"], fidelity)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def from_state_dict(
    reference_class: str,
    config: Mapping[str, Any],
    state: Mapping[str, torch.Tensor | np.ndarray],
    fidelity: Fidelity = "corrected",
) -> FromRecBole:
    """Convert a RecBole model to a recommender, in the precision of its weights.

    Args:
        reference_class: GRU4Rec, SASRec, GRU4RecCPR, SASRecCPR or RepeatNet.
        config: RecBole's configuration of the model.
        state: its weights by name.
        fidelity: "corrected" scores as cprlab does, with RecBole's item codes minus one; "reference" reproduces
            RecBole's scores, with its faults (see docs/method.md) and its item codes.

    Raises:
        ConfigError: the class is unknown, a setting is missing or not supported, or the weights do not fit.
        DataError: a weight is not finite; the message names its tensor.
    """
    if not isinstance(reference_class, str) or reference_class not in CLASSES:
        hint = suggestion(str(reference_class)[:80], CLASSES)
        raise ConfigError(f"Unknown class {repr(reference_class)[:80]} of RecBole: {hint}")
    if not isinstance(config, Mapping) or not isinstance(state, Mapping):
        raise ConfigError("A RecBole model needs two mappings: its configuration, and its weights by name.")
    if fidelity not in ("corrected", "reference"):
        raise ConfigError(f"Unknown fidelity {fidelity!r}; possible: corrected, reference.")
    faithful = fidelity == "reference"
    try:
        tensors = {name: torch.as_tensor(tensor) for name, tensor in state.items()}
        if wrong := not_finite(tensors):
            raise DataError(f"The training of this {reference_class} diverged: {wrong}. Use another checkpoint.")
        cpr = reference_class.endswith("CPR")
        if reference_class == "RepeatNet":
            head: HeadConfig = RepeatNetConfig()
            encoder, weights = _repeatnet(config, tensors)
        else:
            head = _head(reference_class, config, faithful) if cpr else SoftmaxConfig()
            encoder, weights = (_gru4rec if reference_class.startswith("GRU4Rec") else _sasrec)(config, tensors)
        if cpr:
            assert isinstance(head, SoftmaxConfig)
            weights |= _head_weights(config, head, tensors)
        elif isinstance(head, SoftmaxConfig):  # the hidden state itself is the facet
            d = weights["embedding.weight"].shape[1]
            weights |= {"head.maps.V.weight": torch.eye(d), "head.maps.V.bias": torch.zeros(d)}
        if not faithful:
            weights |= {name: weights[name][PADDING + 1 :] for name in ITEMS if name in weights}
        n_items, max_len = len(weights["embedding.weight"]) - 1, int(config["MAX_ITEM_LIST_LENGTH"])
        if n_items < 1 or not 1 <= max_len <= LONGEST:
            raise ValueError(f"there are {n_items:,} items, and histories of {max_len:,} (allowed: 1 to {LONGEST:,})")
        recommender: FromRecBole
        with unallocated():  # allocates nothing until the weights fit, whatever sizes are configured
            if faithful:
                recommender = Reference(encoder, head, n_items, max_len=max_len, at_end=cpr, rerank=_sizes(config))
            else:
                recommender = FromRecBole(encoder, head, n_items, max_len=max_len)
        dtype = torch.promote_types(weights["embedding.weight"].dtype, torch.float16)  # NumPy has no bfloat16
        if not all(weight.is_floating_point() for weight in weights.values()):
            raise ValueError("some weights are not floating-point numbers")
        recommender.load_state_dict({name: weight.to(dtype) for name, weight in weights.items()}, assign=True)
    except KeyError as error:
        raise ConfigError(f"A RecBole {reference_class} needs {error.args[0]!r}, which is missing.") from error
    except (RuntimeError, TypeError, ValueError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ConfigError(f"The weights of this {reference_class} do not fit its configuration: {detail}") from error
    recommender.settings = dict(config)
    return recommender.eval()


class Reference(FromRecBole):
    """A RecBole model that scores as RecBole does, including its faults.

    Histories are padded with item 0 to the length used in training. CPR models read the state at the last position,
    padded or not, and treat padding as an item of the history; the others read the state at the last item. All models
    score padding. Rerankers are applied in their configured order. "post" sets the probabilities of the history's items
    to 0 without renormalising the others.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        head: HeadConfig,
        n_items: int,
        *,
        n_users: int = 0,
        max_len: int,
        at_end: bool,
        rerank: tuple[int, ...],
    ) -> None:
        super().__init__(encoder, head.but(post=False), n_items, n_users=n_users, max_len=max_len)
        self.at_end, self.post = at_end, head.post
        if isinstance(self.head, RepeatNet):
            self.head.gate_sees_all = True
        for index, component in enumerate(self.head.components):
            first = [partition for partition in component.partitions if isinstance(partition, Reranker)]
            others = component.partitions[len(first) :]
            first.sort(key=lambda reranker: rerank.index(reranker.k))
            self.head.components[index] = replace(component, partitions=(*first, *others))

    def collate(self, histories: Histories, users: Codes | None = None) -> tuple:
        """See `Recommender`; a history may end with padding.

        Raises:
            ConfigError: as in `Recommender`, or there is padding before an item.
        """
        items, at, _ = super().collate(_without_padding(histories), users)
        items = F.pad(items.masked_fill(items == self.n_items, PADDING), (0, self.max_len - items.shape[1]))
        return items, torch.full_like(at, self.max_len - 1) if self.at_end else at, None

    def valid(self, items: torch.Tensor) -> torch.Tensor:
        """See `Recommender`; attention sees only these positions."""
        return items != PADDING

    def score(self, items: torch.Tensor, at: torch.Tensor, users: torch.Tensor | None = None) -> torch.Tensor:
        """See `Recommender`.

        Raises:
            ConfigError: the items are not padded as in RecBole.
        """
        if (items == self.n_items).any():
            raise ConfigError("RecBole's scores depend on how it pads histories; ask for them with log_probs or topk.")
        return super().score(items, at, users)

    def distribution(self, facets: Facets, context: Context, outputs: Outputs | None = None) -> torch.Tensor:
        """See `Recommender`; under "post" the probabilities do not sum to 1."""
        scores = super().distribution(facets, context, outputs)
        return scores.scatter(2, context.items[:, None], -torch.inf) if self.post else scores


def _without_padding(histories: Histories) -> list[Codes]:
    """Return each history without padding at its end.

    Raises:
        ConfigError: there is padding before an item.
    """
    read = []
    for row, history in enumerate(histories):
        codes = whole_numbers(history)
        if codes is not None and codes.ndim == 1:  # anything else is refused by `collate`
            codes = np.trim_zeros(codes, "b")
            if PADDING in codes:
                raise ConfigError(f"History {row} contains RecBole's padding, {PADDING}, before an item; leave it out.")
        read.append(history if codes is None else codes)
    return read


def _gru4rec(config: Mapping[str, Any], state: Weights) -> tuple[EncoderConfig, Weights]:
    encoder = GRU4RecConfig(
        d=config["embedding_size"],
        hidden=config["hidden_size"],
        layers=config["num_layers"],
        dropout=config["dropout_prob"],
    )
    weights = {"embedding.weight": _with_our_padding(state["item_embedding.weight"])}
    for layer in range(encoder.layers):
        for name in ("weight_ih", "weight_hh"):
            weights[f"encoder.layers.{layer}.{name}_l0"] = state[f"gru_layers.{name}_l{layer}"]
    return encoder, weights | _linear(state, "dense", "encoder.dense")


def _sasrec(config: Mapping[str, Any], state: Weights) -> tuple[EncoderConfig, Weights]:
    encoder = SASRecConfig(
        d=config["hidden_size"],
        layers=config["n_layers"],
        heads=config["n_heads"],
        inner=config["inner_size"],
        dropout=config["hidden_dropout_prob"],
        attention_dropout=config["attn_dropout_prob"],
        activation=config["hidden_act"],
        norm_first=False,
        norm_eps=config["layer_norm_eps"],
    )
    weights = {
        "embedding.weight": _with_our_padding(state["item_embedding.weight"]),
        "encoder.positions.weight": state["position_embedding.weight"],
        **_linear(state, "LayerNorm", "encoder.norm"),
    }
    for layer in range(encoder.layers):
        theirs, ours = f"trm_encoder.layer.{layer}", f"encoder.layers.{layer}"
        attention = f"{theirs}.multi_head_attention"
        for kind in ("weight", "bias"):
            weights[f"{ours}.self_attn.in_proj_{kind}"] = torch.cat(
                [state[f"{attention}.{role}.{kind}"] for role in ("query", "key", "value")]
            )
        for their_name, our_name in (
            (f"{attention}.dense", "self_attn.out_proj"),
            (f"{attention}.LayerNorm", "norm1"),
            (f"{theirs}.feed_forward.dense_1", "linear1"),
            (f"{theirs}.feed_forward.dense_2", "linear2"),
            (f"{theirs}.feed_forward.LayerNorm", "norm2"),
        ):
            weights |= _linear(state, their_name, f"{ours}.{our_name}")
    return encoder, weights


def _repeatnet(config: Mapping[str, Any], state: Weights) -> tuple[EncoderConfig, Weights]:
    """Convert a RepeatNet; embeddings and recurrent states may differ in size, so the smaller is padded with zeros."""
    hidden = config["hidden_size"]
    d = max(config["embedding_size"], hidden)
    if d != max(state["item_matrix.weight"].shape[-1], state["gru.weight_hh_l0"].shape[-1]):
        raise ValueError(f"the weights do not have size {d}")
    encoder = GRU4RecConfig(d=d, hidden=hidden, dropout=0.0, recurrent_bias=True)
    halves = state["explore_recommendation_decoder.matrix_for_explore.weight"].split(hidden, dim=1)
    weights = {
        "embedding.weight": _with_our_padding(_fill(state["item_matrix.weight"], -1, d)),
        "output_embedding.weight": _with_our_padding(torch.cat([_fill(half, -1, d) for half in halves], dim=1)),
        "encoder.layers.0.weight_ih_l0": _fill(state["gru.weight_ih_l0"], -1, d),
        "encoder.layers.0.weight_hh_l0": state["gru.weight_hh_l0"],
        "encoder.layers.0.bias_ih_l0": state["gru.bias_ih_l0"],
        "encoder.layers.0.bias_hh_l0": state["gru.bias_hh_l0"],
        "encoder.dense.weight": torch.eye(d, hidden),
        "encoder.dense.bias": torch.zeros(d),
        "head.choice.weight": _fill(state["repeat_explore_mechanism.Wcre.weight"], -1, d),
    }
    for ours, theirs, letter in (
        ("gate", "repeat_explore_mechanism", "re"),
        ("repeat", "repeat_recommendation_decoder", "r"),
        ("explore", "explore_recommendation_decoder", "e"),
    ):
        for role, name in (("query", "W"), ("key", "U")):
            square = _fill(_fill(state[f"{theirs}.{name}{letter}.weight"], -1, d), -2, d)
            weights[f"head.{ours}.{role}.weight"] = square
        weights[f"head.{ours}.value.weight"] = _fill(state[f"{theirs}.V{letter}.weight"], -1, d)
        biases = [state[name] for name in (f"{theirs}.W{letter}.bias", f"{theirs}.U{letter}.bias") if name in state]
        weights[f"head.{ours}.query.bias"] = _fill(sum(biases, torch.zeros(hidden)), -1, d)
    return encoder, weights


def _head(reference_class: str, config: Mapping[str, Any], faithful: bool) -> SoftmaxConfig:
    """Return the head of a CPR model.

    Raises:
        ConfigError: a setting is not supported.
    """
    gru = reference_class == "GRU4RecCPR"
    facets = int(config["n_facet"])
    context, rerank = int(config["n_facet_context"]), int(config["n_facet_reranker"])
    merge, mode = config["partition_merging_mode"], config["weight_mode"]
    mlp, window = -int(config["n_facet_MLP"]), -int(config["n_facet_window"])
    depth = min(int(config["n_facet_hidden"]), int(config["num_layers" if gru else "n_layers"]))
    if mlp > 1:
        raise ConfigError(f"n_facet_MLP = {-mlp} is not supported; possible: 0 and -1.")
    if faithful:
        if mlp and gru and depth > 1:
            raise ConfigError("RecBole itself cannot score a GRU4RecCPR that reads the states of several layers.")
        if merge not in ("replace", "add", "half")[: 3 if gru else 2]:  # supported by the class; GRU4RecCPR drops C
            context, merge = (0, merge) if gru else (context, "add")
        mode = mode if mode in ("dynamic", "static", "max_logits") else "uniform"
    options: dict[str, Any] = {
        "projection_bias": bool(config["use_proj_bias"]),
        "tied": not (gru and config["use_out_emb"]),
        "post": bool(config["post_remove_context"]),
    }
    if facets > 1:
        options |= {"facets": facets, "mixture": mode or "uniform"}
    if context:
        options |= {"context": True, "context_merge": merge}
        if config["n_facet_emb"]:
            options |= {"pointer": True, "context_norm": bool(config["context_norm"])}
        if facets > 1:
            options["context_facets"] = context
    if rerank:
        rerank_merge = config["reranker_merging_mode"]
        if faithful and rerank_merge != "add":
            rerank_merge = "replace"
        options |= {"rerank": _sizes(config), "rerank_merge": rerank_merge}
        if facets > 1:
            options["rerank_facets"] = rerank
    if mlp:
        options |= {"inputs": True, "window": window, "depth": depth}
    return SoftmaxConfig(**options)


def _head_weights(config: Mapping[str, Any], head: SoftmaxConfig, state: Weights) -> Weights:
    """Return the weights of a CPR model's head; RecBole stores the facets' maps in a list: V, R, C, P, L."""
    counts = {part: int(config[f"n_facet{part}"]) for part in ("", "_context", "_reranker")}
    if max(counts.values()) > len(state):
        raise ValueError("there are more facets than weights")
    suffixes = ["" if k == 0 else f"_{k + 1}" for k in range(max(counts.values()))]
    names = [f"V{suffix}" for suffix in suffixes[: counts[""]]]
    names += [f"R{size}{suffix}" for suffix in suffixes[: counts["_reranker"]] for size in _sizes(config)]
    names += [f"C{suffix}" for suffix in suffixes[: counts["_context"]]] + ["P", "L"] * bool(config["n_facet_emb"])
    unused = () if head.pointer else ("P", "L")
    weights: Weights = {}
    for place, name in enumerate(names):
        if name not in unused and (head.context or not name.startswith("C")):
            weights |= _linear(state, f"project_arr.{place}", f"head.maps.{name}")
    if head.inputs:
        weights |= _linear(state, "MLP_linear", "head.mix")
    if head.mixture == "dynamic":
        weights |= _linear(state, "weight_facet_decoder", "head.maps.mixture")
    if head.mixture == "static":
        weights["head.weights"] = state["weight_global"]
    if not head.tied:
        weights["output_embedding.weight"] = _with_our_padding(state["out_item_embedding.weight"])
    return weights


def _sizes(config: Mapping[str, Any]) -> tuple[int, ...]:
    """Return k of each reranker, in RecBole's order."""
    if not config.get("n_facet_reranker"):
        return ()
    return tuple(int(size) for size in str(config["reranker_CAN_NUM"]).split(","))


def _linear(state: Weights, theirs: str, ours: str) -> Weights:
    """Return a layer's weight, and its bias if there is one, under our name."""
    found = {f"{ours}.weight": state[f"{theirs}.weight"]}
    return found | ({f"{ours}.bias": state[f"{theirs}.bias"]} if f"{theirs}.bias" in state else {})


def _with_our_padding(table: torch.Tensor) -> torch.Tensor:
    """Append a row for cprlab's padding, whose code follows RecBole's."""
    return F.pad(table, (0, 0, 0, 1))


def _fill(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Append zeros along an axis (negative), up to `size`."""
    pad = [0, 0] * tensor.dim()
    pad[2 * (-axis) - 1] = size - tensor.shape[axis]
    return F.pad(tensor, pad)
