"""The paper's data sets and how it prepares them, beside what is measured of the logs at hand.

After the experiments of Chang, Agarwal and McCallum (WSDM 2024), on RecBole's atomic `.inter` files. Whether a log
repeats is what the paper says of its own; of a log that is loaded it is measured (`data.count_repeats`).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from cprlab.data.repeats import count_repeats
from cprlab.data.sequences import Sequences


class DataSet(NamedTuple):
    """One of the paper's data sets; of all of them it keeps the users with at least 5 interactions.

    Attributes:
        name: RecBole's.
        duplicates: whether the paper counts it among those in which users consume items again.
        min_interactions: items with fewer are left out; 1 keeps all.
        user: column of the users.
        item: column of the items.
        time: column of the times.
    """

    name: str
    duplicates: bool
    min_interactions: int = 1
    user: str = "user_id"
    item: str = "item_id"
    time: str = "timestamp"


PAPER = (
    DataSet("yoochoose-clicks", True, user="session_id"),
    DataSet("algebra2008_2009", True, 20, "student_id", "problem_step_name", "step_start_time"),
    DataSet("gowalla", True, 20),
    DataSet("steam", True, item="product_id"),
    DataSet("tmall-buy", True, 20),
    DataSet("Twitch-100k", False, 5, time="time_start"),
    DataSet("Amazon_Books", False, 20),
    DataSet("ml-10m", False),
    DataSet("amazon-beauty", False),
    DataSet("Amazon_Video_Games", False),
    DataSet("ml-1m", False),
    DataSet("yelp2018", False, 5),
)


def beside_paper(logs: dict[str, Sequences]) -> pd.DataFrame:
    """Return the paper's data sets and logs at hand in one table, as text.

    Args:
        logs: by name; one of the paper's names, in any case, is put in that row.

    Returns:
        Rows indexed by `name`: what the paper does, `duplicates, min_interactions, user, item, time` (empty for other
        logs), then what is measured, `repeats` (their share) and `rarest` (the fewest interactions of an item that has
        any); empty for data sets that are not at hand.
    """
    paper = pd.DataFrame(PAPER).set_index("name").replace({"duplicates": {True: "yes", False: "no"}})
    known = {name.casefold(): name for name in paper.index}
    measured = {known.get(name.casefold(), name): _measured(sequences) for name, sequences in logs.items()}
    measured = pd.DataFrame.from_dict(measured, orient="index")
    order = [*paper.index, *measured.index.difference(paper.index, sort=False)]
    return paper.astype(str).join(measured, how="outer").reindex(order).fillna("").rename_axis("name")


def _measured(sequences: Sequences) -> dict[str, str]:
    counts = count_repeats(sequences)
    of_item = np.unique(sequences.items, return_counts=True)[1]
    return {"repeats": f"{counts.repeats / counts.interactions:.1%}", "rarest": f"{of_item.min():,}"}
