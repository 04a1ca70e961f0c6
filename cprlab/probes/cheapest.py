"""cheapest: which part to fit to a frozen model, if any: the cheapest within noise of the best."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from tqdm import tqdm

from cprlab.errors import DataError
from cprlab.evaluation import means, significance, stacked
from cprlab.probes.likelihood import PARTS, Part
from cprlab.probes.retrofit import Retrofit, retrofit
from cprlab.probes.snapshot import Snapshot

NOTHING = "nothing"
LEVEL = 0.05
CHEAPEST = (
    "All parts are fitted on the same cases and compared on the same other cases. The best has the lowest log-loss "
    f"there. The part named is the cheapest, in the order {', '.join((NOTHING, *PARTS))}, whose log-loss is not "
    "significantly higher than that of the best: the paired difference over users, tested by random signs (two-sided, "
    f"{LEVEL:.0%}) with Holm's correction for the comparisons with the best."
)


@dataclass(frozen=True)
class Cheapest:
    """Result of the rule (`CHEAPEST`).

    Attributes:
        part: the part named, "nothing" if the frozen model is within noise of the best.
        best: what has the lowest log-loss; may be "nothing" too.
        table: a row for each part and "nothing", cheapest first: `part, parameters, log_loss`, `value, low, high` of
            the paired difference to the best, `n` (users), `p, holm`, and `within`: whether it is within noise of the
            best. For the best, the difference is 0 and the tests are NaN.
    """

    part: str
    best: str
    table: pd.DataFrame


def retrofits(
    snapshot: Snapshot,
    *,
    validation: Snapshot | None = None,
    users: ArrayLike | None = None,
    validation_users: ArrayLike | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[Part, Retrofit]:
    """Fit every part to a frozen model on the same cases; arguments and errors as of `retrofit`."""
    return {
        part: retrofit(snapshot, part, validation=validation, users=users, validation_users=validation_users, seed=seed)
        for part in tqdm(PARTS, desc="parts fitted", disable=not progress, leave=False)
    }


def cheapest(fitted: Mapping[Part, Retrofit], seed: int = 0) -> Cheapest:
    """Apply the rule (`CHEAPEST`).

    Args:
        fitted: by part, results of `retrofit` on the same cases, in any order.
        seed: of the bootstrap and of the signs.

    Raises:
        DataError: the parts are none, or were judged on different cases.
    """
    parts = [part for part in PARTS if part in fitted]
    befores = [fitted[part].cases["before"] for part in parts]
    if not befores or not all(befores[0].equals(other) for other in befores):
        raise DataError("Parts are compared after `retrofit` judged them on the same cases of one model.")
    cases: dict[str, pd.DataFrame] = {NOTHING: befores[0]}
    cases |= {part: fitted[part].cases["after"] for part in parts}
    parameters = {NOTHING: 0} | {part: fitted[part].parameters for part in parts}
    both = stacked(cases)
    levels = means(both, ("log-loss",), seed, ("all",)).set_index("head")["value"]
    best = str(levels.idxmin())
    tests = significance(both, {"head": best}, ("log-loss",), seed, ("all",)).set_index("head")
    rows = []
    for part in cases:
        row = {"part": part, "parameters": parameters[part], "log_loss": levels[part]}
        of_best = {"value": 0.0, "low": 0.0, "high": 0.0, "n": tests["n"].iloc[0], "p": np.nan, "holm": np.nan}
        rows.append(row | (of_best if part == best else tests.loc[part, list(of_best)].to_dict()))
    table = pd.DataFrame(rows)
    table["within"] = ~(table["holm"] < LEVEL)  # NaN: no user differs
    return Cheapest(table["part"][table["within"].idxmax()], best, table)
