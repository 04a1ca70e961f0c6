"""Cohort: how the models do on all cases of a query, and what one edit of all these cases' histories changes."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from cprlab.errors import ConfigError, suggestion
from cprlab.evaluation import MAIN, gains, labelled, means
from cprlab.evaluation.tables import overall
from cprlab.explorer.edits import EDITS, Edit
from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Model
from cprlab.explorer.state import Setting
from cprlab.models.recommender import Codes

COUNTED = (MAIN, "copy probability", "observed repeats", "log-loss")  # in `evaluation.METRICS`
AT_ONCE = 128  # predictions in one step
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Cohort:
    """The outcomes of some cases, by model.

    Attributes:
        models: the models' names.
        before: for each model the cases with the columns of `evaluate`, except `length`; `user` is a number, and each
            case is a user if none are known. A model's `log_loss` is NaN if that of any case is infinite.
        after: the same after an edit of the histories; None if there is none.
        changed: number of cases whose history the edit changes.
        left_out: number of cases that are left out, since the edit leaves nothing of their history.
    """

    models: Sequence[str]
    before: Sequence[pd.DataFrame]
    after: Sequence[pd.DataFrame] | None = None
    changed: int = 0
    left_out: int = 0

    def table(self) -> pd.DataFrame:
        """Return the means over users, with 95% bootstrap intervals over users.

        Returns:
            Rows `model, metric, value, low, high, n` (users). After an edit, rows `model, metric, before, after, value,
            low, high, n, verdict`, where `value, low, high` are of the paired difference after − before, and `verdict`
            is as in `evaluation.gains`. The metrics are `COUNTED`; "observed repeats" is the truth that the "copy
            probability", P(history), is compared with. What a model has not, such as the probabilities of one that
            only orders items, has no row.
        """
        numbers = ["value", "low", "high", "n"]
        if self.after is None:
            return self._of(means, {BEFORE: self.before}, ["model", "metric", *numbers])
        both = {BEFORE: self.before, AFTER: self.after}
        found = self._of(gains, both, ["model", "metric", *numbers, "verdict"], {"edit": BEFORE})
        values = self._of(means, both, ["model", "metric", "edit", "value"])
        for place, name in enumerate(both, 2):
            of_side = values.loc[values["edit"] == name, ["model", "metric", "value"]]
            found.insert(place, name, found[["model", "metric"]].merge(of_side, how="left")["value"])
        return found

    @property
    def users(self) -> int:
        """Number of users of the cases."""
        return self.before[0]["user"].nunique()

    def _of(
        self,
        statistic: Callable[..., pd.DataFrame],
        sides: dict[str, Sequence[pd.DataFrame]],
        columns: list[str],
        *base: dict[str, str],
    ) -> pd.DataFrame:
        if not len(self.before[0]):
            return pd.DataFrame(columns=columns)
        cases = [
            labelled(frame, {"model": model, "edit": side, "seed": 0})
            for side, frames in sides.items()
            for model, frame in zip(self.models, frames, strict=True)
        ]
        found = statistic(pd.concat(cases, ignore_index=True), *base, metrics=COUNTED, groups=("all",))
        return overall(found)[columns].reset_index(drop=True)


def cohort(shown: Explorer, edit: Edit | None = None) -> Generator[tuple[int, int], None, Cohort]:
    """Compute the outcomes of the query's cases, of the models as they are set, and return them.

    Yields after each step the number of predictions done, and of all. Of models as they were trained, the outcomes of
    the cases' own histories are known.

    Args:
        shown: the models, their settings, and the query.
        edit: as in `EDITS`; None for none.

    Raises:
        ConfigError: an edited history has an unknown item.
    """
    found = sorted(shown.choices.find(shown.state.query)["case"])  # so that cases of one history come together
    own = {case: tuple(shown.choices.histories[case].tolist()) for case in found}
    edited = {case: tuple(edit(one, int(shown.choices.targets[case]))) for case, one in own.items()} if edit else own
    cases = [case for case in found if edited[case]]
    changed = [case for case in cases if edited[case] != own[case]]
    pairs = list(zip(shown.models, shown.state.settings, strict=True))
    done, total = 0, sum(len(changed) + len(cases) * (setting != Setting()) for _, setting in pairs)

    def predicted(
        model: Model, setting: Setting, of: Mapping[int, Codes], cases: list[int]
    ) -> Generator[tuple[int, int], None, pd.DataFrame]:
        nonlocal done
        parts = [_known(model, [])]
        for start in range(0, len(cases), AT_ONCE):
            some = cases[start : start + AT_ONCE]
            parts.append(model.outcomes(some, [of[case] for case in some], setting).set_axis(some))
            done += len(some)
            yield done, total
        return pd.concat(parts[1:] or parts)

    before, after = [], []
    for model, setting in pairs:
        plain = setting == Setting()
        one = _known(model, cases) if plain else (yield from predicted(model, setting, own, cases))
        before.append(one)
        if edit:
            two = yield from predicted(model, setting, edited, changed)
            after.append(pd.concat([one.drop(index=changed), two]).loc[cases])
    users = pd.factorize(shown.choices.users[cases])[0] if shown.choices.users.any() else np.asarray(cases)
    sides = [[_of_users(frame, users) for frame in side] for side in (before, after)]
    names = [model.name for model in shown.models]
    return Cohort(names, sides[0], sides[1] if edit else None, len(changed), len(found) - len(cases))


def _known(model: Model, cases: list[int]) -> pd.DataFrame:
    """Return the outcomes of the model as it was trained for the own histories of some cases, indexed by the case."""
    return model.cases.iloc[cases].loc[:, "target":].set_axis(cases)


def _of_users(outcomes: pd.DataFrame, users: np.ndarray) -> pd.DataFrame:
    losses = outcomes["log_loss"].astype(float)
    outcomes = outcomes.assign(log_loss=np.nan if np.isinf(losses).any() else losses)
    outcomes.insert(0, "user", users)
    return outcomes


def counted(shown: Explorer, edit: str | Edit | None = None) -> Cohort:
    """Compute a cohort at once, with a progress bar.

    Args:
        shown: as for `cohort`.
        edit: as for `cohort`, or the name of an edit in `EDITS`.

    Raises:
        ConfigError: there is no such edit, or as for `cohort`.
    """
    if isinstance(edit, str):
        if edit not in EDITS:
            raise ConfigError(f"There is no edit {edit!r}: {suggestion(edit, EDITS)}")
        edit = EDITS[edit]
    steps = cohort(shown, edit)
    with tqdm(desc="cases", unit=" predictions", leave=False, delay=1) as bar:
        while True:
            try:
                done, bar.total = next(steps)
            except StopIteration as end:
                return end.value
            bar.update(done - bar.n)
