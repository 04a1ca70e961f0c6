"""Training on a planted log; compare the loss with the best possible, and with the lower bound for a single state."""

import pandas as pd

from cprlab.data import Plan
from cprlab.models import GRU4RecConfig, Recommender
from cprlab.training.loop import TrainingConfig, fit
from cprlab.training.runs import RunConfig, build

HIDDEN = 32  # hidden units of the encoder: enough to distinguish groups and to count, and fast
RATES = (0.02, 0.002)  # learning rates, one after the other: the steps of the first are too large to converge
BATCH = 16


def fit_plan(plan: Plan, head: str, seed: int = 0, epochs: int = 1) -> Recommender:
    """Train a GRU4Rec on the plan's log, in float64, with item embeddings fixed to the plan's.

    Args:
        plan: the log and the embeddings.
        head: name of the head, as in the paper.
        seed: seed of the weights and the order of batches.
        epochs: number of epochs with each of the two rates.

    Raises:
        ConfigError: the head is unknown, or has its own output embeddings.
    """
    sequences, embeddings = plan.sequences(), plan.embeddings()
    encoder = GRU4RecConfig(d=embeddings.shape[1], hidden=HIDDEN, recurrent_bias=True)
    training = TrainingConfig(epochs=epochs, batch_size=BATCH, seed=seed, precision="float64")
    recommender = build(RunConfig(encoder=encoder, head=head, training=training), sequences)
    recommender.freeze_items(embeddings)
    for rate in RATES:
        fit(recommender, sequences, training.but(learning_rate=rate), "cpu")
    return recommender


def planted_losses(plan: Plan, recommender: Recommender) -> pd.DataFrame:
    """Return a recommender's expected loss on the plan's test cases, under the true probabilities.

    Returns:
        One row per user: `user` (code), `length` (of the history), `best` (the lowest possible expected loss, nats),
        `floor` (lower bound of the excess of any single state over `best`, nats) and `loss` (the recommender's
        expected loss, nats).
    """
    sequences = plan.sequences()
    windows = sequences.windows("test")
    histories = [sequences.items[start:stop] for start, stop in zip(windows.start, windows.stop, strict=True)]
    return pd.DataFrame(
        {
            "user": windows.user,
            "length": windows.lengths,
            "best": plan.best_loss(histories),
            "floor": plan.floor(histories),
            "loss": plan.expected_loss(histories, recommender.log_probs(histories)),
        }
    )
