"""Encoders: embedded items in, the states of every layer at every position out."""

from typing import Literal

import pydantic
import torch
from torch import nn

from cprlab.config import Config


class EncoderConfig(Config):
    """Which encoder reads the history, and its sizes.

    Attributes:
        name: the encoder.
        d: size of item embeddings and of the states that it gives.
        hidden: size of the recurrent state.
        layers: how many recurrent layers.
        dropout: share of the embedded inputs that is dropped in training.
    """

    name: Literal["GRU4Rec"] = "GRU4Rec"
    d: int = pydantic.Field(64, ge=1)
    hidden: int = pydantic.Field(64, ge=1)
    layers: int = pydantic.Field(1, ge=1)
    dropout: float = pydantic.Field(0.0, ge=0, lt=1)


class GRU4Rec(nn.Module):
    """Dropout, GRU layers without bias, and a linear map of each layer's states to d (Hidasi et al., ICLR 2016)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            nn.GRU(config.hidden if depth else config.d, config.hidden, bias=False, batch_first=True)
            for depth in range(config.layers)
        )
        self.dense = nn.Linear(config.hidden, config.d)
        for layer in self.layers:
            for weight in layer.parameters():
                nn.init.xavier_uniform_(weight)

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        """Read embedded items (B, L, d); return states (B, L, layers, d), the top layer last.

        A state depends only on the items at and before its position.
        """
        x, states = self.dropout(embedded), []
        for layer in self.layers:
            x, _ = layer(x)
            states.append(self.dense(x))
        return torch.stack(states, dim=2)


def build_encoder(config: EncoderConfig) -> nn.Module:
    """Return a new, untrained encoder."""
    return {"GRU4Rec": GRU4Rec}[config.name](config)
