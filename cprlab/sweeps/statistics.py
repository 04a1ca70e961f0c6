"""means, gains and tests: metrics of many runs and their paired differences, with intervals over seeds and users."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cprlab.errors import ConfigError
from cprlab.evaluation import METRICS
from cprlab.evaluation.tables import GROUPS, RANKING, RESAMPLES

USERS_AT_ONCE = 2**14
FEWEST_LOGS = 6  # data sets from which on the smallest two-sided p, 2 / 2ⁿ, is below 5%
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
    for labels, name, values, of_base in _pairs(cases, base, metrics):
        drawn, base_drawn = resampled_means(values, seed), resampled_means(of_base, seed)
        row = _described(*name, values - of_base, drawn - base_drawn)
        mean = of_base.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.float64(values.mean()) / mean if mean else np.nan
            low, high = np.nanpercentile(drawn / base_drawn, (2.5, 97.5)) if mean else (np.nan, np.nan)
        rows.append(labels | row | {"ratio": ratio, "ratio_low": low, "ratio_high": high})
    return pd.DataFrame(rows)


def geometric_mean_gains(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str] = ("NDCG@10",), seed: int = 0
) -> pd.DataFrame:
    """Return by what share each setting is above its base in the geometric mean over data, as in the paper's tables.

    Args:
        cases: of `Results`; each setting on the same data.
        base: as for `gains`.
        metrics: names of `evaluation.METRICS`; their means must not be 0.
        seed: of the bootstrap.

    Returns:
        Rows: the labels but for `data` and `seed`, then `logs ("with repeats" | "without repeats" | "all"), ranking,
        metric, value, low, high, n` (data). The value 0.1 is a gain of 10%. A log has repeats if any test case is one.
        Seeds and users of each log are resampled alike for the setting and its base, and apart from other logs'.

    Raises:
        ConfigError: as for `gains`.
    """
    repeats = cases.groupby("data", sort=False)["repeat"].any()
    places = {data: place for place, data in enumerate(repeats.index)}
    ratios: dict[tuple, dict[str, np.ndarray]] = {}
    for labels, (ranking, group, metric), values, of_base in _pairs(cases, base, metrics):
        if group != "all":
            continue
        data, draw = labels["data"], (seed, places[labels["data"]])
        key = (*((name, value) for name, value in labels.items() if name != "data"), ranking, metric)
        drawn, base_drawn = resampled_means(values, draw), resampled_means(of_base, draw)
        with np.errstate(divide="ignore", invalid="ignore"):
            both = np.log(np.append(drawn, values.mean()) / np.append(base_drawn, of_base.mean()))
        ratios.setdefault(key, {})[data] = both
    rows = []
    for (*labels, ranking, metric), of_data in ratios.items():
        for logs, chosen in (
            ("with repeats", [data for data in of_data if repeats[data]]),
            ("without repeats", [data for data in of_data if not repeats[data]]),
            ("all", list(of_data)),
        ):
            if chosen:
                *drawn, value = np.expm1(np.mean([of_data[data] for data in chosen], axis=0))
                low, high = np.nanpercentile(drawn, (2.5, 97.5), method="inverted_cdf")  # never between two infinities
                numbers = {"value": value, "low": low, "high": high, "n": len(chosen)}
                rows.append(dict(labels) | {"logs": logs, "ranking": ranking, "metric": metric} | numbers)
    return pd.DataFrame(rows)


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
    return table.assign(p_holm=table.groupby(["ranking", "metric"], sort=False)["p"].transform(_holm))


def resampled_means(values: np.ndarray, seed: int | tuple[int, ...] = 0) -> np.ndarray:
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


def _holm(p: pd.Series) -> pd.Series:
    order = p.sort_values()
    steps = (order * np.arange(order.count(), order.count() - len(order), -1)).clip(upper=1)
    return steps.cummax()


def _pairs(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str]
) -> Iterator[tuple[dict[str, Any], tuple[str, str, str], np.ndarray, np.ndarray]]:
    """Yield labels, (ranking, group, metric), and (seeds, users) values of each setting and of its base.

    Raises:
        ConfigError: a label is unknown, or a setting has no base.
    """
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


def _settings(cases: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each setting's labels, `seed` left out, and its rows."""
    labels = [name for name in cases.columns[: cases.columns.get_loc(OF_EVALUATE)] if name != "seed"]
    for values, of_run in cases.groupby(labels, sort=False, dropna=False):
        yield dict(zip(labels, values, strict=True)), of_run


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
