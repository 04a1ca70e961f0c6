"""significance: are differences between settings more than chance, over users or over data sets?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.evaluation.metrics import MAIN
from cprlab.evaluation.statistics import ALL_GROUPS, gains, paired

FLIPS = 9999  # random sign vectors per test; all of them if there are fewer
MANY = 1000  # with more users, a sum of random signs is practically normal
FEWEST_LOGS = 6  # minimum number of data sets for which the smallest two-sided p, 2 / 2ⁿ, is below 5%


def significance(
    cases: pd.DataFrame,
    base: dict[str, Any],
    metrics: Sequence[str] = (MAIN,),
    seed: int = 0,
    groups: Sequence[str] = ALL_GROUPS,
) -> pd.DataFrame:
    """Return `gains` with a test of each: are the two settings interchangeable for every user?

    If they are, a user's difference (mean over seeds) has either sign with equal probability. So signs are flipped at
    random for each user: the randomisation test, recommended by Smucker et al. (CIKM 2007) for such metrics. Users
    without a difference, often many, have no effect. Only users are resampled, so the test is about the seeds that were
    run.

    Args:
        cases: as in `Results`.
        base: labels, such as `{"head": "Softmax"}`.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap and of the signs.
        groups: as for `means`.

    Returns:
        Rows as in `gains`, with `p`, two-sided, and `holm`, adjusted for all tests of the table (Holm, 1979). Rows with
        the same differences for all users are one test, such as all and new targets of a log without repeats. Both are
        NaN if no user differs.

    Raises:
        ConfigError: as for `gains`.
    """
    differences = [(values - of_base).mean(0) for _, _, values, of_base in paired(cases, base, metrics, groups)]
    moved = [of_users[of_users != 0] for of_users in differences]  # 0 has no sign
    keys = [of_users.tobytes() for of_users in moved]
    p = {key: _exchangeable(of_users, seed) for key, of_users in dict(zip(keys, moved, strict=True)).items()}
    holm = dict(zip(p, holm_adjusted(np.array(list(p.values()))), strict=True))
    return gains(cases, base, metrics, seed, groups).assign(
        p=[p[key] for key in keys], holm=[holm[key] for key in keys]
    )


def signed_ranks(found: pd.DataFrame) -> pd.DataFrame:
    """Test over data sets whether each setting differs from its base, by Wilcoxon's two-sided signed-rank test.

    Args:
        found: rows of `gains` with one group of cases.

    Returns:
        Rows: the labels except `data`, then `ranking, metric, better, worse, n` (data sets), `p`, and `p_holm`,
        adjusted for all rows of a ranking and metric (Holm, 1979). Both are NaN for fewer than `FEWEST_LOGS` data sets,
        where even a gain on all of them would not be significant at 5%.
    """
    labels = [name for name in found.columns[: found.columns.get_loc("ranking")] if name != "data"]
    rows = []
    for key, of_setting in found.groupby([*labels, "ranking", "metric"], sort=False):
        values = of_setting["value"].to_numpy()
        counts = {"better": (values > 0).sum(), "worse": (values < 0).sum(), "n": len(values)}
        p = np.nan if len(values) < FEWEST_LOGS else stats.wilcoxon(values).pvalue if np.any(values) else 1.0
        rows.append(dict(zip([*labels, "ranking", "metric"], key, strict=True)) | counts | {"p": p})
    table = pd.DataFrame(rows)
    return table.assign(
        p_holm=table.groupby(["ranking", "metric"], sort=False)["p"].transform(lambda p: holm_adjusted(p.to_numpy()))
    )


def _exchangeable(moved: np.ndarray, seed: int) -> float:
    """Return the two-sided p-value of the mean of differences (m,), none of them 0, under random signs."""
    if len(moved) < 2:
        return 1.0 if len(moved) else np.nan
    if len(moved) > MANY:
        return float(2 * stats.norm.sf(abs(moved.sum()) / np.sqrt((moved**2).sum())))
    test = stats.permutation_test(
        (moved,), np.mean, vectorized=True, permutation_type="samples", n_resamples=FLIPS, batch=1000, rng=seed
    )
    return float(test.pvalue)


def holm_adjusted(p: np.ndarray) -> np.ndarray:
    """Return p-values (m,) adjusted for the number of tests that are not NaN (Holm, 1979)."""
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted
