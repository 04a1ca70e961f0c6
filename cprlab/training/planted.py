"""Training on a planted log, and how far the result is from the best loss and from the floor of a single state."""

import pandas as pd

from cprlab.data import Plan
from cprlab.models import GRU4RecConfig, Recommender
from cprlab.training.loop import TrainingConfig, fit
from cprlab.training.runs import RunConfig, build

HIDDEN = 32  # of the encoder: enough to tell groups and to count, and quick
RATES = (0.02, 0.002)  # an epoch each: the second one settles what the first one's steps are too long for
BATCH = 16


def fit_plan(plan: Plan, head: str, seed: int = 0) -> Recommender:
    """Return a GRU4Rec with this head, trained on the plan's log while its embeddings stay the plan's; in float64.

    Args:
        plan: the log and the embeddings.
        head: the head's name, as in the paper.
        seed: of the weights and the order of batches.

    Raises:
        ConfigError: there is no such head, or it has output embeddings of its own.
    """
    sequences, embeddings = plan.sequences(), plan.embeddings()
    encoder = GRU4RecConfig(d=embeddings.shape[1], hidden=HIDDEN, recurrent_bias=True)
    training = TrainingConfig(epochs=1, batch_size=BATCH, seed=seed, precision="float64")
    recommender = build(RunConfig(encoder=encoder, head=head, training=training), sequences)
    recommender.freeze_items(embeddings)
    for rate in RATES:
        fit(recommender, sequences, training.but(learning_rate=rate), "cpu")
    return recommender


def planted_losses(plan: Plan, recommender: Recommender) -> pd.DataFrame:
    """Return what a recommender loses on the plan's test cases, by the true probabilities and not by the item drawn.

    Returns:
        A row a user: `user` (code), `length` (of the history), `best` (the least expected loss, nats), `floor` (by how
        much any single state is above it, at the least) and `loss` (the recommender's expected loss).
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
