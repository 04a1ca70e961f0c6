"""RecTools' side of `benchmarks/retrofit.py`: train a SASRec until validation stops, and write its Snapshot.

Runs in RecTools' environment, with cprlab's folder on `PYTHONPATH`.
"""

import json
import sys
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import torch


def main() -> dict[str, int]:
    """Train with the settings on the command line; return the number of epochs, and of cases of the Snapshot."""
    settings = json.loads(sys.argv[1])

    from pytorch_lightning import Trainer, seed_everything
    from pytorch_lightning.callbacks import EarlyStopping
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    from cprlab.probes import from_rectools

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=settings["epochs"],
            callbacks=[EarlyStopping("val_loss", patience=settings["patience"])],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            accelerator="cpu",
        )

    def last(rows: pd.DataFrame) -> np.ndarray:
        return rows.groupby("user_id")["datetime"].rank(method="first", ascending=False).to_numpy() == 1

    seed_everything(0)
    torch.set_flush_denormal(True)
    log = pd.read_csv(settings["log"], sep="\t").set_axis(["user_id", "item_id", "place"], axis=1)
    log["datetime"] = pd.Timestamp(0) + pd.to_timedelta(log.pop("place"), unit="min")
    model = SASRecModel(**settings["sizes"], get_val_mask_func=last, get_trainer_func=trainer)
    model.fit(Dataset.construct(log[~last(log)].assign(weight=1)))
    snapshot = from_rectools(model, log)
    snapshot.save(settings["out"])
    return {"epochs": model.fit_trainer.current_epoch, "cases": len(snapshot)}


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # keep what libraries print out of the answer
        answer = main()
    print(json.dumps(answer))
