"""top_predictions: the predictions of several heads for the same cases, side by side."""

import numpy as np

from cprlab.evaluation import Example
from cprlab.numbers import as_text
from cprlab.plots import GLYPHS


def top_predictions(examples: list[Example], titles: np.ndarray, top: int = 3) -> str:
    """Return a Markdown table with each case's history, true next item, and most probable items of each head.

    Args:
        examples: cases from `choose_examples`; their histories are written in full.
        titles: (n_items,) titles of the items.
        top: number of items of each head.
    """
    if not examples:
        return "No case qualifies."

    def marked(item: int, case: Example) -> str:
        glyphs = GLYPHS["history" if item in case.history else "new"]
        if item == case.target:
            glyphs += GLYPHS["target"]
        return f"{as_text(str(titles[item]))} {glyphs}"

    heads = list(examples[0].log_probs)
    lines = [["", "history, oldest first", "true next item", *heads], ["---"] * (3 + len(heads))]
    for case in examples:
        history = "<br>".join(as_text(str(titles[item])) for item in case.history)
        cells = [f"{case.wrong} {case.kind}", history, marked(case.target, case)]
        for scores in case.log_probs.values():
            best = np.argsort(-scores, kind="stable")[:top]
            cells.append("<br>".join(f"{np.exp(scores[item]):.2%} {marked(item, case)}" for item in best))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
