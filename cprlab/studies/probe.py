"""examine: all probes of one model, and the output of `cprlab probe`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pydantic

from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import evaluate
from cprlab.numbers import as_text, write_numbers
from cprlab.probes import (
    Verdict,
    bottleneck_gap,
    copy_dial,
    copy_scores,
    copyable,
    interference,
    judge,
    loss_parts,
    neighbourhood,
    separable_share,
    space,
    wanted_share,
)
from cprlab.settings import PageConfig
from cprlab.studies.report import behind, guessing
from cprlab.studies.retrofit import Measured, measure
from cprlab.subjects import ModelsConfig, Subject
from cprlab.training import build
from cprlab.training.counting import fit_counting

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # wanted copy shares of the dial's curve
SIZES = (2, 3, 5, 7, 10, 15, 20, 30, 50)  # of the item sets to be separated
SETS = 100  # of each size
MARKED = 8  # interfering items on a map
COUNTS = "Counts"  # the head that counts, if none of the models does
SUBJECT = "This model"


class ProbeConfig(ModelsConfig, PageConfig):
    """The parameters of `notebooks/pages/probe.ipynb`."""

    cases: int = pydantic.Field(300, ge=2, description="Number of cases for the slower probes.")

    @property
    def folder(self) -> Path:
        """Default folder of the page: `reports/probe-` and the name of the first model or the data."""
        return Path("reports") / f"probe-{self.stem}"


@dataclass(frozen=True)
class Findings:
    """Results of the probes of a model.

    Attributes:
        subject: the model, with the cases of the slower probes.
        scores: result of `copy_scores` on all cases.
        parts: result of `loss_parts`.
        verdict: result of `judge`.
        dial: result of `copy_dial` at `SHARES`; None if the head has a separate state for the history.
        gap: result of `bottleneck_gap`, uniform on the histories; None as for `dial`.
        copyable: result of `copyable`.
        separable: result of `separable_share`.
        space: result of `space`.
        measured: result of `measure` on all cases; None if the head has a separate state for the history, or there are
            too few users.
        gain: the measured gain in a sentence, or why there is none; "" if the head has such a state.
    """

    subject: Subject
    scores: pd.DataFrame
    parts: pd.DataFrame
    verdict: Verdict
    dial: pd.DataFrame | None
    gap: pd.DataFrame | None
    copyable: pd.DataFrame
    separable: pd.DataFrame
    space: pd.DataFrame
    measured: Measured | None
    gain: str

    def picture(self, kind: str) -> tuple[str, pd.DataFrame] | None:
        """Return a title and a map of the strongest case of a kind; see `picture`."""
        return picture(self.subject, self.dial, kind)


def picture(subject: Subject, dial: pd.DataFrame | None, kind: str) -> tuple[str, pd.DataFrame] | None:
    """Return a title and a map of the strongest case of a kind; None if there is none, or the map has one dimension.

    Args:
        subject: the model and its cases.
        dial: result of `copy_dial` on these cases at α = 0, 1 and optionally others; None if it does not apply.
        kind: "copy" for the case with the target in the history that the best single state copies worst; "exclude"
            for the case with a new target that loses most probability to its history.
    """
    repeat = subject.cases["repeat"].to_numpy(bool)
    chosen = np.flatnonzero(repeat == (kind == "copy"))
    snapshot = subject.snapshot
    if dial is None or not len(chosen) or min(snapshot.item_embeddings.shape) < 2:
        return None
    end = dial[dial["alpha"] == float(kind == "copy")].set_index("case")
    case = int(end.loc[chosen, "floor_ball" if kind == "copy" else "stay"].idxmax())
    title = snapshot.titles[snapshot.targets[case]]
    if kind == "exclude":
        lost = end.loc[case, "stay"]
        return f"Should not copy, but does: {title} comes next ({lost:.1f} nats lost)", neighbourhood(
            snapshot, case, []
        )
    marked = interference(snapshot.take(np.array([case])))["item"].head(MARKED)
    lost = end.loc[case, "floor_ball"]
    return (
        f"Should copy, but cannot: {title} comes again (at least {lost:.1f} nats lost)",
        neighbourhood(snapshot, case, marked.to_numpy()),
    )


def probed(opened: list[Subject]) -> list[Subject]:
    """Return the models that can be probed, which are all but counting models.

    Raises:
        ConfigError: all models are counting models.
    """
    subjects = [subject for subject in opened if subject.has_states]
    if not subjects:
        raise ConfigError(f"{_stateless(opened)} Give a model that was trained.")
    return subjects


def _stateless(opened: list[Subject]) -> str:
    """Return a sentence on the models that are not probed, and why; "" if there are none."""
    names = [subject.name for subject in opened if not subject.has_states]
    return f"Not probed, as what only counts has no hidden state: {', '.join(names)}." if names else ""


def rivals(opened: list[Subject], config: ProbeConfig) -> dict[str, pd.DataFrame]:
    """Return the cases of models that only count, by name: those opened, or else Counts on the runs' log.

    There are none if no log of the training is given.

    Raises:
        CprlabError: the log cannot be read.
    """
    known = {subject.name: subject.cases for subject in opened if not subject.has_states}
    if known or (config.models and not any(Path(model).is_dir() for model in config.models)):
        return known
    sequences = config.sequences()
    recommender = build(config.run_config(COUNTS), sequences)
    fit_counting(recommender, sequences)
    return {COUNTS: evaluate(recommender, sequences)}


def examine(
    subject: Subject, config: ProbeConfig, counting: Mapping[str, pd.DataFrame] = MappingProxyType({})
) -> Findings:
    """Return the results of all probes of a model, with progress bars.

    Args:
        subject: the model.
        config: the number of cases, and the seed.
        counting: result of `rivals`, to compare with if the model has cases of the same users.
    """
    scores = copy_scores(subject.cases, config.seed)
    measured, gain = None, ""
    if not subject.own_state:
        try:
            measured = measure(subject, config.seed)
            gain = measured.words()
        except DataError as error:
            gain = f"No part was fitted: {error}"
    same = {rival: cases for rival, cases in counting.items() if _same_users(subject.cases, cases)}
    worse = behind({SUBJECT: subject.cases, **same}, SUBJECT, list(same), config.seed)
    worse = " ".join(filter(None, (guessing(SUBJECT, subject.cases, subject.held_out.n_items), worse)))
    subject = subject.sample(config.cases, config.seed)
    snapshot, cases = subject.snapshot, subject.cases
    wanted = wanted_share(cases)
    dial = gap = at_wanted = None
    if not subject.own_state:
        dial = copy_dial(snapshot, [wanted, *SHARES], progress=True)
        first = np.arange(len(dial)) % (1 + len(SHARES)) == 0
        dial, at_wanted = dial[~first].reset_index(drop=True), dial[first]
        gap = bottleneck_gap(snapshot, progress=True)
    parts = loss_parts(cases, wanted, at_wanted, config.seed)
    return Findings(
        subject,
        scores,
        parts,
        judge(parts, cases["repeat"].mean(), subject.own_state, worse),
        dial,
        gap,
        copyable(snapshot, progress=True),
        separable_share(snapshot.sample(SETS, config.seed), SIZES, config.seed),
        space(snapshot),
        measured,
        gain,
    )


def _same_users(cases: pd.DataFrame, other: pd.DataFrame) -> bool:
    return "user" in cases and cases["user"].equals(other["user"])


def verdicts(findings: list[Findings]) -> str:
    """Return the verdicts and measured gains as Markdown, with names, which may come from data, escaped."""
    return "\n".join(
        f"- **{as_text(found.subject.name)}.** {found.verdict.words} {as_text(found.gain)}".rstrip()
        for found in findings
    )


def origins(opened: list[Subject]) -> str:
    """Return the data's fingerprint for each model, doubts on them, and the models not probed, as Markdown."""
    doubts = (f"{as_text(one.name)}: {one.held_out.doubt}" for one in probed(opened) if one.held_out.doubt)
    shown = (f"{as_text(subject.name)}: {subject.fingerprint}" for subject in probed(opened))
    data = f"*The data, by their fingerprints.* {'; '.join(shown)}. {as_text(_stateless(opened))}".rstrip()
    return " ".join([data, *doubts])


def write_findings(findings: list[Findings], config: ProbeConfig) -> None:
    """Write `probe.json` to `config.out`, if it is set: the verdicts, and their tables as rows."""
    models = {}
    for found in findings:
        tables = {"copying": found.scores, "parts": found.parts, "space": found.space, "separable": found.separable}
        if found.dial is not None and found.gap is not None:
            tables["dial"] = found.dial.drop(columns="case").groupby("alpha", as_index=False).mean()
            tables["gap"] = found.gap.drop(columns="case").describe().rename_axis("statistic").reset_index()
        if found.measured is not None:
            tables |= {"retrofit": found.measured.table, "cheapest": found.measured.cheapest.table}
        models[found.subject.name] = {
            "fingerprint": found.subject.fingerprint,
            "verdict": found.verdict.words,
            "failure": found.verdict.failure,
            "advice": found.verdict.advice,
            "gain": found.gain,
            "cases": len(found.subject.cases),
            "copyable": found.copyable["outcome"].value_counts().to_dict(),
        } | {name: table.to_dict("records") for name, table in tables.items()}
    write_numbers("probe.json", config, {"models": models})
