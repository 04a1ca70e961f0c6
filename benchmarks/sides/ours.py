"""cprlab's side of `benchmarks/against_recbole.py`: its training loop, some steps of an epoch at a time."""

import json
import sys
from contextlib import redirect_stdout

import lightning_fabric  # noqa: F401  # training imports it later, and imports are not counted
import torch

from benchmarks.memory import forget_peak, peak
from benchmarks.sides.turns import endless, serve
from cprlab.data import Sequences
from cprlab.loading import load_log
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.training import Training, TrainingConfig

ENCODERS: dict[str, type[GRU4RecConfig | SASRecConfig]] = {"GRU4Rec": GRU4RecConfig, "SASRec": SASRecConfig}


def main() -> None:
    """Train on request, with the settings on the command line."""
    settings = json.loads(sys.argv[1])
    forget_peak()
    before = peak()
    torch.manual_seed(0)
    sequences = Sequences.from_log(load_log(settings["data"]), max_len=settings["max_len"])
    encoder = ENCODERS[settings["encoder"]](**settings["sizes"])
    recommender = Recommender(encoder, parse_head(settings["head"]), sequences.n_items, max_len=settings["max_len"])
    config = TrainingConfig(batch_size=settings["batch_size"], learning_rate=settings["learning_rate"])
    steps = endless(Training(recommender, sequences, config, "cpu").epoch)

    def train(targets: int) -> int:
        """See `turns.serve`."""
        seen = 0
        while seen < targets:
            seen += next(steps)[0]
        return seen

    serve(train, before)


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # keep what libraries print out of the answers
        main()
