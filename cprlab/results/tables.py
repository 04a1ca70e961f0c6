"""The tables of docs/accuracy.md, made from kept runs: each log, gains in the geometric mean, published figures."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cprlab.evaluation import MAIN, gains, geometric_mean_gains, holm_adjusted, means, significance
from cprlab.models.names import COUNTING
from cprlab.numbers import as_text
from cprlab.results.store import Kept, read_cases

SOFTMAX, REMOVED, BIAS, CPR, BOTH = (
    "Softmax", "Softmax (post)", "Softmax + B", "Softmax + CPR:100 + Mi", "Softmax + CPR:100 + F + Mi",
)  # fmt: skip
COMPARED = ((CPR, SOFTMAX), (CPR, BIAS), (CPR, REMOVED), (CPR, "Counts"), (BOTH, CPR))
DRAWN = (SOFTMAX, BIAS)  # the figure compares CPR with these
KINDS = ("with repeats", "without repeats", "all")
PAPER = {  # gain of softmax-CPR over the softmax in the geometric mean over logs: value, low, high
    "with repeats": (0.10, 0.04, 0.17),
    "without repeats": (0.24, 0.08, 0.39),
    "all": (0.19, np.nan, np.nan),
}
NONE = "No runs are kept yet."


class Target(NamedTuple):
    """A published result that an encoder's plain softmax should reach, leave-one-out, over all items.

    Attributes:
        data: the log.
        encoder: the encoder.
        ranking: "raw", or "post" if the history is removed.
        value: NDCG@10; None to use that of Markov on the same log.
        source: where it was published.
    """

    data: str
    encoder: str
    ranking: str
    value: float | None
    source: str


_KLENITSKIY = "Klenitskiy and Vasilev, RecSys 2023"
_ROUGHLY = f"{_KLENITSKIY}; max_len 200, and with each user's last two events, which a file may lack"
_MASKED = "cross-entropy at all positions, the history masked"
TARGETS = (
    Target("ml-1m", "SASRec", "post", 0.1821, _ROUGHLY),
    Target("ml-1m", "GRU4Rec", "post", 0.1648, _ROUGHLY),
    Target("beauty", "SASRec", "post", 0.0327, _KLENITSKIY),
    Target("beauty", "GRU4Rec", "post", None, "Markov here"),
    Target("amazon-beauty-5core", "SASRec", "raw", 0.0421, "RecBole"),
    Target("amazon-beauty-5core", "GRU4Rec", "raw", 0.0342, "RecBole"),
    Target("amazon-beauty-5core", "SASRec", "post", 0.0568, _MASKED),
    Target("amazon-beauty-5core", "GRU4Rec", "post", 0.0392, _MASKED),
    Target("ml-100k", "GRU4Rec", "raw", 0.0661, "RecBole 1.2.1"),
)


def logs(runs: Sequence[Kept]) -> str:
    """Return Markdown: for each log and split its protocol, and one row per encoder and head.

    Intervals are 95%, over users and seeds. The gain is the paired difference to the softmax of the same encoder, on
    the seeds that both have; its two-sided p is from `evaluation.significance`, with Holm's correction over the log's
    table.
    """
    parts = []
    for _, group in groupby(runs, lambda run: (run.labels["data"], run.labels["split"])):
        of_log = list(group)
        cases, data = read_cases(of_log), of_log[0].record["data"]
        found = means(cases, (MAIN, "log-loss", "copy probability", "observed repeats"), groups=("all",))
        repeats = found.loc[found["metric"] == "observed repeats"].iloc[0]
        parts += [
            f"### {as_text(of_log[0].labels['data'])}, {data['split']}\n",
            f"{data['users']:,} users, {repeats['n']:,} with a test case; {data['items']:,} items; a model reads "
            f"the last {data['max_len']}; {repeats['value']:.1%} of what came next is among these. Fingerprint "
            f"{data['fingerprint']}. {' '.join(map(as_text, data['notes']))}".strip()
            + "\n",
            _markdown(_of_log(of_log, cases, found)) + "\n",
        ]
    return "\n".join(parts).strip() or NONE


def _of_log(runs: list[Kept], cases: pd.DataFrame, found: pd.DataFrame) -> list[dict[str, str]]:
    found = found.set_index(["encoder", "head", "metric", "ranking"])
    settings = list(dict.fromkeys((run.labels["encoder"], run.labels["head"]) for run in runs))
    tested: dict[tuple[str, str], Any] = {}
    for encoder, head in settings:
        pair = _pair(cases, encoder, head, SOFTMAX)
        if encoder and head != SOFTMAX and len(pair):
            rows = significance(pair, {"head": SOFTMAX}, groups=("all",))
            tested[encoder, head] = rows[rows["ranking"] == "raw"].iloc[0]
    p = dict(zip(tested, holm_adjusted(np.array([row["p"] for row in tested.values()])), strict=True))
    table = []
    for setting in settings:
        of_setting = [run for run in runs if (run.labels["encoder"], run.labels["head"]) == setting]

        def cell(metric: str, ranking: str, text: Callable[[Any], str], setting: tuple = setting) -> str:
            return text(found.loc[(*setting, metric, ranking)]) if (*setting, metric, ranking) in found.index else ""

        gain = tested.get(setting)
        seeds = "" if not setting[0] else ", ".join(str(run.labels["seed"]) for run in of_setting)
        trained = [(run.best_epoch, run.epochs) for run in of_setting] if setting[0] else []
        table.append(
            {
                "encoder": setting[0],
                "head": as_text(setting[1]),
                MAIN: cell(MAIN, "raw", _with_interval),
                "history removed": cell(MAIN, "post", _with_interval),
                "gain over Softmax": "" if gain is None else _with_interval(gain, "+"),
                "p (Holm)": "" if gain is None or np.isnan(p[setting]) else _p(p[setting]),
                "log-loss": cell("log-loss", "raw", lambda row: f"{row['value']:.3f}"),
                "P(history)": cell("copy probability", "raw", lambda row: f"{row['value']:.1%}"),
                "repeats": cell("observed repeats", "raw", lambda row: f"{row['value']:.1%}"),
                "seeds": seeds,
                "best epoch of": ", ".join(f"{best} of {epochs}" for best, epochs in trained),
                "min a run": f"{np.mean([run.minutes for run in of_setting]):.1f}",
            }
        )
    return table


def headline(runs: Sequence[Kept]) -> str:
    """Return Markdown: gains in NDCG@10 in the geometric mean over logs, with the paper's."""
    found = averaged(runs)
    if not len(found):
        return NONE
    table = []
    for (encoder, head, base), rows in found.groupby(["encoder", "head", "base"], sort=False):
        of_kind = rows.set_index("logs")
        cells = {kind: _relative(of_kind.loc[kind]) if kind in of_kind.index else "" for kind in KINDS}
        table.append({"encoder": encoder, "head": head, "over": base} | cells)
    paper = {kind: _relative({"value": value, "low": low, "high": high}) for kind, (value, low, high) in PAPER.items()}
    return _markdown([*table, {"encoder": "the paper", "head": "softmax-CPR", "over": SOFTMAX} | paper])


def targets(runs: Sequence[Kept]) -> str:
    """Return Markdown: published NDCG@10, that of the plain softmax here, and whether it is reached.

    It is reached if the upper end of our interval is not below it.
    """
    table = []
    for target in TARGETS:
        ours = _score(runs, target.data, target.encoder, SOFTMAX, target.ranking)
        rival = None if target.value is not None else _score(runs, target.data, "", "Markov", target.ranking)
        wanted = target.value if rival is None else rival["value"]
        table.append(
            {
                "log": target.data,
                "encoder": target.encoder,
                "ranking": "raw" if target.ranking == "raw" else "history removed",
                "published": "" if wanted is None else f"{wanted:.4f}",
                "source": as_text(target.source),
                "here": "not run" if ours is None else _with_interval(ours),
                "max_len": "" if ours is None else str(ours["max_len"]),
                "reached": "" if ours is None or wanted is None else "yes" if ours["high"] >= wanted else "no",
            }
        )
    return _markdown(table)


def compared(runs: Sequence[Kept]) -> bool:
    """Return whether `forest` has anything to compare."""
    return any(next(iter(_pairs(runs, CPR, base)), None) for base in DRAWN)


def forest(runs: Sequence[Kept]) -> pd.DataFrame:
    """Return the rows of the forest plot: gains of CPR:100 + Mi on each log, in the geometric mean, and in the paper.

    Returns:
        Rows `log, encoder, comparison, value, low, high`; 0.1 is a gain of 10%.
    """
    rows = []
    for base in DRAWN:
        for data, encoder, pair in _pairs(runs, CPR, base):
            found = gains(pair.drop(columns="split"), {"head": base}, groups=("all",))
            (row,) = found[found["ranking"] == "raw"].itertuples()
            numbers = {"value": row.ratio - 1, "low": row.ratio_low - 1, "high": row.ratio_high - 1}
            rows.append({"log": data, "encoder": encoder, "comparison": f"{CPR} over {base}"} | numbers)
    for row in averaged(runs, [(CPR, base) for base in DRAWN]).to_dict("records"):
        about = {"log": f"geometric mean, {row['logs']}", "encoder": row["encoder"]}
        rows.append(
            about | {"comparison": f"{CPR} over {row['base']}"} | {name: row[name] for name in ("value", "low", "high")}
        )
    for kind, (value, low, high) in PAPER.items():
        numbers = {"value": value, "low": low, "high": high}
        rows.append(
            {"log": f"geometric mean, {kind}", "encoder": "the paper", "comparison": f"{CPR} over {SOFTMAX}"} | numbers
        )
    return pd.DataFrame(rows)


def averaged(runs: Sequence[Kept], pairs: Iterable[tuple[str, str]] = COMPARED) -> pd.DataFrame:
    """Return gains over leave-one-out logs with both heads, rows `encoder, head, base, logs, value, low, high, n`."""
    rows = []
    for head, base in pairs:
        if cases := [pair for _, _, pair in _pairs(runs, head, base)]:
            both = pd.concat(cases, ignore_index=True).drop(columns="split")
            found = geometric_mean_gains(both, {"head": base}, over_logs=True)
            rows.append(found[found["ranking"] == "raw"].assign(head=head, base=base))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _pairs(runs: Sequence[Kept], head: str, base: str) -> Iterable[tuple[str, str, pd.DataFrame]]:
    """Yield each leave-one-out log and encoder with runs of a head and its base, and the cases of both."""
    chosen = [run for run in runs if run.labels["split"] == "leave-one-out"]
    for data, group in groupby(chosen, lambda run: run.labels["data"]):
        of_log = [run for run in group if run.labels["head"] in (head, base, base.removesuffix(" (post)"))]
        cases = read_cases(of_log)
        for encoder in dict.fromkeys(run.labels["encoder"] for run in of_log if run.labels["encoder"]):
            pair = _pair(cases, encoder, head, base)
            if len(pair):
                yield data, encoder, pair


def _pair(cases: pd.DataFrame, encoder: str, head: str, base: str) -> pd.DataFrame:
    """Return one log's cases of a head and its base on the seeds that both have; no rows if there are none.

    A counting head is labelled with this encoder and has one seed. If "Softmax (post)" was not trained, it is the
    softmax without the history's items, which ranks the same.
    """
    counts = base in COUNTING
    of_head = cases[(cases["encoder"] == encoder) & (cases["head"] == head)]
    of_base = cases[(cases["encoder"] == ("" if counts else encoder)) & (cases["head"] == base)]
    if base == REMOVED and not len(of_base):
        of_base = cases[(cases["encoder"] == encoder) & (cases["head"] == SOFTMAX)]
        of_base = of_base.assign(head=REMOVED, rank=of_base["rank_post"])
    if not counts:
        shared = set(of_head["seed"]) & set(of_base["seed"])
        of_head, of_base = (part[part["seed"].isin(shared)] for part in (of_head, of_base))
    if not len(of_head) or not len(of_base):
        return cases[:0]
    return pd.concat([of_head, of_base.assign(encoder=encoder)], ignore_index=True)


def _score(runs: Sequence[Kept], data: str, encoder: str, head: str, ranking: str) -> dict[str, Any] | None:
    """Return NDCG@10 of one leave-one-out setting over users and seeds, as a row of `means`, with its `max_len`."""
    wanted = {"data": data, "split": "leave-one-out", "encoder": encoder, "head": head}
    chosen = [run for run in runs if wanted.items() <= run.labels.items()]
    if not chosen:
        return None
    found = means(read_cases(chosen), groups=("all",))
    return found[found["ranking"] == ranking].iloc[0].to_dict() | {"max_len": chosen[0].record["data"]["max_len"]}


def _markdown(rows: list[dict[str, str]]) -> str:
    """Return rows of text as a table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _with_interval(row: Any, sign: str = "") -> str:
    value, low, high = (round(float(row[name]), 4) + 0.0 for name in ("value", "low", "high"))  # turns −0 into 0
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]".replace("-", "−")


def _relative(row: Any) -> str:
    """Return a gain as a percentage, with its interval and number of logs, if known."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    if np.isnan(value):
        return ""
    bounds = "" if np.isnan(low) else f" [{low:+.1%}, {high:+.1%}]"
    logs = f", {row['n']} log{'s' if row['n'] > 1 else ''}" if "n" in row else ""
    return f"{value:+.1%}{bounds}{logs}".replace("-", "−")


def _p(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
