"""Encoders: map embedded items to the states of every layer at every position."""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import pydantic
import torch
from torch import nn

from cprlab.config import Config
from cprlab.errors import ConfigError


class GRU4RecConfig(Config):
    """Sizes of a `GRU4Rec`.

    Attributes:
        d: size of item embeddings and of output states.
        hidden: size of the recurrent state.
        layers: number of recurrent layers.
        dropout: dropout rate of the embedded inputs.
        recurrent_bias: whether the recurrent layers have biases, as in RepeatNet.
    """

    name: Literal["GRU4Rec"] = "GRU4Rec"
    d: int = pydantic.Field(64, ge=1)
    hidden: int = pydantic.Field(128, ge=1)
    layers: int = pydantic.Field(1, ge=1, le=100)
    dropout: float = pydantic.Field(0.3, ge=0, lt=1)
    recurrent_bias: bool = False


class SASRecConfig(Config):
    """Sizes of a `SASRec`.

    Attributes:
        d: size of item embeddings and of all states.
        layers: number of transformer layers.
        heads: number of attention heads, a divisor of d.
        inner: width of the feed-forward networks.
        dropout: dropout rate of the embedded inputs and of each sublayer's output.
        attention_dropout: dropout rate of the attention weights.
        activation: activation of the feed-forward networks.
        norm_first: True (pre-norm) normalises the input of each sublayer, and the layers' states. False (post-norm, as
            in RecBole) normalises the embedded inputs, and the sum of each sublayer's output and input.
        norm_eps: constant added to variances in LayerNorm.
    """

    name: Literal["SASRec"] = "SASRec"
    d: int = pydantic.Field(64, ge=1)
    layers: int = pydantic.Field(2, ge=1, le=100)
    heads: int = pydantic.Field(2, ge=1)
    inner: int = pydantic.Field(256, ge=1)
    dropout: float = pydantic.Field(0.3, ge=0, lt=1)
    attention_dropout: float = pydantic.Field(0.3, ge=0, lt=1)
    activation: Literal["gelu", "relu", "swish", "tanh", "sigmoid"] = "gelu"
    norm_first: bool = True
    norm_eps: float = pydantic.Field(1e-12, gt=0)

    @pydantic.model_validator(mode="after")
    def _check(self) -> "SASRecConfig":
        if self.d % self.heads:
            raise ValueError(f"{self.heads} heads cannot share d = {self.d}; choose a divisor")
        return self


class MFConfig(Config):
    """Sizes of an `MF`.

    Attributes:
        d: size of user and item vectors.
        layers: always 1, the user's vector.
        dropout: dropout rate of the user's vector.
    """

    name: Literal["MF"] = "MF"
    d: int = pydantic.Field(64, ge=1)
    layers: Literal[1] = 1
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)


EncoderName = Literal["GRU4Rec", "SASRec", "MF"]
EncoderConfig = Annotated[GRU4RecConfig | SASRecConfig | MFConfig, pydantic.Field(discriminator="name")]
CONFIGS = {config.model_fields["name"].default: config for config in (GRU4RecConfig, SASRecConfig, MFConfig)}

# Every encoder is called with
#   embedded  (B, L, d) embedded items,
#   valid     (B, L) bool, False for padding,
#   users     (B,) int64 codes, or None,
# and returns states (B, L, layers, d), the top layer last. No state depends on later positions.


class GRU4Rec(nn.Module):
    """Dropout, GRU layers, and a linear map of each layer's states to d (Hidasi et al., ICLR 2016)."""

    def __init__(self, config: GRU4RecConfig) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.GRU(config.hidden if depth else config.d, config.hidden, bias=config.recurrent_bias, batch_first=True)
            for depth in range(config.layers)
        )
        self.dense = nn.Linear(config.hidden, config.d)
        for name, weight in self.layers.named_parameters():
            if "weight" in name:
                nn.init.xavier_uniform_(weight)

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d); see above."""
        x, states = self.dropout(embedded), []
        for layer in self.layers:
            x, _ = layer(x)
            states.append(self.dense(x))
        return torch.stack(states, dim=2)


class SASRec(nn.Module):
    """Item and position embeddings, dropout, causal transformer layers, LayerNorm (Kang & McAuley, ICDM 2018).

    With pre-norm, item embeddings are multiplied by √d (Vaswani et al., NeurIPS 2017), as in the paper's own code, and
    the LayerNorm is applied to each layer's states. With post-norm, it is applied to the embedded inputs.
    """

    def __init__(self, config: SASRecConfig, max_len: int) -> None:
        super().__init__()
        self.config = config
        self.norm_first, self.scale = config.norm_first, math.sqrt(config.d) if config.norm_first else 1.0
        self.positions = nn.Embedding(max_len, config.d)
        self.norm = nn.LayerNorm(config.d, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        others: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "swish": nn.functional.silu,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
        }
        layers = [
            nn.TransformerEncoderLayer(
                config.d,
                config.heads,
                config.inner,
                config.dropout,
                activation=others.get(config.activation, config.activation),
                layer_norm_eps=config.norm_eps,
                batch_first=True,
                norm_first=config.norm_first,
            )
            for _ in range(config.layers)
        ]
        for layer in layers:
            layer.self_attn.dropout = config.attention_dropout
            layer.dropout.p = 0.0  # dropout on the sublayers' outputs only, not inside them
        self.layers = nn.ModuleList(layers)
        for name, weight in self.named_parameters():
            if "norm" not in name:
                nn.init.normal_(weight, std=0.02) if weight.dim() > 1 else nn.init.zeros_(weight)

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d); see above.

        Raises:
            ConfigError: the input is longer than the number of positions.
        """
        length = embedded.shape[1]
        if length > len(self.positions.weight):
            raise ConfigError(
                f"SASRec has {len(self.positions.weight)} positions and cannot read {length} items; "
                "set the recommender's max_len to the length of the longest history."
            )
        x = self.scale * embedded + self.positions.weight[:length]
        x = self.dropout(x if self.norm_first else self.norm(x))
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        states = []
        for layer in self.layers:
            x = layer(x, src_mask=later, src_key_padding_mask=~valid)
            states.append(self.norm(x) if self.norm_first else x)
        return torch.stack(states, dim=2)


class MF(nn.Module):
    """Matrix factorisation: the hidden state is the user's vector for any history (Koren et al., Computer 2009)."""

    def __init__(self, config: MFConfig, n_users: int) -> None:
        super().__init__()
        self.config = config
        self.users = nn.Embedding(n_users, config.d)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.xavier_normal_(self.users.weight)

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, 1, d), the same at all positions; see above.

        Raises:
            ConfigError: `users` is missing.
        """
        if users is None:
            raise ConfigError("Matrix factorisation predicts for the users that it was trained on; name them: users=…")
        return self.dropout(self.users(users))[:, None, None].expand(-1, embedded.shape[1], -1, -1)


def build_encoder(config: EncoderConfig, n_users: int, max_len: int) -> nn.Module:
    """Return a new, untrained encoder that reads at most `max_len` items.

    Raises:
        ConfigError: the encoder learns a vector for each user, and `n_users` is 0.
    """
    match config:
        case GRU4RecConfig():
            return GRU4Rec(config)
        case SASRecConfig():
            return SASRec(config, max_len)
        case MFConfig():
            if not n_users:
                raise ConfigError("Matrix factorisation learns a vector for each user; give their number: n_users=…")
            return MF(config, n_users)
