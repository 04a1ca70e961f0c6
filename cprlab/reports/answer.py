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
    everyone = summary[summary["cases"] == "all"].set_index(["head", "metric"])
    for head in everyone.xs("copy excess", level="metric").index:
        copying, excess = everyone.loc[(head, "copy probability")], everyone.loc[(head, "copy excess")]
        lines.append(
            f"- **{head}** put {copying.value:.1%} [{copying.low:.1%}, {copying.high:.1%}] of its probability on the "
            f"history: {_judgement(excess.low, excess.high)} ({_points(excess.value)} "
            f"[{_points(excess.low)}, {_points(excess.high)}] percentage points against what users did)."
        )
    gains = differences[differences["metric"] == "NDCG@10"]
    for (head, against), rows in gains.groupby(["head", "against"], sort=False):
        raw = "; ".join(_gain(row) for row in rows[rows["ranking"] == "raw"].itertuples())
        post = next(rows[(rows["ranking"] == "post") & (rows["cases"] == "all")].itertuples())
        lines.append(f"- NDCG@10 of **{head}** against {against}: {raw}.")
        lines.append(f"- The same once both leave the history out at inference: {_gain(post)}.")
    return "\n".join(lines)


def _judgement(low: float, high: float) -> str:
    if low <= 0 <= high:
        return "not shown to differ from how often users repeat"
    return "too little" if high < 0 else "too much"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _gain(row) -> str:
    verdict = "no difference shown" if row.low <= 0 <= row.high else "better" if row.value > 0 else "worse"
    return f"{row.cases} {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}], {verdict}"
