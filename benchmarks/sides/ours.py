"""The side of cprlab in `benchmarks/against_recbole.py`: the loop's batches and loss, some of an epoch at a time."""

import json
import sys

import numpy as np
import torch
from lightning_fabric import Fabric
from memory import forget_peak, peak
from turns import endless, serve

from cprlab.data import Sequences, load_log
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.training.loop import _batches, _loss
from cprlab.training.loss import CrossEntropy

ENCODERS = {"GRU4Rec": GRU4RecConfig, "SASRec": SASRecConfig}

settings = json.loads(sys.argv[1])
forget_peak()
before = peak()
torch.manual_seed(0)
sequences = Sequences.from_log(load_log(settings["data"]), max_len=settings["max_len"])
windows = sequences.windows("train")
encoder = ENCODERS[settings["encoder"]](**settings["sizes"])
recommender = Recommender(encoder, parse_head(settings["head"]), sequences.n_items, max_len=settings["max_len"])
fabric = Fabric(accelerator="cpu", devices=1)
model, optimizer = fabric.setup(recommender, torch.optim.Adam(recommender.parameters(), lr=settings["learning_rate"]))
model.train()
loss = CrossEntropy()
stream = endless(lambda epoch: _batches(windows, settings["batch_size"], np.random.default_rng((0, epoch))))


def train(targets: int) -> int:
    """See `turns.serve`."""
    seen, total = 0, 0.0
    while seen < targets:
        chosen = next(stream)
        value = _loss(loss, model, recommender, sequences.batch(windows, chosen), fabric.device)
        n_targets = int(windows.n_targets[chosen].sum())
        optimizer.zero_grad()
        fabric.backward(value / n_targets)
        optimizer.step()
        total += float(value.detach())
        seen += n_targets
    return seen


serve(train, before)
