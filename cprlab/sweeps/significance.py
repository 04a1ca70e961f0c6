"""significance: are differences between settings more than chance, user by user, or data set by data set?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.evaluation import MAIN, gains
from cprlab.evaluation.statistics import ALL_GROUPS, paired

FLIPS = 9999  # random signs that a test tries; all there are where these are fewer
MANY = 1000  # users above which a sum of random signs is as good as normal
FEWEST_LOGS = 6  # data sets from which on the smallest two-sided p, 2 / 2ⁿ, is below 5%


def significance(
    cases: pd.DataFrame,
    base: dict[str, Any],
    metrics: Sequence[str] = (MAIN,),
    seed: int = 0,
    groups: Sequence[str] = ALL_GROUPS,
) -> pd.DataFrame:
    """Return `gains` with a test of each: are the two settings interchangeable for every user?

    If they are, a user's difference (the mean over seeds) has either sign alike. So signs are flipped at random, user
    by user: the randomisation test, which Smucker et al. (CIKM 2007) recommend for metrics like these. Users
    without any difference, of which there are many, change nothing. As only users are drawn, this speaks of the seeds
    that were run.

    Args:
        cases: of `Results`.
        base: labels, as in `{"head": "Softmax"}`.
        metrics: names of `evaluation.METRICS`.
        seed: of the bootstrap and of the signs.
        groups: as for `means`.

    Returns:
        Rows as of `gains`, with `p`, two-sided, and `holm`, adjusted for all tests of the table (Holm, 1979). Rows in
        which users differ alike are one test, such as those of all and of new targets where nothing repeats. Both are
        nan where no user differs: there is nothing to test.

    Raises:
        ConfigError: as `gains`.
    """
    differences = [(values - of_base).mean(0) for _, _, values, of_base in paired(cases, base, metrics, groups)]
    moved = [of_users[of_users != 0] for of_users in differences]  # the sign of 0 is nothing
    keys = [of_users.tobytes() for of_users in moved]
    p = {key: _exchangeable(of_users, seed) for key, of_users in dict(zip(keys, moved, strict=True)).items()}
    holm = dict(zip(p, holm_adjusted(np.array(list(p.values()))), strict=True))
    return gains(cases, base, metrics, seed, groups).assign(
        p=[p[key] for key in keys], holm=[holm[key] for key in keys]
    )


def signed_ranks(found: pd.DataFrame) -> pd.DataFrame:
    """Test over data sets whether each setting differs from its base: Wilcoxon's signed-rank test, two-sided.

    Args:
        found: rows of `gains` with one group of cases.

    Returns:
        Rows: the labels but for `data`, then `ranking, metric, better, worse, n` (data sets), `p`, and `p_holm`, which
        holds for all rows of a ranking and metric together (Holm, 1979). Both are nan for fewer than `FEWEST_LOGS`,
        where even a gain on every one would not be significant at 5%.
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
    """Return p-values (m,) adjusted for as many tests as are no nan."""
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan sorts last
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted
