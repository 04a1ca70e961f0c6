"""EvidenceConfig: runs for a notebook, from those that are kept, or trained now at the size that is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pydantic

from cprlab.config import Names
from cprlab.errors import ConfigError
from cprlab.models.names import COUNTING
from cprlab.results.store import ENDINGS, Kept, keep, read_results
from cprlab.shipped import shipped
from cprlab.studies import StudyConfig
from cprlab.sweeps import Grid, run_trials
from cprlab.sweeps.grid import Trial
from cprlab.training import Run
from cprlab.training.runs import slug

KEPT = shipped("results")
TRAINED = ("complete-journey-types", "complete-journey-first")  # the built-in logs


class EvidenceConfig(StudyConfig):
    """Parameters of a notebook on results: kept runs, or, with a size, users or epochs, runs that are trained now."""

    data: Names = pydantic.Field((), description="Logs; if empty, all that are kept, or the built-in ones to train on.")
    encoder: Names = pydantic.Field(("GRU4Rec", "SASRec"), description="Encoders")  # type: ignore[assignment]
    size: Literal["kept", "smoke", "small", "full"] = pydantic.Field(  # type: ignore[assignment]
        "kept",
        description="Which runs: those that are kept, or runs trained now on as much of the logs as a size says.",
    )
    results: str = pydantic.Field("", description="Folder of kept runs; if empty, the one that comes with cprlab.")

    @property
    def trains(self) -> bool:
        """Whether runs are trained now, because a size, users or epochs are asked for."""
        return self.size != "kept" or bool(self.own)

    @property
    def sized(self) -> dict[str, Any]:
        """See `Sized`; without another size, "small"."""
        return super().sized | ({"size": "small"} if self.size == "kept" else {})

    def grid(self, **changes: object) -> Grid:
        """Return the grid to train; as `StudyConfig.grid`."""
        return super().grid(**({"data": self.data or TRAINED, "encoder": self.encoder} | changes))

    def plan(self) -> str:
        """Return in words which runs `kept` returns, and the hours that they took."""
        if self.trains:
            trials = self._trials(self.grid().data)
            own = "".join(f", {value} {name}" for name, value in self.own.items())
            return f"{len(trials)} runs (size {self.sized['size']}{own}) are trained now, or read from {self.runs}."
        found = self.kept()
        trained = [run for run in found if run.labels["encoder"]]
        logs, hours = {run.labels["data"] for run in found}, sum(run.minutes for run in trained) / 60
        return (
            f"{len(found)} kept runs on {len(logs)} logs. {len(trained)} of them were trained, until validation "
            f"stopped rising, in {hours:.1f} hours in all; the others count."
        )

    def kept(self) -> list[Kept]:
        """Return the runs of these heads, logs, encoders and split, with all seeds; counting heads have no encoder.

        Raises:
            CprlabError: none is kept, or a training fails.
        """
        folder = self._trained() if self.trains else Path(self.results or KEPT)
        names = [ENDINGS.sub("", Path(name).name) for name in self.data]
        found = [
            run
            for run in read_results(folder)
            if run.labels["split"] == self.split
            and run.labels["head"] in self.heads
            and (run.labels["data"] in names or not names)
            and run.labels["encoder"] in (*self.encoder, "")
        ]
        if not found:
            raise ConfigError(
                f"No run of {', '.join(self.heads)} on {', '.join(self.data) or 'any log'} is kept in {folder}; train "
                "some with users or epochs, as in: -p epochs 5"
            )
        return found

    def _trials(self, logs: tuple[str, ...]) -> list[Trial]:
        """Return the runs to train; counting heads once, since they have no encoder."""
        first = self.encoder[0]
        asked = self.grid().trials(logs)
        return [one for one in asked if one.labels["head"] not in COUNTING or one.labels["encoder"] == first]

    def _trained(self) -> Path:
        """Train the grid, and return a folder in which its runs are kept."""
        logs = self.logs()
        table = run_trials(self._trials(tuple(logs)), logs, self.runs, self.device).table
        folder = Path(self.runs) / "kept" / slug(f"{self.split} {self.sized} {self.max_len} {self.ties}")
        for path in table["folder"]:
            keep(Run.load(path), folder)
        return folder


def curves(runs: Sequence[Kept]) -> pd.DataFrame:
    """Return the learning curves of trained runs: rows `data, encoder, head, seed, epoch, loss, ndcg`.

    The loss is of training, in nats; NDCG@10 is of validation.
    """
    tables = []
    for run in runs:
        if run.labels["encoder"]:
            curve = {name: run.record["curve"][name] for name in ("loss", "ndcg")}
            labels = {name: value for name, value in run.labels.items() if name != "split"}
            tables.append(pd.DataFrame(labels | {"epoch": range(1, run.epochs + 1)} | curve))
    return pd.concat(tables, ignore_index=True)
