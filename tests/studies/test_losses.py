import pandas as pd

from cprlab.studies.losses import losses_answer


def test_the_answer_says_where_the_gain_carries_over():
    gained = {("GRU4Rec", "CE"): 0.03, ("GRU4Rec", "BPR"): 0.005, ("MF", "CE"): -0.02, ("MF", "BPR"): 0.04}
    found = pd.DataFrame(
        [
            ("<i>log</i>", encoder, "Softmax + C", loss, ranking, cases, "NDCG@10", value + (cases == "new"), n)
            for (encoder, loss), value in gained.items()
            for ranking in ("raw", "post")
            for cases, n in (("all", 100), ("repeat", 90), ("new", 10))
        ],
        columns=["data", "encoder", "head", "loss", "ranking", "cases", "metric", "value", "n"],
    )
    found = found.assign(low=found["value"] - 0.01, high=found["value"] + 0.01)
    runs = pd.DataFrame(
        [
            ("<i>log</i>", encoder, head, loss, seed, value)
            for encoder in ("GRU4Rec", "MF")
            for head, loss, values in (("Softmax", "CE", (0.3, 0.1)), ("Softmax + C", "BPR", (0.25, 0.2)))
            for seed, value in enumerate(values)
        ],
        columns=["data", "encoder", "head", "loss", "seed", "validation"],
    )
    answer = losses_answer(found, runs, "Softmax")
    assert answer.startswith("**&lt;i&gt;log&lt;/i&gt;.** *This is a small sample, of 100 test users")
    assert (
        "- NDCG@10 of **Softmax + C** against Softmax, with **MF**:\n    - CE: all -0.0200 [-0.0300, -0.0100], worse"
        in answer
    )
    assert "new +1.0300 [+1.0200, +1.0400], too few users to tell.\n    - BPR: all +0.0050" in answer
    assert (
        "Over all targets Softmax + C is, against Softmax: better for GRU4Rec with CE, MF with BPR; "
        "no difference shown for GRU4Rec with BPR; worse for MF with CE."
    ) in answer
    assert answer.count("all +0.0300") == 1  # raw only
    assert answer.endswith("Of all with MF, validation likes Softmax + C with BPR best.")  # over both seeds
    assert "new" not in losses_answer(found[found["cases"] != "repeat"], runs, "Softmax")  # who would be all
