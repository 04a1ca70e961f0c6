"""RecBole's side of `benchmarks/probe_recbole.py`: train a model, evaluate it, and report where its checkpoint is.

Runs in RecBole's environment, and imports nothing of cprlab. The working directory contains `log/log.inter`; RecBole
writes its files there.
"""

import json
import os
import sys
from contextlib import redirect_stdout

import torch


def main() -> dict[str, str | float]:
    """Train with the settings on the command line; return the checkpoint (`file`) and the NDCG@10 (`ndcg`)."""
    settings = json.loads(sys.argv.pop())  # RecBole would read the command line too
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # otherwise RecBole 1.2.1 cannot load its own checkpoint

    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    config = Config(
        dataset="log",
        config_dict={
            "data_path": ".",
            "checkpoint_dir": settings["model"],
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
            "train_neg_sample_args": None,
            "metrics": ["NDCG"],
            "topk": [10],
            "valid_metric": "NDCG@10",
            "metric_decimal_place": 12,
            "use_gpu": False,
            "show_progress": False,
            **settings,
        },
        model=settings["model"],
    )
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train.dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    torch.autograd.set_detect_anomaly(False)  # one of RecBole's imports turned it on
    torch.set_flush_denormal(True)
    trainer.fit(train, valid, verbose=False)
    scores = trainer.evaluate(test)
    return {"file": str(trainer.saved_model_file), "ndcg": float(scores["ndcg@10"])}


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # keep what libraries print out of the answer
        answer = main()
    print(json.dumps(answer))
