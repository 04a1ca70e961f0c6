"""Multiple input hidden states (Mi): heads that read so and so many of them, and what came of it, in words."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from cprlab.evaluation import gains, trends
from cprlab.models import SoftmaxConfig, parse_head
from cprlab.numbers import as_text
from cprlab.studies.words import caution, gain_in_words, judgement, overall, relative_in_words, unfinished
from cprlab.sweeps import Results, tuned

ONE_STATE = {"window": 0, "depth": 0}  # what `by_inputs` calls a head without Mi
SAME_STATE = {"window": 0, "depth": 1}  # Mi that reads h_t alone: a second, nonlinear map of it


def readers(head: str, windows: Sequence[int] = (2,), depths: Sequence[int] = (2,)) -> list[str]:
    """Return a head's name without Mi, then with Mi for each H of `depths` and W of `windows`.

    Raises:
        ConfigError: the head's name or a value is not possible.
    """
    alone = parse_head(head).switched(inputs=False)
    return [
        str(alone),
        *(str(alone.but(inputs=True, window=window, depth=depth)) for depth in depths for window in windows),
    ]


def by_inputs(results: Results) -> Results:
    """Return runs labelled by what their heads read: `head` without Mi, `window` W and `depth` H, both 0 without Mi."""
    heads = {name: parse_head(name) for name in results.table["head"].unique()}
    labels = pd.DataFrame(
        [
            {"head": name, "alone": str(head.switched(inputs=False)), "window": head.window, "depth": head.depth}
            if isinstance(head, SoftmaxConfig) and head.inputs
            else {"head": name, "alone": name} | ONE_STATE
            for name, head in heads.items()
        ]
    ).set_index("head")

    def labelled(table: pd.DataFrame) -> pd.DataFrame:
        place, of_row = table.columns.get_loc("head"), labels.loc[table["head"]]
        table = table.assign(head=of_row["alone"].to_numpy())
        for name in ("depth", "window"):
            table.insert(place + 1, name, of_row[name].to_numpy())
        return table

    return replace(results, table=labelled(results.table), cases=labelled(results.cases))


def inputs_answer(read: Results, sizes: Results, head: str) -> str:
    """Return Markdown: what reading several hidden states gains, and whether heads gain less where states are wider.

    Args:
        read: of `by_inputs`, every head without Mi, with `SAME_STATE`, and with more states.
        sizes: heads with and without Mi at several hidden sizes `d`.
        head: the one that the others are compared with at each size.
    """
    table = pd.concat([read.table, sizes.table]).drop_duplicates("folder")
    few = caution(read.cases.groupby("data")["user"].nunique().min())
    return "\n".join([*_of_states(read), "", *_of_sizes(sizes.cases, head), "", unfinished(table), "", few])


def _of_states(read: Results) -> list[str]:
    from_one, from_same = (overall(gains(read.cases, base)) for base in (ONE_STATE, SAME_STATE))
    lines, verdicts = [], []
    for chosen in tuned(read, list(ONE_STATE)).table.drop_duplicates(["data", "head"]).itertuples():
        model = {"data": chosen.data, "head": chosen.head}
        states = {"window": chosen.window, "depth": chosen.depth}
        rows = _with(from_one, **model)
        line = (
            f"- **{chosen.head}** on {as_text(chosen.data)}: of {len(rows)} choices of W and H, "
            f"{(rows['low'] > 0).sum()} gain over one state with an interval above zero, "
            f"{(rows['high'] < 0).sum()} lose with one below. "
        )
        if states == ONE_STATE:
            line += "Validation chooses to read one state"
        elif states == SAME_STATE:
            line += f"Validation chooses W = 0, H = 1, no further state: {_said(_with(rows, **states))}"
        else:
            further = _with(from_same, **model, **states)
            verdicts.append(judgement(*further.itertuples()))
            line += f"Validation chooses W = {chosen.window}, H = {chosen.depth}: {_said(_with(rows, **states))}; "
            line += f"against Mi without a further state (W = 0, H = 1): {_said(further)}"
        lines.append(line + ".")
    short = f"Of {len(lines)} heads, validation chooses further states for {len(verdicts)}; they are shown to help"
    return [f"**Several states** (NDCG@10). {short} {verdicts.count('better')}.", "", *lines]


def _of_sizes(cases: pd.DataFrame, head: str) -> list[str]:
    least, most = cases["d"].min(), cases["d"].max()
    alike, to_widest = (overall(gains(cases, base)) for base in ({"head": head}, {"head": head, "d": most}))
    lines, verdicts = [], []
    for slope in overall(trends(cases, {"head": head}, "d")).itertuples():
        narrow, wide, across = (
            _with(table, data=slope.data, head=slope.head, d=d)
            for table, d in ((alike, least), (alike, most), (to_widest, least))
        )
        verdicts.append({"better": "grows", "worse": "shrinks"}.get(judgement(slope), "is not shown to change"))
        lines.append(
            f"- **{slope.head}** on {as_text(slope.data)}: {_said(narrow)} at d = {least}; {_said(wide)} at "
            f"d = {most}. With each doubling of d the gain changes by {slope.value:+.4f} "
            f"[{slope.low:+.4f}, {slope.high:+.4f}]: it {verdicts[-1]}. At d = {least}, against {head} at d = {most}: "
            f"{_said(across)}."
        )
    counts = ", ".join(f"{verdict} for {verdicts.count(verdict)}" for verdict in dict.fromkeys(verdicts))
    short = f"As d grows from {least} to {most}, the gain over {head} of the same size {counts} of {len(lines)} heads."
    return [f"**Wider states** (NDCG@10). {short}", "", *lines]


def _with(table: pd.DataFrame, **labels: object) -> pd.DataFrame:
    """Return the rows that have these labels."""
    return table[(table[list(labels)] == pd.Series(labels)).all(axis=1)]


def _said(rows: pd.DataFrame) -> str:
    """Say the gain of the one row."""
    (row,) = rows.itertuples()
    relative = relative_in_words(row)
    return gain_in_words(row).removeprefix("all ") + f" ({relative})" * bool(relative)
