import numpy as np
import pandas as pd
import pytest

from cprlab.evaluation import Example
from cprlab.studies.comparison import ablation_answer, comparison_answer, top_predictions

TITLES = np.array(["<b>Bold</b>", "a | b", "*c*", "d", "e"])


def test_predictions_are_side_by_side_marked_and_titles_stay_text():
    log_probs = {
        "Softmax": np.log([0.1, 0.4, 0.3, 0.15, 0.05]),
        "Softmax + C": np.log([0.5, 0.1, 0.05, 0.05, 0.3]),
    }
    case = Example("fails to copy", "Softmax", "Softmax + C", "7", np.array([0, 3, 0]), 0, log_probs)
    header, rule, row = top_predictions([case], TITLES, top=2).splitlines()
    assert header == "|  | history, oldest first | true next item | Softmax | Softmax + C |"
    assert rule.count("---") == 5
    bold = "&lt;b&gt;Bold&lt;/b&gt;"
    assert row.split(" | ") == [
        "| Softmax fails to copy",
        f"{bold}<br>d<br>{bold}",
        f"{bold} ●★",
        r"40.00% a \| b ◆<br>30.00% \*c\* ◆",
        f"50.00% {bold} ●★<br>30.00% e ◆ |",
    ]
    assert top_predictions([], TITLES) == "No case qualifies."


def rows(data, gains, n):
    """Return what `significance` gives, with an interval of 0.01 to either side of each gain."""
    table = pd.DataFrame(
        [(data, "Softmax + C", ranking, cases, metric, value) for (ranking, cases, metric), value in gains.items()],
        columns=["data", "head", "ranking", "cases", "metric", "value"],
    ).assign(ratio=1.5, ratio_low=1.25, ratio_high=np.nan, p=0.001, holm=0.0123)
    return table.assign(low=table["value"] - 0.01, high=table["value"] + 0.01, n=table["cases"].map(n))


def test_the_answer_says_where_the_gain_lies_and_whether_it_is_exclusion():
    repeating = {
        ("raw", "all", "NDCG@10"): 0.03,
        ("raw", "repeat", "NDCG@10"): 0.1,
        ("raw", "new", "NDCG@10"): 0.002,
        ("post", "new", "NDCG@10"): 0.003,
        ("raw", "all", "log-loss"): -0.2,
        ("raw", "repeat", "log-loss"): -0.9,
        ("raw", "new", "log-loss"): 0.1,
    }
    first = {key: value for key, value in repeating.items() if key[1] != "repeat"} | {("post", "new", "NDCG@10"): 0.02}
    tests = pd.concat(
        [
            rows("<i>one</i>", repeating, {"all": 1000, "repeat": 250, "new": 750}),
            rows("two", first, {"all": 200, "new": 200}),
        ]
    )
    answer = comparison_answer(tests, "Softmax")
    one, two = answer.split("**two.**")
    assert one.startswith("**&lt;i&gt;one&lt;/i&gt;.** Of 1,000 test users, 25.0% next took")
    assert "small sample" not in one
    assert "better in NDCG@10, shown for targets in the history. Without the history's items no gain is shown" in one
    assert "NDCG@10: all +0.0300 [+0.0200, +0.0400], better (p = 0.0123); repeat +0.1000" in one
    assert "at inference: new +0.0030 [-0.0070, +0.0130], no difference shown" in one
    assert "less is better: all -0.2000 [-0.2100, -0.1900], better (p = 0.0123); repeat -0.9000" in one
    assert "new +0.1000 [+0.0900, +0.1100], worse" in one
    assert two.startswith(" Of 200 test users, 0.0% next took an item of their history.\n*This is a small sample")
    assert "better in NDCG@10. Part of the gain is left" in two
    assert "; new" not in two  # which are all


def test_what_holds_alone_but_not_among_many_tests_is_not_taken_for_shown():
    gains = {("raw", "all", "NDCG@10"): 0.03, ("post", "new", "NDCG@10"): 0.02, ("raw", "all", "log-loss"): 0.0}
    tests = rows("one", gains, {"all": 500, "new": 500})
    tests.loc[tests["ranking"] == "post", "holm"] = 0.3
    answer = comparison_answer(tests, "Softmax")
    assert "Without the history's items no gain is shown" in answer
    assert "new +0.0200 [+0.0100, +0.0300], better (p = 0.3000, which may be chance)" in answer
    assert "no difference shown in NDCG@10." in comparison_answer(tests.assign(holm=0.06), "Softmax")


@pytest.mark.parametrize(("value", "verdict"), [(0.005, "no difference shown"), (-0.03, "worse")])
def test_the_answer_says_so_where_nothing_is_gained(value, verdict):
    gains = {("raw", "all", "NDCG@10"): value, ("post", "all", "NDCG@10"): value, ("raw", "all", "log-loss"): 0.0}
    answer = comparison_answer(rows("one", gains, {"all": 500}), "Softmax")
    assert f"- **Softmax + C** against Softmax: {verdict} in NDCG@10." in answer
    assert "at inference: no such targets." in answer  # all are repeats


def test_an_ablation_says_which_part_is_shown_to_help_where():
    helps = {("raw", "all", "NDCG@10"): 0.03, ("raw", "repeat", "NDCG@10"): 0.1, ("raw", "new", "NDCG@10"): -0.02}
    nothing = {key: 0.001 for key in helps} | {("post", "new", "NDCG@10"): 0.002}
    n = {"all": 1000, "repeat": 250, "new": 750}
    parts = pd.concat(
        [
            rows("one", helps, n).assign(part="C", over="Softmax"),
            rows("one", nothing, n).assign(part="P", over="Softmax + C"),
        ]
    ).drop(columns="holm")
    lines = ablation_answer(parts).splitlines()
    assert lines[0] == "**one.** Of 1,000 test users, 25.0% next took an item of their history."
    assert lines[3].startswith("- **C** over Softmax: all +0.0300 [+0.0200, +0.0400], better; repeat +0.1000")
    assert lines[4].endswith("History left out: new +0.0020 [-0.0080, +0.0120], no difference shown.")
    assert lines[5:7] == [
        "- Shown to be better: C over Softmax (all); C over Softmax (repeat).",
        "- Shown to be worse: C over Softmax (new).",
    ]
    assert lines[7].startswith("- Each of these 7 intervals is 95% by itself: 0.4 may")
    assert "No two of these heads" in ablation_answer(pd.DataFrame())
