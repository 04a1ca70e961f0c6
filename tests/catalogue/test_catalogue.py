"""The paper's data sets, and what is measured beside them."""

import re

import pandas as pd
import pytest

from cprlab.catalogue import BUILTIN, CATALOGUE, PAPER, beside_paper
from cprlab.catalogue.data_sets import find
from cprlab.data.log import GUESSES
from cprlab.errors import ConfigError
from tests.data.test_sequences import sequences_of


def test_the_paper_has_five_logs_with_duplicates_and_seven_without():
    table = pd.DataFrame(PAPER).set_index("name")
    assert table["duplicates"].value_counts().to_dict() == {False: 7, True: 5}
    assert table.index.is_unique
    assert sorted(table.index[table["min_interactions"] == 20]) == [
        "Amazon_Books", "algebra2008_2009", "gowalla", "tmall-buy",
    ]  # fmt: skip
    assert sorted(table.index[table["min_interactions"] == 5]) == ["Twitch-100k", "yelp2018"]
    for role in ("user", "item", "time"):  # so that `load_log` finds them by itself
        assert set(table[role]) <= set(GUESSES[role])


def test_logs_at_hand_stand_in_the_papers_row_or_behind_it():
    own = sequences_of([[1, 2, 1, 3, 1], [4, 5, 6, 4, 7, 5]], 5)
    table = beside_paper({"mine": own, "ML-1M": sequences_of([[1, 2, 3, 4, 5]] * 2, 5)})
    assert table.index.tolist() == [*(data_set.name for data_set in PAPER), "mine"]
    measured = ["repeats", "rarest"]
    assert table.loc["mine", measured].tolist() == ["36.4%", "1"]
    assert table.loc["ml-1m", measured].tolist() == ["0.0%", "2"]
    assert table.loc["ml-1m", ["duplicates", "min_interactions", "user"]].tolist() == ["no", "1", "user_id"]
    assert (table.loc["mine", ["duplicates", "min_interactions", "user", "item", "time"]] == "").all()
    assert (table.loc["steam", measured] == "").all()


def test_every_data_set_is_downloaded_or_says_why_not_and_has_its_terms():
    assert {data_set.name for data_set in CATALOGUE} - {data_set.name for data_set in PAPER} == {
        "ml-100k",
        "complete-journey",
    }
    for data_set in CATALOGUE:
        assert data_set.publisher
        assert data_set.terms.name
        assert data_set.terms.means.endswith(".")
        assert bool(data_set.files) != bool(data_set.terms.by_hand)
        assert (data_set.layout is None) == (data_set.name in BUILTIN)
        for address in (data_set.page, *(file.address for file in data_set.files)):
            assert address.startswith("https://")
        assert all(re.fullmatch(r"|[0-9a-f]{32}", file.md5) for file in data_set.files)


def test_a_data_set_is_found_by_its_name_in_any_case():
    assert find("AMAZON_books") is next(data_set for data_set in PAPER if data_set.name == "Amazon_Books")
    with pytest.raises(ConfigError, match="did you mean 'Twitch-100k'"):
        find("twitch")
