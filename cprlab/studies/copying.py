"""Do heads know when to copy, and does one number fitted afterwards mend it? What notebook 7 asks of finished runs."""

from dataclasses import replace

import pandas as pd

from cprlab.data import Sequences
from cprlab.evaluation import describe_cases, evaluate, fit_shift, fit_temperature, gains, labelled, means
from cprlab.probes import copy_scores
from cprlab.studies.words import FEW, ROUNDED, excess_in_words
from cprlab.sweeps import Results
from cprlab.training import Run
from cprlab.training.loop import Device, open_device

AS_TRAINED, TEMPERATURE, SHIFT = "as trained", "one temperature", "history shifted"
EXCLUDES = -20  # nats; a shift below leaves the history no probability to speak of
WITHOUT_INTERVAL = ("calibration error", "AUC")


def scale_runs(results: Results, logs: dict[str, Sequences], device: Device = "auto") -> Results:
    """Fit a temperature, and a shift of the history, to each run's validation cases, and evaluate it anew with either.

    Args:
        results: of `run_trials`.
        logs: by the label `data`.
        device: where to score.

    Returns:
        The table with the columns `temperature` and `shift` (nats); the cases of the runs as trained and of both ways
        of scaling, told apart by the label `scaling`, with the columns of `describe_cases`.
    """
    labels = list(results.cases.columns[: results.cases.columns.get_loc("user")])
    traits = {name: describe_cases(sequences) for name, sequences in logs.items()}
    rows, cases = [], []
    for row in results.table.to_dict("records"):
        recommender = Run.load(row["folder"]).recommender.to(open_device(device))
        sequences = logs[row["data"]]
        fitted = {TEMPERATURE: fit_temperature(recommender, sequences), SHIFT: fit_shift(recommender, sequences)}
        rows.append(row | {"temperature": fitted[TEMPERATURE].temperature, "shift": fitted[SHIFT].shift})
        for scaling, scale in {AS_TRAINED: None, **fitted}.items():
            of_run = evaluate(recommender, sequences, scale=scale).merge(traits[row["data"]], on="user")
            cases.append(labelled(of_run, {label: row[label] for label in labels} | {"scaling": scaling}))
    return replace(results, table=pd.DataFrame(rows), cases=pd.concat(cases, ignore_index=True))


def forecast_scores(cases: pd.DataFrame) -> pd.DataFrame:
    """Return what has no mean over cases: the calibration error and the AUC of the copy probability, means over seeds.

    Args:
        cases: of `scale_runs`.

    Returns:
        A row for each log, head and scaling: `data, head, scaling`, "calibration error", "AUC" (NaN where nobody
        repeats).
    """
    labels = ["data", "head", "scaling"]
    rows = []
    for values, of_run in cases.groupby([*labels, "seed"], sort=False):
        scores = copy_scores(of_run).set_index("measure")["value"]
        rows.append(dict(zip(labels, values, strict=False)) | {name: scores[name] for name in WITHOUT_INTERVAL})
    return pd.DataFrame(rows).groupby(labels, sort=False, as_index=False).mean()


def copying_answer(scaled: Results, scores: pd.DataFrame) -> str:
    """Return Markdown: whether each head copies as it should, and what either way of scaling saves of its loss.

    Args:
        scaled: of `scale_runs`.
        scores: of `forecast_scores`.
    """
    everybody = means(scaled.cases, ("copy probability", "copy excess", "observed repeats")).query("cases == 'all'")
    of = everybody.set_index(["data", "head", "scaling", "metric"])
    scores = scores.set_index(["data", "head", "scaling"])
    saved = gains(scaled.cases, {"scaling": AS_TRAINED}, ("loss on whether", "loss on which")).query("cases == 'all'")
    saved = saved.set_index(["data", "head", "scaling", "metric"])
    fitted = scaled.table.groupby(["data", "head"], sort=False)[["temperature", "shift"]].mean()
    lines = []
    for data, heads in fitted.groupby("data", sort=False):
        repeats = of.loc[(data, heads.index[0][1], AS_TRAINED, "observed repeats")]
        small = "" if repeats.n >= 10 * FEW else "; so few users say little"
        lines += [
            "",
            f"On **{data}** {repeats.value:.1%} of {repeats.n:,} users next took an item of their history{small}.",
        ]
        lines.append("")
        for (_, head), (temperature, shift) in zip(heads.index, heads.to_numpy(), strict=True):
            copied, excess = (of.loc[(data, head, AS_TRAINED, name)] for name in ("copy probability", "copy excess"))
            area = scores.loc[(data, head, AS_TRAINED), "AUC"]
            tells = "" if pd.isna(area) else f"; its AUC for repeats is {area:.2f} (0.5 is guessing)"
            whether = {name: saved.loc[(data, head, name, "loss on whether")] for name in (TEMPERATURE, SHIFT)}
            which = saved.loc[(data, head, TEMPERATURE, "loss on which")]
            shifting = f"shifting the history by {shift:+.2f} nats" if shift > EXCLUDES else "leaving the history out"
            lines.append(
                f"- **{head}** puts {copied.value:.1%} [{copied.low:.1%}, {copied.high:.1%}] there, "
                f"{excess_in_words(excess)}{tells}. One temperature ({temperature:.3g}) changes its loss on whether to "
                f"copy by {_nats(whether[TEMPERATURE])} and that on which item by {_nats(which)}; {shifting} changes "
                f"the former by {_nats(whether[SHIFT])}. {_mended(whether)}"
            )
    return "\n".join(lines[1:])


def _mended(whether: dict[str, pd.Series]) -> str:
    """Say how much of what the shift saves a temperature saves."""
    if whether[SHIFT].n < FEW:
        return "Too few users to tell."
    if whether[SHIFT].high > -ROUNDED:
        return "That there was anything to mend is not shown."
    if whether[TEMPERATURE].low > 0:
        return "A temperature makes copying worse."
    if whether[TEMPERATURE].high >= 0:
        return "That a temperature mends it is not shown."
    return f"A temperature mends {whether[TEMPERATURE].value / whether[SHIFT].value:.0%} of what a shift does."


def _nats(row: pd.Series) -> str:
    value, low, high = row[["value", "low", "high"]].astype(float).round(3) + 0.0  # which turns −0 into 0
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}] nats"
