"""Doubts on ids, against what Python's own numbers and text say of each pair."""

import datetime
import itertools
import unicodedata
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprlab.data.doubts import CHANGES, are_titles, doubt_copies, doubt_ids, doubt_titles, graded

NUMBERS = ["7", "007", "7.0", "7.", "+7", "1e5", "1E+5", "100000", "0.5", ".50", "-0", "0", "70", "8", "7.5", "seven"]


def said(ids, rows=None):
    ids = pd.Series(ids)
    return list(doubt_ids("item", ids, np.ones(len(ids), int) if rows is None else np.array(rows)))


def as_number(text):
    try:
        return Fraction(text)
    except ValueError:
        return text


@given(st.lists(st.sampled_from(NUMBERS), min_size=1, unique=True))
def test_ids_that_are_equal_as_numbers_are_counted(ids):
    same = [one for place, one in enumerate(ids) if as_number(one) in map(as_number, ids[:place])]
    found = [doubt for doubt in said(ids) if "as numbers" in doubt]
    assert len(found) == bool(same)
    if same:
        other = next(one for one in ids if as_number(one) == as_number(same[0]))
        assert found[0].startswith(f"{CHANGES}{len(same)} item ids equal another as numbers, such as {same[0]!r} and ")
        assert f"and {other!r}; they count as different" in found[0]


@pytest.mark.parametrize("hidden", ["a\u200bb", "ab\ufeff", "\u202aab", "a\u00adb", " ab", "ab\t", "ab\n", "\uff41b"])
def test_ids_that_differ_only_in_what_is_invisible_are_told_with_both_spelled_out(hidden):
    (found,) = said(["ab", hidden, "b"])
    assert found.startswith(f"{CHANGES}1 item ids equal another but for spaces and what is invisible, such as ")
    assert f"{hidden!r} and 'ab'" in found
    assert said(["ab", "a b", "a-b", "AB", "\u00e4b"]) == []
    assert len(said(["a b", "a  b", "a\u00a0b"])) == 1


@pytest.mark.parametrize(
    "ids",
    [
        ["2024-01-31", "2024-02-01 10:00", "2024-02-01T10:00:00Z"],
        pd.to_datetime(["2024-01-31", "2024-02-01"]),
        [datetime.date(2024, 1, 31)],
    ],
)
def test_ids_that_are_dates_are_told(ids):
    (found,) = said(ids)
    assert found.startswith(f"{CHANGES}All item ids are dates, such as '2024-01-31")
    assert "name another column with --item" in found
    assert said([*map(str, ids), "2024-01"]) == []


def test_copies_are_told_in_the_same_words_whoever_holds_the_ids():
    for one, other in (
        (np.timedelta64(3, "s"), pd.Timedelta("3s")),
        (np.datetime64("2024-01-31"), "2024-01-31 00:00:00"),
    ):
        (found,), (again,) = (doubt_copies(2, 1234, "u", item, "2024") for item in (one, other))
        assert found == again
    assert found.startswith(
        f"{CHANGES}2 of 1,234 rows have the user, item and time of an earlier row, such as user 'u', "
    )


@pytest.mark.parametrize("name", ["nan", "NaN", "none", "NULL", "na", "N/A", "nil", "-1", "unknown", " NULL "])
def test_ids_that_mean_none_are_told_with_their_rows(name):
    found = said(["x", name, "y"], [5, 1234, 1])
    assert found[0].startswith(f"{CHANGES}1,234 of 1,240 rows have item ids such as {name!r}, which usually mean")
    assert said(["x", f"{name}x", "y"]) == []


def test_of_numbers_minus_one_means_none_only_where_it_is_the_least():
    (found,) = said([3, -1, 2], [1, 7, 1])
    assert found.startswith(f"{CHANGES}7 of 9 rows have item ids such as '-1'")
    assert said([3, -1, -2]) == said([1.0, 2.0, 3.0]) == said([True, False]) == []


def test_numbers_that_lost_digits_are_told_and_exact_ones_are_not():
    big = 2**53
    rounded: list[list] = [[1.5e18, 2.0], ["1.23456789012346E+18", "12"], ["1e+18"], [f"{big}.0", "3"], [float(big)]]
    for ids in rounded:
        (found,) = said(ids)
        assert found.startswith(f"{CHANGES}1 item ids are rounded numbers of 2^53 or more, such as {str(ids[0])!r}")
    for ids in ([big + 1], [str(big + 1)], [float(big - 1)], ["1e5"], ["000000000000000000000000002e668"], ["9" * 40]):
        assert said(ids) == []


@given(st.lists(st.text(max_size=3), min_size=1, max_size=4, unique=True))
def test_any_text_is_an_id_and_what_is_shown_can_be_printed(ids):
    for doubt in said([f"x{one}" for one in ids]):
        assert doubt.isprintable() or any(unicodedata.category(one) == "Cs" for one in doubt)


def test_titles_are_those_of_items_unless_most_items_have_several():
    for several, repeated in itertools.product(range(5), range(5)):
        assert are_titles(several, repeated) == (2 * several <= repeated)
    assert list(doubt_titles("name", 0, 5, True, [], [])) == []
    (shown,) = doubt_titles("name", 1, 5, True, [7], ["Ann", "Bob"])
    assert shown.startswith("1 of 5 items with several rows have several values in the column 'name', such as item '7'")
    assert shown.endswith("with 'Ann' and 'Bob'; the first of each is its title.")
    (dropped,) = doubt_titles("name", 4, 5, False, [7], ["Ann", "Bob"])
    assert dropped.endswith("So these are not titles of items, and none are shown. If they are, use --title name.")


def test_doubts_are_graded_by_how_they_begin():
    assert graded(("a", f"{CHANGES}b", "c")) == {"Changes results": ["b"], "Good to know": ["a", "c"]}
