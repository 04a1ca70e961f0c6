"""Does a head's gain carry over to other losses and encoders? The answer in words and numbers."""

import pandas as pd

from cprlab.numbers import as_text
from cprlab.studies.words import caution, gain_in_words, judgement, telling


def losses_answer(found: pd.DataFrame, runs: pd.DataFrame, base: str) -> str:
    """Return Markdown: what each head gains over `base` with each encoder and loss, and what validation likes best.

    Args:
        found: of `evaluation.gains` against `base`, with the labels `data, encoder, head, loss`, of NDCG@10.
        runs: the `table` of the `Results` that were compared.
        base: the head compared with.
    """
    raw = found[found["ranking"] == "raw"]
    lines = []
    for data, of_data in raw.groupby("data", sort=False):
        everyone = of_data[of_data["cases"] == "all"]
        lines += [f"**{as_text(data)}.** {caution(everyone['n'].iloc[0])}", ""]
        for head, of_head in of_data.groupby("head", sort=False):
            for encoder, rows in of_head.groupby("encoder", sort=False):
                lines.append(f"- NDCG@10 of **{head}** against {base}, with **{encoder}**:")
                for loss, of_loss in rows.groupby("loss", sort=False):
                    said = "; ".join(gain_in_words(row) for row in telling(of_loss).itertuples())
                    lines.append(f"    - {loss}: {said}.")
            where: dict[str, list[str]] = {}
            for row in everyone[everyone["head"] == head].itertuples():
                where.setdefault(judgement(row), []).append(f"{row.encoder} with {row.loss}")
            verdicts = "; ".join(f"{verdict} for {', '.join(names)}" for verdict, names in where.items())
            lines += ["", f"Over all targets {head} is, against {base}: {verdicts}.", ""]
        for encoder, of_encoder in runs[runs["data"] == data].groupby("encoder", sort=False):
            scores = of_encoder.groupby(["head", "loss"], sort=False)["validation"].mean()
            head, loss = scores.idxmax()
            lines.append(f"Of all with {encoder}, validation likes {head} with {loss} best.")
        lines.append("")
    return "\n".join(lines).strip()
