"""examine: all probes of one model, and what `cprlab probe` writes of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydantic

from cprlab.errors import ConfigError
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
from cprlab.subjects import ModelsConfig, Subject

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # of the dial's curve
SIZES = (2, 3, 5, 7, 10, 15, 20, 30, 50)  # of the sets that are to be separated
SETS = 100  # of each size
MARKED = 8  # interfering items on a map


class ProbeConfig(ModelsConfig, PageConfig):
    """The parameters of `notebooks/probe.ipynb`."""

    cases: int = pydantic.Field(300, ge=2, description="Number of cases that the slower probes take.")

    @property
    def folder(self) -> Path:
        """Where the page goes when nobody says where: `reports/probe-` and the name of the first model or the data."""
        return Path("reports") / f"probe-{self.stem}"


@dataclass(frozen=True)
class Findings:
    """What the probes found of a model; where its head has a state of its own for the history, no dial and no gap.

    Attributes:
        subject: the model, on the cases that the slower probes took.
        scores: `copy_scores` on all cases.
        parts: `loss_parts`.
        verdict: `judge`.
        dial: `copy_dial` at `SHARES`.
        gap: `bottleneck_gap`, uniform on the histories.
        copyable: `copyable`.
        separable: `separable_share`.
        space: `space`.
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

    def picture(self, kind: str) -> tuple[str, pd.DataFrame] | None:
        """Return a title and a map of the strongest case of a kind; see `picture`."""
        return picture(self.subject, self.dial, kind)


def picture(subject: Subject, dial: pd.DataFrame | None, kind: str) -> tuple[str, pd.DataFrame] | None:
    """Return a title and a map of the strongest case of a kind, None where there is none, or one dimension alone.

    Args:
        subject: the model and its cases.
        dial: `copy_dial` on these cases at 0 and 1, and maybe more; None for a head without.
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
    """Return the models that can be probed: not those that count.

    Raises:
        ConfigError: there are no others.
    """
    subjects = [subject for subject in opened if subject.has_states]
    if not subjects:
        raise ConfigError(f"{_stateless(opened)} Give a model that was trained.")
    return subjects


def _stateless(opened: list[Subject]) -> str:
    """Return in a sentence which models are not probed, and why; "" where there are none."""
    names = [subject.name for subject in opened if not subject.has_states]
    return f"Not probed, as what only counts has no hidden state: {', '.join(names)}." if names else ""


def examine(subject: Subject, config: ProbeConfig) -> Findings:
    """Ask all probes of a model; progress bars show how far they are."""
    scores = copy_scores(subject.cases, config.seed)
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
        judge(parts, cases["repeat"].mean(), subject.own_state),
        dial,
        gap,
        copyable(snapshot, progress=True),
        separable_share(snapshot.sample(SETS, config.seed), SIZES, config.seed),
        space(snapshot),
    )


def verdicts(findings: list[Findings]) -> str:
    """Return the verdicts as Markdown; names, which may be of files from elsewhere, stay text."""
    return "\n".join(f"- **{as_text(found.subject.name)}.** {found.verdict.words}" for found in findings)


def origins(opened: list[Subject]) -> str:
    """Return as Markdown which data each model was looked at on, and which models were not."""
    told = (f"{as_text(subject.name)}: {subject.fingerprint}" for subject in probed(opened))
    return f"*The data, by their fingerprints.* {'; '.join(told)}. {as_text(_stateless(opened))}".rstrip()


def write_findings(findings: list[Findings], config: ProbeConfig) -> None:
    """Write `probe.json` to `config.out`, if any: verdicts, and the tables behind them as rows."""
    models = {}
    for found in findings:
        tables = {"copying": found.scores, "parts": found.parts, "space": found.space, "separable": found.separable}
        if found.dial is not None and found.gap is not None:
            tables["dial"] = found.dial.drop(columns="case").groupby("alpha", as_index=False).mean()
            tables["gap"] = found.gap.drop(columns="case").describe().rename_axis("statistic").reset_index()
        models[found.subject.name] = {
            "fingerprint": found.subject.fingerprint,
            "verdict": found.verdict.words,
            "failure": found.verdict.failure,
            "advice": found.verdict.advice,
            "cases": len(found.subject.cases),
            "copyable": found.copyable["outcome"].value_counts().to_dict(),
        } | {name: table.to_dict("records") for name, table in tables.items()}
    write_numbers("probe.json", config, {"models": models})
