"""Heads against the first: what each predicts side by side, and where the difference lies, in words and numbers."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from cprlab.evaluation import Example
from cprlab.plots import GLYPHS
from cprlab.reports.answer import caution, gain_in_words, judgement, relative_in_words
from cprlab.reports.numbers import as_text


def top_predictions(examples: list[Example], titles: np.ndarray, top: int = 3) -> str:
    """Return a Markdown table: each case's history, its true next item, and every head's most probable items.

    Args:
        examples: of `choose_examples`; their histories are written in full.
        titles: (n_items,).
        top: how many items of each head.
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
            cells.append("<br>".join(f"{np.exp(scores[item]):.1%} {marked(item, case)}" for item in best))
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def comparison_answer(tests: pd.DataFrame, base: str) -> str:
    """Return Markdown: log by log, what each head gains over `base`, on which targets, and whether that is exclusion.

    Args:
        tests: of `sweeps.significance`, with NDCG@10 and log-loss.
        base: the head compared with.
    """
    lines = []
    for data, of_data in tests.groupby("data", sort=False):
        users = of_data.groupby("cases")["n"].first()
        repeats = users.get("repeat", 0) / users["all"]
        lines += [
            f"**{as_text(data)}.** Of {users['all']:,} test users, {repeats:.1%} next took an item of their history."
        ]
        lines += [caution(users["all"]), ""]
        for head, of_head in of_data.groupby("head", sort=False):
            raw = of_head[(of_head["ranking"] == "raw") & (of_head["cases"].isin(users.index if repeats else ["all"]))]
            ranked, losses = (raw[raw["metric"] == metric] for metric in ("NDCG@10", "log-loss"))
            left_out = of_head[(of_head["metric"] == "NDCG@10") & (of_head["ranking"] == "post")]
            left_out = left_out[left_out["cases"] == "new"]  # a repeat cannot be ranked without the history
            lines += [
                f"- **{head}** against {base}: {_verdict(ranked, left_out)}",
                f"    - NDCG@10: {_said(ranked)}.",
                f"    - The same once both leave the history out at inference: {_said(left_out)}.",
                f"    - Log-loss in nats, where less is better: {_said(losses)}.",
            ]
        lines.append("")
    lines.append("*p* is of the randomisation test, after Holm's correction for all rows of the table above.")
    return "\n".join(lines)


def _verdict(ranked: pd.DataFrame, left_out: pd.DataFrame) -> str:
    found = {row.cases: judgement(row) for row in ranked.itertuples()}
    if found["all"] != "better":
        return f"{found['all']} in NDCG@10."
    names = {"repeat": "targets in the history", "new": "new targets"}
    where = " and for ".join(names[group] for group in names if found.get(group) == "better")
    sentence = "better in NDCG@10" + f", shown for {where}" * bool(where) + ". "
    if any(judgement(row) == "better" for row in left_out.itertuples()):
        return sentence + "Part of the gain is left without the history's items: it is more than copying and excluding."
    return sentence + "No gain is shown without the history's items: it lies in which of them are copied or excluded."


def _said(rows: pd.DataFrame) -> str:
    return "; ".join(_tested(row) for row in rows.itertuples()) or "no such targets"


def _tested(row: NamedTuple) -> str:
    more = [relative_in_words(row), "" if np.isnan(row.holm) else f"p = {row.holm:.4f}"]
    return gain_in_words(row) + f" ({', '.join(filter(None, more))})" * any(more)
