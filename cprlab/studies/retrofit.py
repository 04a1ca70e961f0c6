"""measure: what parts fitted to a frozen model change, and the output of `cprlab retrofit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pydantic

from cprlab.config import Names
from cprlab.errors import ConfigError
from cprlab.evaluation import MAIN, Example, disagreements
from cprlab.numbers import as_text, write_numbers
from cprlab.plots.style import short
from cprlab.probes import PARTS, Cheapest, Part, Retrofit, Snapshot, cheapest, retrofits
from cprlab.probes.retrofit import halves
from cprlab.settings import PageConfig
from cprlab.subjects import ModelsConfig, Subject
from cprlab.training.runs import keep_retrofitted, slug

LOSSES = ("log-loss", "loss on whether", "loss on which")
SHOWN = (*((metric, "all") for metric in LOSSES), *((MAIN, group) for group in ("all", "repeat", "new")))


class RetrofitConfig(ModelsConfig, PageConfig):
    """The parameters of `notebooks/pages/retrofit.ipynb`."""

    heads: Names = pydantic.Field(("Softmax",), description="Heads to train if no model is given.")
    part: Literal["auto", Part] = pydantic.Field("auto", description="The part to write; auto is the one named")

    @property
    def folder(self) -> Path:
        """Default folder of the page: `reports/retrofit-` and the name of the first model or the data."""
        return Path("reports") / f"retrofit-{self.stem}"


@dataclass(frozen=True)
class Measured:
    """What parts fitted to a frozen model change.

    Attributes:
        subject: the model.
        snapshot: the judged cases.
        user_ids: (cases,) whose they are.
        where: on which cases the parts were fitted and judged, in words.
        parts: results of `retrofit`, by part.
        cheapest: result of the rule.
    """

    subject: Subject
    snapshot: Snapshot
    user_ids: np.ndarray
    where: str
    parts: dict[Part, Retrofit]
    cheapest: Cheapest

    @property
    def table(self) -> pd.DataFrame:
        """The rows of all parts' tables; "before" is the same in each."""
        return pd.concat([found.table for found in self.parts.values()], ignore_index=True)

    def named(self, part: str = "auto") -> Retrofit | None:
        """Return a part, or the one named; None for "nothing"."""
        wanted = self.cheapest.part if part == "auto" else part
        return next((found for name, found in self.parts.items() if name == wanted), None)

    def words(self) -> str:
        """Return the measured gain of the part named, in a sentence."""
        found = self.named()
        if found is None:
            return f"Measured: no part fitted to this frozen model lowers its log-loss beyond noise; {self.where}."
        gain = {
            (row.metric, row.cases): f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in found.table.query("model == 'difference'").itertuples()
        }
        groups = [f"{group} {gain[MAIN, group]}" for group in ("repeat", "new") if (MAIN, group) in gain]
        numbers = f"{found.parameters:,} number" + "s" * (found.parameters > 1)
        return (
            f"Measured: + {found.part} ({numbers}) fitted to this frozen model: {MAIN} {gain[MAIN, 'all']} "
            f"({', '.join(groups)}), log-loss {gain['log-loss', 'all']}; {self.where}."
        )

    def examples(self, part: str = "auto", each: int = 2) -> list[Example]:
        """Return judged cases on which the model with a part disagrees with the frozen one, by `evaluation.RULE`."""
        if (found := self.named(part)) is None:
            return []
        names = "the frozen model", f"the model with {found.part}"
        cases = dict(zip(names, (found.cases["before"], found.cases["after"]), strict=True))
        shown = []
        for kind, wrong, right, place in disagreements(cases, each):
            one = self.snapshot.take(np.array([place]))
            ((_, before),) = one.log_probs()
            scores = (before[0].numpy(), found.log_probs(one.states, one.histories)[0])
            scored = dict(zip(names, scores, strict=True))
            user = str(self.user_ids[place])
            shown.append(Example(kind, wrong, right, user, one.histories[0], int(one.targets[0]), scored))
        return shown


def measure(subject: Subject, seed: int = 0) -> Measured:
    """Fit all parts to a model, on its validation cases or else on half of its users, and apply the rule.

    Raises:
        DataError: there are too few users, or the validation cases cannot be read.
    """
    snapshot = subject.snapshot
    users = np.arange(len(snapshot)) if subject.users is None else subject.users
    ids = users if subject.user_ids is None else subject.user_ids
    if subject.validation is None:
        fitted, judged = halves(users, seed)
        validation, of_fitted = snapshot.take(fitted), users[fitted]
        snapshot, users, ids = snapshot.take(judged), users[judged], ids[judged]
        words = "fitted on a random half of the users, {:,}, and judged on the other {:,}"
    else:
        validation, of_fitted = subject.validation()
        words = "fitted on the validation cases of {:,} users, and judged on the test cases of {:,}"
    where = words.format(len(np.unique(of_fitted)), len(np.unique(users)))
    parts = retrofits(
        snapshot, validation=validation, users=users, validation_users=of_fitted, seed=seed, progress=True
    )
    return Measured(subject, snapshot, ids, where, parts, cheapest(parts, seed))


def fittable(opened: list[Subject]) -> list[Subject]:
    """Return the models to which a part can be fitted: those that score all items by one hidden state.

    Raises:
        ConfigError: there are none.
    """
    subjects = [subject for subject in opened if subject.has_states and not subject.own_state]
    if not subjects:
        raise ConfigError(f"{_others(opened)} Give a model with a plain softmax.")
    return subjects


def _others(opened: list[Subject]) -> str:
    """Return a sentence on the models to which nothing is fitted, and why; "" if there are none."""
    names = [subject.name for subject in opened if subject.own_state or not subject.has_states]
    why = "as a part is added only to a softmax that scores all items by one hidden state"
    return f"Nothing is fitted to {', '.join(names)}, {why}." if names else ""


def answers(measured: list[Measured], config: RetrofitConfig) -> str:
    """Return what was measured, and what is written, as Markdown with names escaped."""
    lines = []
    for one, file in zip(measured, _files(measured, config.part), strict=True):
        run = f", and the run {file}" * (one.subject.run is not None)
        written = f" Written beside this page: {file}.safetensors{run}." if config.out and file else ""
        lines.append(f"- **{as_text(one.subject.name)}.** {as_text(one.words() + written)}")
    return "\n".join(lines)


def origins(opened: list[Subject]) -> str:
    """Return the data's fingerprint for each model, and the models that are left out, as Markdown."""
    shown = (f"{as_text(subject.name)}: {subject.fingerprint}" for subject in fittable(opened))
    return f"*The data, by their fingerprints.* {'; '.join(shown)}. {as_text(_others(opened))}".rstrip()


def choices(one: Measured) -> pd.DataFrame:
    """Return the table of the rule as text, a row for each part, with the named part marked."""
    table = one.cheapest.table
    more = [f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}]" for row in table.itertuples()]
    p = [f"{holm:.4f}" if holm >= 1e-4 else "< 0.0001" for holm in table["holm"]]
    columns = {
        "numbers fitted": table["parameters"].map("{:,}".format),
        "log-loss": table["log_loss"].map("{:.4f}".format),
        "above the best": np.where(table["part"] == one.cheapest.best, "the best", more),
        "p (Holm)": np.where(table["holm"].isna(), "", p),
        "": np.where(table["part"] == one.cheapest.part, "← named", ""),
    }
    return pd.DataFrame(columns).set_index(table["part"])


def headline(one: Measured) -> str:
    """Return the finding as a figure's title."""
    found = one.named()
    if found is None:
        return f"{short(one.subject.name, 50)}: no part lowers the log-loss beyond noise"
    table = found.table.query("cases == 'all'").pivot(index="metric", columns="model", values="value")
    losses = table.loc["loss on whether"]
    return (
        f"{short(one.subject.name, 50)}: + {found.part} takes the loss on whether from {losses['before']:.3f} to "
        f"{losses['after']:.3f} nats, NDCG@10 from {table.loc[MAIN, 'before']:.3f} to {table.loc[MAIN, 'after']:.3f}"
    )


def changes(one: Measured) -> pd.DataFrame:
    """Return `SHOWN` before, and each part's paired difference to it, as text."""
    table = one.table.assign(part=lambda rows: rows["part"].where(rows["model"] != "before", "before"))
    table = table.query("model != 'after'").drop_duplicates(["part", "metric", "cases"])
    signs = np.where(table["model"] == "before", "", "+")
    numbers = ["value", "low", "high"]
    table[numbers] = table[numbers].round(3) + 0.0  # turns −0 into 0
    table["text"] = [
        f"{row.value:{sign}.3f} [{row.low:{sign}.3f}, {row.high:{sign}.3f}]"
        for row, sign in zip(table.itertuples(), signs, strict=True)
    ]
    wide = table.pivot(index=["metric", "cases"], columns="part", values="text")
    rows = [row for row in SHOWN if row in wide.index]
    return wide.loc[rows, ["before", *PARTS]].rename(columns={part: f"+ {part}" for part in PARTS})


def write_retrofits(measured: list[Measured], config: RetrofitConfig) -> None:
    """Write `retrofit.json` to `config.out`, if it is set, and the part named or chosen of each model.

    A part is NAME.safetensors, see `Retrofit.load`. For a run there is also the folder NAME, a run that `Run.load`
    opens, whose record says what was trained and what was fitted.
    """
    files = _files(measured, config.part)
    models = {
        one.subject.name: {
            "fingerprint": one.subject.fingerprint,
            "words": one.words(),
            "cases": one.where,
            "named": one.cheapest.part,
            "best": one.cheapest.best,
            "written": file,
            "parts": one.cheapest.table.to_dict("records"),
            "ridges": {part: found.ridge for part, found in one.parts.items()},
            "table": one.table.to_dict("records"),
        }
        for one, file in zip(measured, files, strict=True)
    }
    written = []
    for one, file in zip(measured, files, strict=True):
        found, subject = one.named(config.part), one.subject
        if not (config.out and file and found):
            continue
        path = Path(config.out) / f"{file}.safetensors"
        found.save(path)
        written.append(path.name)
        if subject.run is not None and subject.sequences is not None:
            about = {
                "part": found.part,
                "parameters": found.parameters,
                "ridge": found.ridge,
                "cases": one.where,
                "seed": config.seed,
            }
            model = found.recommender(subject.run.recommender)
            keep_retrofitted(subject.run, model, subject.sequences, about, path.with_suffix(""))
            written.append(file)
    write_numbers("retrofit.json", config, {"models": models, "files": written})


def _files(measured: list[Measured], part: str) -> list[str]:
    """Return for each model the name of what is written, without suffix; "" if nothing is."""
    names = []
    for place, one in enumerate(measured, 1):
        found = one.named(part)
        number = f"{place}-" if len(measured) > 1 else ""
        names.append(f"{number}{slug(f'{one.subject.name} {found.part}')}" if found else "")
    return names
