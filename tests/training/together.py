"""What test_distributed.py lets torchrun start, twice, in a folder that holds log.csv."""

import json
import os
import signal
import sys
from pathlib import Path

from cprlab import cli
from cprlab.data import Sequences
from cprlab.loading import load_log
from cprlab.models import GRU4RecConfig, MFConfig, SASRecConfig
from cprlab.training import RunConfig, TrainingConfig, loop, train

BATCH = 4
TRAINING = TrainingConfig(epochs=3, batch_size=BATCH, negatives=5, precision="float64")
GRU, SAS = GRU4RecConfig(d=8, hidden=8, dropout=0), SASRecConfig(d=8, inner=8, attention_dropout=0, dropout=0)
CONFIGS = [
    RunConfig(encoder=GRU, head="Softmax", training=TRAINING),
    RunConfig(encoder=SAS, head="Softmax + CPR:5 + Mi", training=TRAINING),
    RunConfig(encoder=GRU, head="RepeatNet", training=TRAINING),
    RunConfig(encoder=GRU, head="Softmax + C", training=TRAINING.but(loss="sampled")),
    RunConfig(encoder=MFConfig(d=8), head="Softmax", training=TRAINING),
    # its input embeddings have no part in the loss
    RunConfig(encoder=MFConfig(d=8), head="Softmax + CP (tied=False)", training=TRAINING.but(loss="gBCE")),
]
INTERRUPTED = RunConfig(encoder=GRU, head="Softmax + CP", training=TRAINING)
DIVERGING = ["--data", "log.csv", "--head", "Softmax + C", "--batch-size", "4", "--learning-rate", "1e30"]


def read() -> Sequences:
    """Return the sequences of log.csv."""
    return Sequences.from_log(load_log("log.csv"), max_len=10)


def main() -> None:
    """Train all configurations, and be killed in the third epoch of the last; started again, go on, and diverge."""
    rank, again = os.environ["RANK"], Path("seen-0.json").exists()
    sequences, batches, epochs = read(), loop._batches, []

    def counted(*args):
        epochs.append(len(epochs))
        if rank == "1" and not again and len(epochs) == 3 * len(CONFIGS) + 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(*args)

    loop._batches = counted
    if not again:
        runs = [train(sequences, config, "runs", "cpu") for config in CONFIGS]
        Path(f"seen-{rank}.json").write_text(json.dumps({run.folder.name: run.record["test"] for run in runs}))
    train(sequences, INTERRUPTED, "runs", "cpu")
    Path(f"epochs-{rank}.json").write_text(json.dumps(len(epochs)))
    sys.argv[1:] = ["train", *DIVERGING]
    cli.main()


if __name__ == "__main__":
    main()
