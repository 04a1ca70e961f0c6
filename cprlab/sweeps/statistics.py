"""means, gains, trends, significance: metrics of many runs and paired differences, with intervals and tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.errors import ConfigError
from cprlab.evaluation import METRICS
from cprlab.evaluation.tables import GROUPS, RANKING, RESAMPLES

USERS_AT_ONCE = 2**14
FLIPS = 9999  # random signs that a test tries; all there are where these are fewer
MANY = 1000  # users above which a sum of random signs is as good as normal
OF_EVALUATE = "user"  # the first column behind the labels


def means(cases: pd.DataFrame, metrics: Sequence[str] = ("NDCG@10",), seed: int = 0) -> pd.DataFrame:
    """Return the mean of each metric over users and seeds, with its 95% interval.

    Args:
        cases: of `Results`.
        metrics: names of `evaluation.METRICS`.
        seed: of the bootstrap.

    Returns:
        Rows: the labels but for `seed`, then `ranking ("raw" | "post"), cases ("all" | "repeat" | "new"), metric,
        value, low, high, n` (users). "post" is the ranking with the history removed at inference. A group without cases
        has no rows.
    """
    rows = []
    for labels, of_run in _settings(cases):
        for (ranking, group, metric), values in _matrices(of_run, metrics):
            rows.append(labels | _described(ranking, group, metric, values, resampled_means(values, seed)))
    return pd.DataFrame(rows)


def gains(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str] = ("NDCG@10",), seed: int = 0
) -> pd.DataFrame:
    """Return what each setting gains over the one that has `base`'s labels and is alike in all others.

    Args:
        cases: of `Results`.
        base: labels, as in `{"head": "Softmax"}`.
        metrics: names of `evaluation.METRICS`.
        seed: of the bootstrap.

    Returns:
        Rows as of `means`, where `value, low, high` are of the paired difference, and `ratio, ratio_low, ratio_high` of
        the quotient of both means (nan where the base's mean is 0). Both are resampled alike.

    Raises:
        ConfigError: a label is unknown, or a setting has no base.
    """
    rows = []
    for labels, name, values, of_base in _paired(cases, base, metrics):
        drawn, drawn_base = resampled_means(values, seed), resampled_means(of_base, seed)
        mean = of_base.mean()
        row = _described(*name, values - of_base, drawn - drawn_base)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.float64(values.mean()) / mean if mean else np.nan
            low, high = np.nanpercentile(drawn / drawn_base, (2.5, 97.5)) if mean else (np.nan, np.nan)
        rows.append(labels | row | {"ratio": ratio, "ratio_low": low, "ratio_high": high})
    return pd.DataFrame(rows)


def significance(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str] = ("NDCG@10",), seed: int = 0
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

    Returns:
        Rows as of `gains`, with `p`, two-sided, and `holm`, adjusted for all rows that have one (Holm, 1979). Both are
        nan where no user differs: there is nothing to test.

    Raises:
        ConfigError: as `gains`.
    """
    table = gains(cases, base, metrics, seed)
    pairs = _paired(cases, base, metrics)
    p = np.array([_exchangeable((values - of_base).mean(0), seed) for _, _, values, of_base in pairs])
    return table.assign(p=p, holm=_holm(p))


def _exchangeable(differences: np.ndarray, seed: int) -> float:
    """Return the two-sided p-value of the mean of `differences` (m,) under random signs; nan if all are 0."""
    moved = differences[differences != 0]  # the sign of 0 is nothing
    if len(moved) < 2:
        return 1.0 if len(moved) else np.nan
    if len(moved) > MANY:
        return float(2 * stats.norm.sf(abs(moved.sum()) / np.sqrt((moved**2).sum())))
    test = stats.permutation_test(
        (moved,), np.mean, vectorized=True, permutation_type="samples", n_resamples=FLIPS, batch=1000, rng=seed
    )
    return float(test.pvalue)


def _holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (m,) adjusted for as many tests as are no nan."""
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # nan sorts last
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def trends(
    cases: pd.DataFrame, base: dict[str, Any], over: str, metrics: Sequence[str] = ("NDCG@10",), seed: int = 0
) -> pd.DataFrame:
    """Return how much the gain over `base` changes each time the setting `over` doubles.

    This is the slope of the least-squares line through the gains over log₂ of the setting. It is a weighted sum of
    paired differences, so its interval is paired too.

    Args:
        cases: of `Results`.
        base: labels, as in `gains`, without `over`.
        over: the label of a setting with positive values.
        metrics: names of `evaluation.METRICS`.
        seed: of the bootstrap.

    Returns:
        Rows as of `means`, without the label `over`.

    Raises:
        ConfigError: as for `gains`, or `over` has one value only.
    """
    of_line: dict[tuple, dict[float, np.ndarray]] = {}
    for labels, name, values, of_base in _paired(cases, base, metrics):
        rest = tuple((label, value) for label, value in labels.items() if label != over)
        of_line.setdefault((rest, name), {})[labels[over]] = values - of_base
    rows = []
    for (rest, name), differences in of_line.items():
        if len(differences) < 2:
            raise ConfigError(f"A trend takes two values of {over!r} at least; there is {list(differences)} only.")
        x = np.log2(list(differences))
        x -= x.mean()
        slopes = np.tensordot(x / (x @ x), list(differences.values()), axes=1)  # (S, m)
        rows.append(dict(rest) | _described(*name, slopes, resampled_means(slopes, seed)))
    return pd.DataFrame(rows)


def resampled_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return (1000,) means of `values` (S seeds, m users), both drawn with replacement; for one shape the same draw.

    Where S = 1 only users are drawn. Seeds and users are crossed, so this is Owen's pigeonhole bootstrap (Annals of
    Applied Statistics 1, 2007), which is conservative.
    """
    n_seeds, n_users = values.shape
    rng = np.random.default_rng(seed)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=RESAMPLES) / n_seeds  # (R, S)
    if n_users <= USERS_AT_ONCE:
        users = rng.multinomial(n_users, np.full(n_users, 1 / n_users), size=RESAMPLES) / n_users  # (R, m)
        return np.einsum("rs,rs->r", seeds, users @ values.T)
    drawn = np.zeros((RESAMPLES, n_seeds))
    for row in range(RESAMPLES):
        counts = np.bincount(rng.integers(n_users, size=n_users), minlength=n_users)
        drawn[row] = values @ counts / n_users
    return np.einsum("rs,rs->r", seeds, drawn)


def _settings(cases: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each setting's labels, `seed` left out, and its rows."""
    labels = [name for name in cases.columns[: cases.columns.get_loc(OF_EVALUATE)] if name != "seed"]
    for values, of_run in cases.groupby(labels, sort=False, dropna=False):
        yield dict(zip(labels, values, strict=True)), of_run


def _paired(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str]
) -> Iterator[tuple[dict[str, Any], tuple[str, str, str], np.ndarray, np.ndarray]]:
    """Yield each setting's labels, what is measured, and (seeds, users) of it and of its base."""
    of_setting = {tuple(labels.items()): of_run for labels, of_run in _settings(cases)}
    for key, of_run in of_setting.items():
        labels = dict(key)
        against = tuple((labels | base).items())
        if against == key:
            continue
        if against not in of_setting:
            raise ConfigError(f"There is no run {dict(against)} to compare {labels} with; run it too.")
        bases = dict(_matrices(of_setting[against], metrics))
        for name, values in _matrices(of_run, metrics):
            if values.shape != bases[name].shape:
                raise ConfigError(f"{labels} has other seeds or users than {dict(against)}; run both alike.")
            yield labels, name, values, bases[name]


def _matrices(of_run: pd.DataFrame, metrics: Sequence[str]) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """Yield (seeds, users) for each ranking, group of cases and metric; users in the order of the rows."""
    seeds = of_run["seed"].nunique()
    first = of_run[of_run["seed"] == of_run["seed"].iloc[0]]
    for metric in metrics:
        for ranking, rank in (("raw", "rank"), ("post", "rank_post"))[: 2 if metric in RANKING else 1]:
            values = METRICS[metric](of_run, rank).to_numpy(dtype=float).reshape(seeds, -1)
            for group, members in GROUPS.items():
                chosen = members(first).to_numpy()
                if chosen.any():
                    yield (ranking, group, metric), values[:, chosen]


def _described(ranking: str, group: str, metric: str, values: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "ranking": ranking, "cases": group, "metric": metric,
        "value": values.mean(), "low": low, "high": high, "n": values.shape[1],
    }  # fmt: skip
