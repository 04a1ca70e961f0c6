"""RecBole's side of `benchmarks/against_recbole.py`: its own data, model and training loop, some batches at a time.

Runs in RecBole's environment, and imports nothing of cprlab. The working directory contains `log/log.inter`; RecBole
writes its files there.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import torch

from benchmarks.memory import forget_peak, peak
from benchmarks.sides.turns import endless, serve

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction


def main() -> None:
    """Train on request, with the settings on the command line."""
    settings = json.loads(sys.argv.pop())  # RecBole would read the command line too
    if settings["best"]:
        torch.set_flush_denormal(True)  # before any thread starts, so that all inherit it

    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    forget_peak()
    before = peak()
    config = Config(
        model=settings["model"],
        dataset="log",
        config_dict={
            "data_path": ".",
            "checkpoint_dir": ".",
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": settings["max_len"],
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
            "train_neg_sample_args": None,
            "train_batch_size": settings["batch_size"],
            "learning_rate": settings["learning_rate"],
            "use_gpu": False,
            **settings["sizes"],
        },
    )
    init_seed(config["seed"], config["reproducibility"])
    loader, _, _ = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, loader.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    if settings["best"]:
        torch.autograd.set_detect_anomaly(False)  # one of RecBole's imports turned it on
    stream = endless(lambda epoch: loader)

    def train(targets: int) -> int:
        """See `turns.serve`; a target is a sample."""
        seen = 0

        def some() -> Iterator["Interaction"]:
            nonlocal seen
            while seen < targets:
                interaction = next(stream)
                seen += len(interaction)
                yield interaction

        trainer._train_epoch(some(), 0)
        return seen

    serve(train, before)


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # keep what libraries print out of the answers
        main()
