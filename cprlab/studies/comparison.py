"""Heads against the first: what each predicts side by side, and where the difference lies, in words and numbers."""

import numpy as np
import pandas as pd

from cprlab.evaluation import MAIN, Example
from cprlab.numbers import as_text
from cprlab.plots import GLYPHS
from cprlab.studies.words import Row, caution, gain_in_words, judgement, relative_in_words, telling

LEVEL = 0.05  # of p, after Holm's correction, above which a difference is not shown


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
            cells.append("<br>".join(f"{np.exp(scores[item]):.2%} {marked(item, case)}" for item in best))
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
        lines += _about(data, of_data)
        for head, of_head in of_data.groupby("head", sort=False):
            ranked, left_out = _by_ranking(of_head, MAIN)
            losses, _ = _by_ranking(of_head, "log-loss")
            lines += [
                f"- **{head}** against {base}: {_verdict(ranked, left_out)}",
                f"    - NDCG@10: {_said(ranked)}.",
                f"    - The same once both leave the history out at inference: {_said(left_out)}.",
                f"    - Log-loss in nats, where less is better: {_said(losses)}.",
            ]
        lines.append("")
    lines.append("*p* is of the randomisation test, after Holm's correction for all rows of the table above.")
    return "\n".join(lines)


def ablation_answer(parts: pd.DataFrame) -> str:
    """Return Markdown: log by log, what every part gains over the head without it in NDCG@10, and on which targets.

    Args:
        parts: of `sweeps.contributions`.
    """
    if parts.empty:
        return "No two of these heads differ in one part alone, so no part can be told from the others."
    lines = []
    for data, of_data in parts[parts["metric"] == MAIN].groupby("data", sort=False):
        lines += _about(data, of_data)
        verdicts: dict[str, list[str]] = {}
        for (part, over), of_part in of_data.groupby(["part", "over"], sort=False):
            said = []
            for rows, where in zip(_by_ranking(of_part, MAIN), ("", ", history left out"), strict=True):
                said.append("; ".join(map(gain_in_words, rows.itertuples())) or "no such targets")
                for row in rows.itertuples():
                    verdicts.setdefault(judgement(row), []).append(f"{part} over {over} ({row.cases}{where})")
            lines.append(f"- **{part}** over {over}: {said[0]}. History left out: {said[1]}.")
        for verdict in ("better", "worse"):
            lines.append(f"- Shown to be {verdict}: {'; '.join(verdicts.get(verdict, ['none']))}.")
        n = sum(map(len, verdicts.values()))
        lines += [f"- Each of these {n} intervals is 95% by itself: {0.05 * n:.1f} may miss 0 by chance alone.", ""]
    return "\n".join(lines)


def _about(data: str, rows: pd.DataFrame) -> list[str]:
    users = rows.groupby("cases")["n"].first()
    repeats = users.get("repeat", 0) / users["all"]
    share = f"Of {users['all']:,} test users, {repeats:.1%} next took an item of their history."
    return [f"**{as_text(data)}.** {share}", caution(users["all"]), ""]


def _by_ranking(rows: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one setting's rows with the history, and those without, of new targets: there no repeat can be ranked."""
    rows = rows[rows["metric"] == metric]
    raw, post = (rows[rows["ranking"] == ranking] for ranking in ("raw", "post"))
    return telling(raw), post[post["cases"] == "new"]


def _verdict(ranked: pd.DataFrame, left_out: pd.DataFrame) -> str:
    found = {row.cases: _tested(row) for row in ranked.itertuples()}
    if found["all"] != "better":
        return f"{found['all']} in NDCG@10."
    names = {"repeat": "targets in the history", "new": "new targets"}
    where = " and for ".join(names[group] for group in names if found.get(group) == "better")
    sentence = "better in NDCG@10" + f", shown for {where}" * bool(where) + ". "
    if any(_tested(row) == "better" for row in left_out.itertuples()):
        return sentence + "Part of the gain is left without the history's items: it is more than copying and excluding."
    return sentence + "Without the history's items no gain is shown: all of it may lie in which are copied or excluded."


def _tested(row: Row) -> str:
    """Return `judgement(row)`, but that no difference is shown where a test of many says so."""
    found = judgement(row)
    return "no difference shown" if found in ("better", "worse") and row.holm > LEVEL else found


def _said(rows: pd.DataFrame) -> str:
    return "; ".join(map(_with_test, rows.itertuples())) or "no such targets"


def _with_test(row: Row) -> str:
    doubted = ", which may be chance" if judgement(row) != _tested(row) else ""
    more = [relative_in_words(row), "" if np.isnan(row.holm) else f"p = {row.holm:.4f}{doubted}"]
    return gain_in_words(row) + f" ({', '.join(filter(None, more))})" * any(more)
