"""answer: what a report found, in words and numbers."""

import pandas as pd


def answer(summary: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Return Markdown: how often each head copies against how often it should, and what each gains over the first.

    Args:
        summary: of `evaluation.summarise`.
        differences: of `evaluation.compare`.
    """
    counts = summary[summary["metric"] == "NDCG@10"].groupby("cases")["n"].first()
    repeats, n = int(counts.get("repeat", 0)), int(counts["all"])
    lines = [f"Of {n:,} test users, {repeats / n:.1%} next took an item of their history.", ""]
    copying = summary[(summary["metric"] == "copy probability") & (summary["cases"] == "all")]
    for row in copying.itertuples():
        lines.append(
            f"- **{row.head}** put {row.value:.1%} [{row.low:.1%}, {row.high:.1%}] of its probability on the history: "
            f"{_judgement(row.low, row.high, repeats / n)}."
        )
    gains = differences[differences["metric"] == "NDCG@10"]
    for (head, against), rows in gains.groupby(["head", "against"], sort=False):
        raw = "; ".join(_gain(row) for row in rows[rows["ranking"] == "raw"].itertuples())
        post = next(rows[(rows["ranking"] == "post") & (rows["cases"] == "all")].itertuples())
        lines.append(f"- NDCG@10 of **{head}** against {against}: {raw}.")
        lines.append(f"- The same once both leave the history out at inference: {_gain(post)}.")
    return "\n".join(lines)


def _judgement(low: float, high: float, observed: float) -> str:
    if low <= observed <= high:
        return "as much as users repeat"
    return "too little" if high < observed else "too much"


def _gain(row) -> str:
    verdict = "no difference shown" if row.low <= 0 <= row.high else "better" if row.value > 0 else "worse"
    return f"{row.cases} {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}], {verdict}"
