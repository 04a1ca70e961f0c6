"""Multiple input hidden states (Mi): names of heads with and without Mi, and runs labelled by W and H."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from cprlab.models import SoftmaxConfig, parse_head
from cprlab.sweeps import Results

ONE_STATE = {"window": 0, "depth": 0}  # labels of `by_inputs` for a head without Mi


def readers(head: str, windows: Sequence[int] = (2,), depths: Sequence[int] = (2,)) -> list[str]:
    """Return a head's name without Mi, then with Mi for each H of `depths` and W of `windows`.

    Raises:
        ConfigError: the head's name or a value is not valid.
    """
    alone = parse_head(head).switched(inputs=False)
    return [
        str(alone),
        *(str(alone.but(inputs=True, window=window, depth=depth)) for depth in depths for window in windows),
    ]


def by_inputs(results: Results) -> Results:
    """Return runs with the labels `head` (without Mi), `window` W and `depth` H, which are 0 for heads without Mi."""
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
