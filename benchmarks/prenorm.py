"""Would SASRec do better if its layers normalised before each sublayer, as later transformers do, and not after it?

    PYTHONPATH=. python benchmarks/prenorm.py --data ml-100k.inter --epochs 60 --encoder SASRec \\
        --head Softmax --head "Softmax + CPR:100 + Mi"

takes the arguments of `benchmarks/accuracy.py` and writes the same table, of SASRec in the pre-norm form: nothing is
normalised below the first layer, each sublayer normalises what it reads, and one more LayerNorm what each layer gives.
"""

from unittest.mock import patch

import torch
import typer
from torch import nn

from benchmarks.accuracy import main
from cprlab.models import encoders


class PreNorm(encoders.SASRec):
    """SASRec in the pre-norm form."""

    def __init__(self, config: encoders.SASRecConfig, max_len: int) -> None:
        super().__init__(config, max_len)
        self.add_module("norm", nn.Identity())
        self.last = nn.LayerNorm(config.d, eps=config.norm_eps)
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            layer.norm_first = True

    def forward(self, embedded: torch.Tensor, valid: torch.Tensor, users: torch.Tensor | None) -> torch.Tensor:
        """Return states (B, L, layers, d)."""
        return self.last(super().forward(embedded, valid, users))


if __name__ == "__main__":
    with patch.object(encoders, "SASRec", PreNorm):
        typer.run(main)
