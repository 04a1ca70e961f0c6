import pandas as pd
import pytest

from cprlab.studies.words import answer, caution, gain_in_words, relative_in_words


def rows(columns, *values):
    return pd.DataFrame(values, columns=columns)


def test_the_answer_says_who_copies_too_little_and_what_is_gained():
    summary = rows(
        ["head", "ranking", "cases", "metric", "value", "low", "high", "n"],
        ("A", "raw", "all", "NDCG@10", 0.1, 0.0, 0.2, 200),
        ("A", "raw", "repeat", "NDCG@10", 0.1, 0.0, 0.2, 50),
        ("A", "raw", "all", "observed repeats", 0.25, 0.2, 0.3, 200),
        ("A", "raw", "all", "copy probability", 0.1, 0.08, 0.12, 200),
        ("B", "raw", "all", "copy probability", 0.24, 0.2, 0.28, 200),
        ("C", "raw", "all", "copy probability", 0.5, 0.4, 0.6, 200),
        ("A", "raw", "all", "copy excess", -0.15, -0.2, -0.1, 200),
        ("B", "raw", "all", "copy excess", -0.01, -0.05, 0.03, 200),
        ("C", "raw", "all", "copy excess", 0.25, 0.15, 0.35, 200),
    )
    columns = ["head", "ranking", "cases", "metric", "value", "low", "high", "n"]
    differences = rows(
        columns,
        ("B", "raw", "all", "NDCG@10", 0.02, 0.01, 0.03, 200),
        ("B", "raw", "repeat", "NDCG@10", 0.5, 0.5, 0.5, 3),
        ("B", "raw", "new", "NDCG@10", -0.02, -0.03, -0.01, 150),
        ("B", "post", "all", "NDCG@10", 0.001, -0.01, 0.01, 200),
    )
    lines = answer(summary, differences, "A").splitlines()
    assert lines[0] == "Of what 200 test users took next, 25.0% was in their history."
    said = [line.split("history: ")[1].split(" (")[0] for line in lines[2:5]]
    assert said == ["too little", "not shown to differ from how often users repeat", "too much"]
    assert lines[2].startswith("- **A** put 10.0% [8.0%, 12.0%] of its probability")
    assert lines[2].endswith("(-15.0 [-20.0, -10.0] percentage points against what users did).")
    assert lines[5].endswith(
        "all +0.0200 [+0.0100, +0.0300], better; "
        "repeat +0.5000 [+0.5000, +0.5000], too few users to tell; new -0.0200 [-0.0300, -0.0100], worse."
    )
    assert lines[6].endswith("no difference shown.")
    summary, differences = (table[table["cases"] != "repeat"] for table in (summary, differences))
    assert answer(summary, differences, "A").splitlines()[5].endswith("all +0.0200 [+0.0100, +0.0300], better.")


GAIN = {"cases": "all", "metric": "NDCG@10", "value": 0.02, "low": 0.01, "high": 0.03, "n": 200}


def row(**changes):
    return next(pd.DataFrame([GAIN | changes]).itertuples())


@pytest.mark.parametrize(
    ("metric", "sign", "verdict"),
    [("NDCG@10", 1, "better"), ("NDCG@10", -1, "worse"), ("log-loss", 1, "worse"), ("log-loss", -1, "better")],
)
def test_a_lower_loss_is_better_and_a_lower_ndcg_is_worse(metric, sign, verdict):
    low, high = sorted((sign * 0.01, sign * 0.03))
    assert gain_in_words(row(metric=metric, value=sign * 0.02, low=low, high=high)).endswith(f", {verdict}")


def test_nothing_is_neither_below_nor_above_zero():
    assert gain_in_words(row(value=-1e-5, low=-0.0)).startswith("all +0.0000 [+0.0000, +0.0300]")


def test_a_relative_gain_is_said_in_percent_where_there_is_one():
    assert relative_in_words(row(ratio=1.1, ratio_low=0.9, ratio_high=2.5)) == "+10% [-10%, +150%]"
    assert relative_in_words(row(ratio=1.1, ratio_low=0.9, ratio_high=float("nan"))) == ""


def test_few_users_come_with_a_word_of_caution():
    assert "100 test users" in caution(100)
    assert caution(2469) == ""
