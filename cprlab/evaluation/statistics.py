"""means, gains, trends, by_bins: metrics of runs and their paired differences, with intervals over seeds and users."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cprlab.errors import ConfigError
from cprlab.evaluation.bootstrap import Estimate, bounds, estimate, judge, resampled_means, shares
from cprlab.evaluation.metrics import GROUPS, MAIN, METRICS, user_means
from cprlab.models.names import COUNTING

ALL_GROUPS = tuple(GROUPS)
OF_EVALUATE = "user"  # the first column after the labels


def labelled(cases: pd.DataFrame, labels: Mapping[str, Any]) -> pd.DataFrame:
    """Return the cases of one run with label columns in front that distinguish it from other runs."""
    return pd.concat([pd.DataFrame(labels, index=cases.index), cases], axis=1)


def stacked(cases: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the cases of heads, with the labels `head` and `seed`, like a sweep with one seed.

    Args:
        cases: results of `evaluate` by head, or a Snapshot's cases, where each case counts as a user.
    """
    tables = [
        labelled(of_head.rename(columns={"case": "user"}), {"head": head, "seed": 0}) for head, of_head in cases.items()
    ]
    return pd.concat(tables, ignore_index=True)


def means(
    cases: pd.DataFrame,
    metrics: Sequence[str] = (MAIN,),
    seed: int = 0,
    groups: Sequence[str] = ALL_GROUPS,
) -> pd.DataFrame:
    """Return the mean of each metric over users and seeds, with its 95% interval.

    Args:
        cases: cases with labels, as in `Results` or from `stacked`.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.
        groups: any of "all", "repeat" and "new".

    Returns:
        Rows: the labels except `seed`, then `ranking ("raw" | "post"), cases ("all" | "repeat" | "new"), metric,
        value, low, high, n` (users). "post" is the ranking with the history removed at inference. A group without cases
        has no rows.
    """
    rows = []
    for labels, of_run in _settings(cases):
        for name, values in _matrices(of_run, metrics, groups):
            rows.append(labels | _row(name, estimate(values, seed)))
    return pd.DataFrame(rows)


def gains(
    cases: pd.DataFrame,
    base: dict[str, Any],
    metrics: Sequence[str] = (MAIN,),
    seed: int = 0,
    groups: Sequence[str] = ALL_GROUPS,
) -> pd.DataFrame:
    """Return each setting's gain over its base: the setting with `base`'s labels and the same other labels.

    A counting head has one run, which is paired with each seed of the other side.

    Args:
        cases: as for `means`.
        base: labels, such as `{"head": "Softmax"}`.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.
        groups: as for `means`.

    Returns:
        Rows as in `means`, where `value, low, high` are of the paired difference, and `ratio, ratio_low, ratio_high` of
        the ratio of both means (NaN if the base's mean is 0, for the bounds also in any resample). Both use the same
        resamples. `verdict` is what `judge` says of the difference.

    Raises:
        ConfigError: a label is unknown, or a setting has no base.
    """
    rows = []
    for labels, name, values, of_base in paired(cases, base, metrics, groups):
        drawn, base_drawn = resampled_means(values, seed), resampled_means(of_base, seed)
        found = Estimate((values - of_base).mean(), *bounds(drawn - base_drawn), values.shape[1])
        ratio = values.mean() / of_base.mean() if of_base.any() else np.nan
        low, high = bounds(drawn / base_drawn) if base_drawn.all() else (np.nan, np.nan)
        ratios = {"ratio": ratio, "ratio_low": low, "ratio_high": high}
        rows.append(labels | _row(name, found) | ratios | {"verdict": judge(found, METRICS[name[-1]].better)})
    return pd.DataFrame(rows)


def geometric_mean_gains(
    cases: pd.DataFrame,
    base: dict[str, Any],
    metrics: Sequence[str] = (MAIN,),
    seed: int = 0,
    over_logs: bool = False,
) -> pd.DataFrame:
    """Return each setting's relative gain over its base in the geometric mean over data, as in the paper's tables.

    Args:
        cases: as for `means`; each setting on the same data.
        base: as for `gains`.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.
        over_logs: resample the logs too, so that the interval is about logs like these, not only these.

    Returns:
        Rows: the labels except `data` and `seed`, then `logs ("with repeats" | "without repeats" | "all"), ranking,
        metric, value, low, high, n` (data). The value 0.1 is a gain of 10%; it is NaN if the base's mean is 0 on any
        log. A log has repeats if any of its test cases is one. A setting and its base use the same resamples of seeds
        and users, independent for each log.

    Raises:
        ConfigError: as for `gains`.
    """
    repeats = cases.groupby("data", sort=False)["repeat"].any()
    places = {data: place for place, data in enumerate(repeats.index)}
    ratios: dict[tuple, dict[str, np.ndarray]] = {}
    for labels, (ranking, _, metric), values, of_base in paired(cases, base, metrics, ("all",)):
        data, draw = labels["data"], (seed, places[labels["data"]])
        key = (*((name, value) for name, value in labels.items() if name != "data"), ranking, metric)
        drawn, base_drawn = resampled_means(values, draw), resampled_means(of_base, draw)
        with np.errstate(divide="ignore", invalid="ignore"):
            both = np.log(np.append(drawn, values.mean()) / np.append(base_drawn, of_base.mean()))
        ratios.setdefault(key, {})[data] = both if of_base.any() else np.full_like(both, np.nan)
    rows = []
    for (*rest, ranking, metric), of_data in ratios.items():
        for logs, chosen in (
            ("with repeats", [data for data in of_data if repeats[data]]),
            ("without repeats", [data for data in of_data if not repeats[data]]),
            ("all", list(of_data)),
        ):
            if chosen:
                logarithms = np.array([of_data[data] for data in chosen])
                value = np.expm1(logarithms[:, -1].mean())
                if over_logs:
                    weights = shares(np.random.default_rng(seed), len(chosen))
                    drawn = np.expm1(np.einsum("rn,nr->r", weights, logarithms[:, :-1]))
                else:
                    drawn = np.expm1(logarithms[:, :-1].mean(0))
                low = high = value
                if not np.isnan(value):
                    # this method does not interpolate between infinities
                    low, high = np.nanpercentile(drawn, (2.5, 97.5), method="inverted_cdf")
                numbers = {"value": value, "low": low, "high": high, "n": len(chosen)}
                rows.append(dict(rest) | {"logs": logs, "ranking": ranking, "metric": metric} | numbers)
    return pd.DataFrame(rows)


def trends(
    cases: pd.DataFrame, base: dict[str, Any], over: str, metrics: Sequence[str] = (MAIN,), seed: int = 0
) -> pd.DataFrame:
    """Return how much the gain over `base` changes when the setting `over` doubles.

    This is the slope of the least-squares line of the gains over log₂ of the setting. It is a weighted sum of paired
    differences, so its interval is paired too.

    Args:
        cases: as for `means`.
        base: labels, as in `gains`, without `over`.
        over: the label of a setting with positive values.
        metrics: names in `evaluation.METRICS`.
        seed: seed of the bootstrap.

    Returns:
        Rows as in `means`, without the label `over`.

    Raises:
        ConfigError: as for `gains`, or `over` has one value only.
    """
    of_line: dict[tuple, dict[float, np.ndarray]] = {}
    for labels, name, values, of_base in paired(cases, base, metrics):
        rest = tuple((label, value) for label, value in labels.items() if label != over)
        of_line.setdefault((rest, *name), {})[labels[over]] = values - of_base
    rows = []
    for (rest, *place), differences in of_line.items():
        if len(differences) < 2:
            raise ConfigError(f"A trend needs at least two values of {over!r}; there is only {list(differences)}.")
        x = np.log2(list(differences))
        x -= x.mean()
        slopes = np.tensordot(x / (x @ x), list(differences.values()), axes=1)  # (S, m)
        rows.append(dict(rest) | _row(place, estimate(slopes, seed)))
    return pd.DataFrame(rows)


def by_bins(
    cases: pd.DataFrame, key: str, metrics: Sequence[str] = (MAIN,), bins: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Return the mean of each metric in bins of a column, with about the same number of cases in each.

    Args:
        cases: as for `means`.
        key: a column with the same values for all runs on one log; cases where it is NaN are left out.
        metrics: names in `evaluation.METRICS`.
        bins: maximum number of bins; equal values are in the same bin.
        seed: seed of the bootstrap.

    Returns:
        Rows: the labels except `seed`, then the key (its median in the bin), and the columns of `means` for all cases
        of the bin with the raw ranking.
    """
    rows = []
    for labels, of_run in _settings(cases.dropna(subset=[key])):
        seeds = of_run["seed"].nunique()
        values = {name: METRICS[name](of_run, "rank").to_numpy(dtype=float).reshape(seeds, -1) for name in metrics}
        of_user = of_run[key].to_numpy(dtype=float).reshape(seeds, -1)[0]
        places, users = quantile_bins(of_user, bins), of_run[OF_EVALUATE].to_numpy()[: len(of_user)]
        for place, name in itertools.product(np.unique(places), metrics):
            chosen = user_means(values[name][:, places == place], users[places == place])
            if not np.isnan(chosen).any():  # NaN: a probability metric of a head that only ranks
                label = {key: np.median(of_user[places == place])}
                rows.append(labels | label | _row(("raw", "all", name), estimate(chosen, seed)))
    return pd.DataFrame(rows)


def paired(
    cases: pd.DataFrame, base: dict[str, Any], metrics: Sequence[str], groups: Sequence[str] = ALL_GROUPS
) -> Iterator[tuple[dict[str, Any], tuple[str, str, str], np.ndarray, np.ndarray]]:
    """Yield labels, (ranking, group, metric), and the (seeds, users) values of each setting and of its base.

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
            raise ConfigError(f"There is no run {dict(against)} to compare with {labels}; run it too.")
        bases = dict(_matrices(of_setting[against], metrics, groups))
        for name, values in _matrices(of_run, metrics, groups):
            if name not in bases:
                continue
            of_base = bases[name]
            if dict(against).get("head") in COUNTING and len(of_base) == 1:
                of_base = np.broadcast_to(of_base, (len(values), of_base.shape[1]))
            elif labels.get("head") in COUNTING and len(values) == 1:
                values = np.broadcast_to(values, (len(of_base), values.shape[1]))
            if values.shape != of_base.shape:
                raise ConfigError(
                    f"{labels} and {dict(against)} have different seeds or users; run both with the same ones."
                )
            yield labels, name, values, of_base


def _settings(cases: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each setting's labels, without `seed`, and its rows."""
    labels = [name for name in cases.columns[: cases.columns.get_loc(OF_EVALUATE)] if name != "seed"]
    for values, of_run in cases.groupby(labels, sort=False, dropna=False):
        yield dict(zip(labels, values, strict=True)), of_run


def _matrices(
    of_run: pd.DataFrame, metrics: Sequence[str], groups: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """Yield (seeds, users) values for each ranking, group of cases and metric, averaged over each user's cases."""
    seeds = of_run["seed"].nunique()
    first = of_run[of_run["seed"] == of_run["seed"].iloc[0]]
    for metric in metrics:
        for ranking, rank in (("raw", "rank"), ("post", "rank_post"))[: 2 if METRICS[metric].k else 1]:
            values = METRICS[metric](of_run, rank).to_numpy(dtype=float).reshape(seeds, -1)
            if np.isnan(values).any():  # a probability metric of a head that only ranks
                continue
            for group in groups:
                chosen = GROUPS[group](first).to_numpy()
                if chosen.any():
                    yield (ranking, group, metric), user_means(values[:, chosen], first[OF_EVALUATE].to_numpy()[chosen])


def _row(name: Sequence[str], found: Estimate) -> dict[str, Any]:
    return dict(zip(("ranking", "cases", "metric"), name, strict=True)) | found._asdict()


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the quantile bin (m,) of each value, at most `bins` in all; equal values are in the same bin."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    return np.searchsorted(edges[1:-1], values)
