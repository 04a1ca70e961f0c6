import numpy as np

from cprlab.evaluation import Example
from cprlab.studies.compare import top_predictions

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
