"""Stories: states worth a look, found for the models shown, each with two sentences of what to see in it.

A story's numbers are those of the predictions in the state that it sets, so that they agree with the bars.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cprlab.explorer.explorer import Explorer
from cprlab.explorer.model import Model, Prediction
from cprlab.explorer.state import Setting
from cprlab.probes import separable

AMONG = 600  # cases that are looked at, spread over all
TIMES = 50  # how often the one item was taken
ITEMS = 100  # items that are tried for it
PAIRS = 40  # pairs of items that are tried
CERTIFIED = 64  # histories that are certified
AT_ONCE = 50  # histories of one step
PAIRS_AT_ONCE = 8


@dataclass(frozen=True)
class Story:
    """A state, and what to see in it.

    Attributes:
        label: what its button says.
        text: two sentences.
        set: the changes of the explorer's state: case, history, settings and pinned.
    """

    label: str
    text: str
    set: dict[str, Any]


Search = Generator[None, None, Story | None]


def found(shown: Explorer) -> Iterator[Story | None]:
    """Yield the stories that the models have, and None between the steps of the search.

    Where cases fit equally well, the first counts.
    """
    plain = shown.at(shown.state.but(history=None, settings=(Setting(),) * len(shown.models), pinned=None))
    n_cases = len(shown.choices.targets)
    among = np.linspace(0, n_cases - 1, min(n_cases, AMONG)).astype(int)
    for search in SEARCHES:
        story = yield from search(plain, among)
        if story:
            yield story


def _repeated(shown: Explorer, among: np.ndarray) -> Search:
    """One item many times: the next item of a case for which the models' probabilities differ most."""
    places = [place for place, model in enumerate(shown.models) if model.encodes and not model.ordered]
    if len(places) < 2:
        return None
    items, first = np.unique(shown.choices.targets[among], return_index=True)
    order = np.argsort(first)[:ITEMS]
    items, cases = items[order], among[first[order]]
    given = np.empty((len(places), len(items)))
    for start in range(0, len(items), AT_ONCE):
        step = slice(start, start + AT_ONCE)
        for row, place in enumerate(places):
            scores = _scores(shown.models[place], cases[step], [[item] * TIMES for item in items[step]])
            given[row, step] = np.exp(scores[np.arange(len(scores)), items[step]])
        yield
    best = int(np.argmax(given.max(0) - given.min(0)))
    item, least = int(items[best]), places[int(given[:, best].argmin())]
    at, patch = _at(shown, int(cases[best]), history=(item,) * TIMES)
    rival = next(int(other) for other in _known(at, least).top(2) if other != item)
    each = [
        f"{shown.models[place].name} gives it {_given(at, place, item)}, and {_given(at, place, rival)} to "
        f"{_title(shown, rival)}"
        for place in places
    ]
    text = f"The history is {_title(shown, item)}, {TIMES} times, and nothing else. {'; '.join(each)}."
    return Story(f"One item, {TIMES} times", text, patch)


def _between(shown: Explorer, among: np.ndarray) -> Search:
    """Two items of one history that are far apart: in the middle an item between them gets most, compared with them."""
    place = next((place for place, model in enumerate(shown.models) if _is_plain(model)), None)
    if place is None:
        return None
    model, others = shown.models[place], [at for at in _likely(shown) if at != place and shown.models[at].encodes]
    weights = model.snapshot.item_embeddings.astype(float)
    units = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), np.finfo(float).tiny)
    pairs = _pairs(shown, among)
    cosines = (units[pairs[:, 0]] * units[pairs[:, 1]]).sum(1)
    best: tuple[float, Any] = (-np.inf, None)
    for count, row in enumerate(np.argsort(cosines, kind="stable")[:PAIRS]):
        one, other, case = pairs[row].tolist()
        settings = list(shown.state.settings)
        settings[place] = Setting(toward=1, scale=_scale(model, weights[[one, other]].mean(0)))
        now = model.predict(case, (one, other), settings[place])
        inner = (units @ units[[one, other]].T > cosines[row]).all(1)
        inner[[one, other]] = False
        rival = int(np.where(inner, now.scores, -np.inf).argmax())
        if inner[rival] and now.scores[rival] > now.scores[[one, other]].min():
            copied = [
                float(np.exp(_scores(shown.models[at], [case], [[one, other]])[0, [one, other]]).sum()) for at in others
            ]
            score = float(now.probabilities([rival])[0]) + max(copied, default=0) - now.copy
            best = max(best, (score, (one, other, case, rival, cosines[row], settings)), key=lambda found: found[0])
        if count % PAIRS_AT_ONCE == 0:
            yield
    if best[1] is None:
        return None
    one, other, case, rival, cosine, settings = best[1]
    at, patch = _at(shown, case, history=(one, other), settings=tuple(settings))
    each = [f"; {shown.models[other].name} gives the two {_percent(_known(at, other).copy)}" for other in others]
    text = (
        f"{_title(shown, one)} and {_title(shown, other)} are far apart (cosine {cosine:.2f}), and the hidden state of "
        f"{model.name} was moved to the middle between them. There {_title(shown, rival)}, which is closer to both, "
        f"gets {_given(at, place, rival)}, and the two together get {_percent(_known(at, place).copy)}{''.join(each)}."
    )
    return Story("Two items far apart", text, patch)


def _copied(shown: Explorer, among: np.ndarray) -> Search:
    """A new item next, where a model gives the history most, and more than the others."""
    yield
    table = shown.choices.table
    copied = table[~table["repeat"].to_numpy(bool)].filter(regex="^copy ")
    if not copied.size:
        return None
    gap = copied.max(axis=1) - (copied.min(axis=1) if copied.shape[1] > 1 else 0)
    case = int(gap.idxmax())
    if copied.loc[case].max() <= shown.choices.observed:
        return None
    at, patch = _at(shown, case)
    likely = sorted(_likely(at), key=lambda place: -_known(at, place).copy)
    worst, *others = likely
    each = [
        f"{at.models[place].name} gives them {_percent(_known(at, place).copy)}, and has the next item at rank "
        f"{_rank(at, place, at.target)}"
        for place in others
    ]
    text = (
        f"The next item, {_title(at, at.target)}, is new, and {at.models[worst].name} gives "
        f"{_percent(_known(at, worst).copy)} to the items that were there before: it copies where it should not, and "
        f"has the next item at rank {_rank(at, worst, at.target)}. "
        + ("; ".join(each) if each else "What is right for a repeat is wrong here")
        + "."
    )
    return Story("New, but it copies", text, patch)


def _uncopyable(shown: Explorer, among: np.ndarray) -> Search:
    """A repeat next: the fewest different items that no hidden state ranks above all others."""
    place = next((place for place, model in enumerate(shown.models) if _is_plain(model)), None)
    if place is None:
        return None
    model = shown.models[place]
    sizes = np.array([len(np.unique(model.read(shown.choices.histories[case]))) for case in among])
    repeats = shown.choices.table.loc[among, "repeat"].to_numpy(bool)
    order = np.flatnonzero(repeats & (sizes > 1) & (sizes < len(shown.titles)))
    for row in order[np.argsort(sizes[order], kind="stable")][:CERTIFIED]:
        part = model.snapshot.take(among[[row]])
        certificate = separable(part, part.distinct)[0]
        yield
        if certificate.outcome == "no":
            break
    else:
        return None
    at, patch = _at(shown, int(among[row]))
    each = [f"{at.models[other].name} gives them {_percent(_known(at, other).copy)}" for other in _likely(at)]
    text = (
        f"No hidden state ranks these {sizes[row]} different items above all others, with the item embeddings of "
        f"{model.name}: this is proved, for any training. The next item, {_title(at, at.target)}, is one of them; "
        f"{', '.join(each)}."
    )
    return Story("No state can copy", text, patch)


def _part(field: str, off: object, label: str, does: str) -> Callable[[Explorer, np.ndarray], Search]:
    """A part of a head: the case whose next item gains most by it; pinned is the same model without it."""

    def search(shown: Explorer, among: np.ndarray) -> Search:
        heads = [model.recommender.head.config for model in shown.models]
        place = next((place for place, head in enumerate(heads) if getattr(head, field, off)), None)
        if place is None:
            return None
        model, without = shown.models[place], shown.switched(place, **{field: off}).settings
        gains = np.full(len(among), -np.inf)
        for start in range(0, len(among), AT_ONCE):
            cases = among[start : start + AT_ONCE]
            histories = [shown.choices.histories[case] for case in cases]
            of_next = np.arange(len(cases)), shown.choices.targets[cases]
            has, lacks = (_scores(model, cases, histories, head)[of_next] for head in ("", without[place].head))
            possible = np.isfinite(has) & np.isfinite(lacks)
            gains[start : start + AT_ONCE] = np.subtract(has, lacks, out=np.full(len(cases), -np.inf), where=possible)
            yield
        best = int(np.argmax(gains))
        if not gains[best] > 0:
            return None
        case = int(among[best])
        pinned = {"history": shown.choices.histories[case].tolist(), "settings": without}
        at, patch = _at(shown, case, pinned=pinned)
        before = at.pinned()[place]
        assert before is not None
        letter = label.split()[1]
        text = (
            f"Pinned is {model.name} without {letter}: it gives the next item, {_title(at, at.target)}, "
            f"{_percent(before.outcome(at.target)['target'])} and rank {before.outcome(at.target)['rank']:,}. "
            f"With {letter}, {does}: it gets {_given(at, place, at.target)} and rank {_rank(at, place, at.target)}."
        )
        return Story(label, text, patch)

    return search


SEARCHES = (
    _repeated,
    _between,
    _copied,
    _uncopyable,
    _part("rerank", (), "What R does", "the most likely items are scored again, by a hidden state of their own"),
    _part("frequency", False, "What F adds", "items gain by how often and how recently they were there"),
)


def _at(shown: Explorer, case: int, **changes: Any) -> tuple[Explorer, dict[str, Any]]:
    """Return the explorer in a story's state, and what the story sets."""
    at = shown.at(shown.state.but(**({"case": case, "history": None, "pinned": None} | changes)))
    return at, at.state.model_dump(include={"case", "history", "settings", "pinned"})


def _scores(model: Model, cases: Sequence[int] | np.ndarray, histories: Sequence[Any], head: str = "") -> np.ndarray:
    """Return log-probabilities (m, n) after the histories of m cases."""
    users = None if model.users is None else model.users[np.asarray(cases)]
    return model.head(head).log_probs(histories, users=users)


def _pairs(shown: Explorer, among: np.ndarray) -> np.ndarray:
    """Return (m, 3) two items of one history and its case, each pair once."""
    pairs: dict[tuple[int, int], int] = {}
    for case in among.tolist():
        for pair in combinations(np.unique(shown.choices.histories[case][-5:]).tolist(), 2):
            pairs.setdefault(pair, case)
    return np.array([(*pair, case) for pair, case in pairs.items()], dtype=int).reshape(-1, 3)


def _is_plain(model: Model) -> bool:
    """Whether one hidden state and the item embeddings score all items."""
    return model.has_states and model.encodes and model.recommender.head.plain


def _scale(model: Model, middle: np.ndarray) -> float:
    """Return the factor, to two digits, that makes the middle as long as the model's long states."""
    return round(model.radius / max(float(np.linalg.norm(middle)), 1e-3), 2)


def _likely(shown: Explorer) -> list[int]:
    """Return the models that give probabilities."""
    return [place for place, model in enumerate(shown.models) if not model.ordered]


def _known(shown: Explorer, place: int) -> Prediction:
    prediction = shown.predicted()[place]
    assert prediction is not None  # the history is not empty
    return prediction


def _given(shown: Explorer, place: int, item: int) -> str:
    return _percent(float(_known(shown, place).probabilities([item])[0]))


def _rank(shown: Explorer, place: int, item: int) -> str:
    return f"{_known(shown, place).ranks([item])[0]:,}"


def _title(shown: Explorer, item: int) -> str:
    return f"“{shown.titles[item][:80]}”"


def _percent(p: float) -> str:
    """Return a probability as the page writes it."""
    if 0 < p < 1e-4:
        return "< 0.01%"
    return f"{p:.2%}" if p < 0.01 else f"{p:.1%}"
