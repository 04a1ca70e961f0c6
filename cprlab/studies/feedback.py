"""The notebook on the feedback loop: its populations, recommenders and rounds, and their results with intervals."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from cprlab.config import Names
from cprlab.errors import ConfigError
from cprlab.evaluation import estimate
from cprlab.files import missing, name_of, whole
from cprlab.models.encoders import CONFIGS
from cprlab.models.names import canonical
from cprlab.simulation import Population, learner, oracle, popular, simulate
from cprlab.studies.config import HeadsConfig
from cprlab.training import RunConfig, TrainingConfig

YARDSTICKS = {"oracle": oracle, "popular": popular}  # recommenders that learn nothing from a sequence
KEYS = ["world", "head", "measure"]


class Scale(NamedTuple):
    """Size of a simulation (users, items, rounds, visits of a user in a round) and settings of the training."""

    users: int
    items: int
    rounds: int
    visits: int
    epochs: int
    batch_size: int
    d: int


SCALES = {
    "smoke": Scale(48, 80, 3, 6, 5, 8, 16),
    "small": Scale(150, 150, 4, 8, 15, 16, 32),
    "full": Scale(3000, 1000, 12, 10, 50, 64, 64),
}


class FeedbackConfig(HeadsConfig):
    """Parameters of the notebook on the feedback loop, see `SCALES`.

    A seed determines the weights and the users' choices; the population is the same for all seeds.
    """

    heads: Names = ("Softmax", "Softmax (post)", "Softmax + CPR:20 + Mi")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the heads in their canonical form."""
        return canonical(self.heads)

    @property
    def simulated(self) -> Scale:
        """The size of the simulation: that of `SCALES`, with the settings that replace its values."""
        return Scale(**(SCALES[self.size]._asdict() | self.own))

    def population(self, **assumptions: Any) -> Population:
        """Return a population of this size.

        Raises:
            ConfigError: an assumption is not valid.
        """
        scale = self.simulated
        return Population(**({"users": scale.users, "items": scale.items} | assumptions))

    def run(self, worlds: Mapping[str, Population]) -> pd.DataFrame:
        """Simulate every world with every head, the oracle and the popular items, or load earlier results.

        Returns:
            The columns of `simulate`, after `world, head, seed`.
        """
        todo = [(w, name, seed) for w in worlds for name in (*self.names, *YARDSTICKS) for seed in range(self.seeds)]
        tables = []
        for world, name, seed in tqdm(todo, desc="simulations", unit=" simulations"):
            labels = pd.DataFrame({"world": world, "head": name, "seed": seed}, index=[0])
            tables.append(labels.merge(self._simulated(worlds[world], name, seed), how="cross"))
        return pd.concat(tables, ignore_index=True)

    def _simulated(self, population: Population, name: str, seed: int) -> pd.DataFrame:
        """Return the result of `simulate`, cached in a file whose name is a hash of all settings."""
        scale = self.simulated
        training = TrainingConfig(
            epochs=scale.epochs,
            batch_size=scale.batch_size,
            learning_rate=1e-2,
            seed=seed,
            precision=self.scale.precision,
        )
        encoder = CONFIGS[self.encoder](d=scale.d)
        asked = [population.model_dump(), name, encoder.model_dump(), training.model_dump(), scale.rounds, scale.visits]
        file = Path(self.runs) / f"simulation-{name_of(json.dumps(asked, sort_keys=True))}.parquet"
        with missing(file) as wanted:
            if wanted:
                retrain = YARDSTICKS.get(name) or learner(
                    RunConfig(encoder=encoder, head=name, training=training), population.items, self.device
                )
                table = simulate(population, retrain, scale.rounds, scale.visits, seed=seed)
                with whole(file) as new:
                    table.to_parquet(new)
        return pd.read_parquet(file)


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each measure over users and seeds in every round, with its 95% interval.

    Args:
        table: the result of `FeedbackConfig.run`.

    Returns:
        Rows `world, head, measure, round, value, low, high, n`; a measure of all users together has an interval over
        seeds only, and none if there is one seed.
    """
    rows = []
    for (world, head, measure, round_), values in _matrices(table).items():
        rows.append((world, head, measure, round_, *estimate(values)))
    return pd.DataFrame(rows, columns=[*KEYS, "round", "value", "low", "high", "n"])


def lasting(table: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return each head's gain over a base head, paired by user, in the first and the last round, and its change.

    Args:
        table: the result of `FeedbackConfig.run`.
        base: the head to compare with.

    Returns:
        Rows `world, head, measure, when ("first round" | "last round" | "change"), value, low, high, n`. There are no
        recommendations before the first round, so that its gain is that of one step.

    Raises:
        ConfigError: the base head was not simulated.
    """
    if base not in set(table["head"]):
        raise ConfigError(f"There is no simulation with {base} to compare with; run it too.")
    matrices, last = _matrices(table), table["round"].max()
    rows = []
    for world, head, measure in dict.fromkeys(key[:3] for key in matrices):
        if head == base:
            continue
        first, final = (
            matrices[world, head, measure, round_] - matrices[world, base, measure, round_] for round_ in (1, last)
        )
        for when, values in ("first round", first), ("last round", final), ("change", final - first):
            rows.append((world, head, measure, when, *estimate(values)))
    return pd.DataFrame(rows, columns=[*KEYS, "when", "value", "low", "high", "n"])


def _matrices(table: pd.DataFrame) -> dict[tuple, np.ndarray]:
    """Return (seeds, users) values by world, head, measure and round; one column for measures of all users together."""
    return {
        key: rows.pivot(index="seed", columns="user", values="value").to_numpy()
        for key, rows in table.groupby([*KEYS, "round"], sort=False)
    }
