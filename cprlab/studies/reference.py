"""The reference implementation: checkpoints as RecBole and as cprlab score them, and its faults (docs/method.md).

Each fault is measured by turning it on and off. All measurements are rows `fault, measured, head, with, without, value,
low, high, n`: the means with and without the fault, and `value`, the change when the fault is corrected, with its 95%
interval over n users.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cprlab.adapters.checkpoint import read_checkpoint
from cprlab.adapters.padded import Padded
from cprlab.adapters.recbole import CLASSES, PADDING, RECORDED, Fidelity, Reference, from_state_dict, load
from cprlab.data import InteractionLog, Sequences, Windows
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import estimate, evaluate, gains, labelled, means, overall
from cprlab.models import Recommender, SoftmaxConfig, parse_head
from cprlab.models.recommender import Histories
from cprlab.studies.reference_models import Models, skip_history, without_padding
from cprlab.sweeps import Results
from cprlab.training import Run

EPSILON = 1e-8  # added by the reference to a probability before the logarithm
HISTORIES = [[1, 2, 3, 3, 4, 5, 6], [7], [8, 9, 8]]  # histories with recorded probabilities
COLUMNS = ["fault", "measured", "head", "with", "without", "value", "low", "high", "n"]


def parity() -> pd.DataFrame:
    """Return the largest difference to RecBole's probabilities for each class.

    Returns:
        Rows `class, reference, corrected`: the difference with fidelity "reference", and with its faults corrected.
    """
    rows = []
    with np.load(RECORDED / "checkpoints.npz") as recorded:
        for name in CLASSES:
            checkpoint = RECORDED / f"{name}.pth"
            reference, corrected = (
                np.abs(probabilities(load(checkpoint, fidelity), HISTORIES) - recorded[name]).max()
                for fidelity in ("reference", "corrected")
            )
            rows.append((name, reference, corrected))
    return pd.DataFrame(rows, columns=["class", "reference", "corrected"])


def probabilities(recommender: Recommender, histories: list[list[int]]) -> np.ndarray:
    """Return the probabilities (m, n) of RecBole's n items, with padding first, after m histories of its item codes."""
    if isinstance(recommender, Reference):
        return np.exp(recommender.log_probs(histories))
    without = [[item - 1 for item in history if item != PADDING] for history in histories]
    return np.insert(np.exp(recommender.log_probs(without)), PADDING, 0, axis=1)


def silent_options() -> pd.DataFrame:
    """Return options that the reference silently ignores, and what cprlab does (fault 7).

    Returns:
        Rows `class, option, taken_for, difference, cprlab`: the option that the reference uses instead, the largest
        difference of its probabilities between the two, and cprlab's answer.
    """
    rows = []
    for name, option, taken_for in (
        ("GRU4RecCPR", {"partition_merging_mode": "average"}, {"n_facet_context": 0}),
        ("SASRecCPR", {"partition_merging_mode": "average"}, {"partition_merging_mode": "add"}),
        ("SASRecCPR", {"partition_merging_mode": "half"}, {"partition_merging_mode": "add"}),
        ("GRU4RecCPR", {"reranker_merging_mode": "average"}, {"reranker_merging_mode": "replace"}),
    ):
        reference = _probabilities(name, option, "reference")
        difference = np.abs(reference - _probabilities(name, taken_for, "reference")).max()
        try:
            other = _probabilities(name, taken_for, "corrected")
            moved = np.abs(_probabilities(name, option, "corrected") - other).max()
            answer = f"Does it; a probability moves by up to {moved:.1e}."
        except ConfigError as error:
            answer = str(error)
        rows.append((name, _text(option), _text(taken_for), difference, answer))
    return pd.DataFrame(rows, columns=["class", "option", "taken_for", "difference", "cprlab"])


def _probabilities(name: str, changes: dict, fidelity: Fidelity) -> np.ndarray:
    checkpoint = read_checkpoint(RECORDED / f"{name}.pth")
    config = checkpoint["config"].final_config_dict | changes
    return probabilities(from_state_dict(name, config, checkpoint["state_dict"], fidelity), HISTORIES)


def _text(setting: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in setting.items())


def padded_cases(model: Recommender, log: Sequences, at_end: bool) -> pd.DataFrame:
    """Return the test cases of a model from `train_padded`, with and without faults 1 and 2, for `mended`.

    Fault 1 is measured without scores of padding, fault 2 with the state read at the last slot.

    Args:
        model: the model.
        log: the log of its training.
        at_end: whether it was trained with fault 1.
    """
    at_slot, at_item = Padded.of(log, True), Padded.of(log, False)
    with without_padding(model):
        own = evaluate(model, at_slot if at_end else at_item)
        other = evaluate(model, at_item) if at_end else None
    tables = [_labelled(own, "1", "NDCG@10, mended in training and test", at_end)]
    if at_end:
        tables += [
            _labelled(own, "1", "NDCG@10, mended in the test alone", True),
            _labelled(other, "1", "NDCG@10, mended in the test alone", False),
            _labelled(evaluate(model, at_slot), "2", "NDCG@10", True),
            _labelled(own, "2", "NDCG@10", False),
        ]
    return pd.concat(tables)


def reranked_cases(run: Run, skipping: Recommender, log: Sequences) -> pd.DataFrame:
    """Return the test cases of a run and of a model from `train_skipping`, with and without fault 10, for `mended`.

    This also corrects the run's recommender in place, for the test only.
    """
    skip_history(run.recommender)
    tables = []
    for measured, model in (
        ("NDCG@10, mended in training and test", skipping),
        ("NDCG@10, mended in the test alone", run.recommender),
    ):
        tables += [_labelled(run.cases, "10", measured, True), _labelled(evaluate(model, log), "10", measured, False)]
    return pd.concat(tables)


def _labelled(cases: pd.DataFrame, fault: str, measured: str, faulty: bool) -> pd.DataFrame:
    return labelled(cases, {"fault": fault, "measured": measured, "faulty": faulty})


def mended(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return rows for NDCG@10 of all cases, with intervals over seeds and users.

    Args:
        tables: results of `padded_cases` or `reranked_cases`, each with the labels `head` and `seed`.
    """
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    cases = pd.concat(tables, ignore_index=True)
    keys = ["fault", "measured", "head"]
    with_ = overall(means(cases)).query("faulty").set_index(keys)["value"].rename("with")
    found = overall(gains(cases, {"faulty": True})).join(with_, on=keys)
    return found.assign(without=found["with"] + found["value"])[COLUMNS]


def row(fault: str, measured: str, head: str, faulty: np.ndarray, mended: np.ndarray) -> dict:
    """Return one row from numbers (users,) with the fault and without it."""
    numbers = (faulty.mean(), mended.mean(), *estimate(mended - faulty))
    return dict(zip(COLUMNS, (fault, measured, head, *numbers), strict=True))


def counted(fault: str, measured: str, faulty: float, mended: float, n: int) -> dict:
    """Return one row from two numbers without an interval."""
    numbers = (faulty, mended, mended - faulty, np.nan, np.nan, n)
    return dict(zip(COLUMNS, (fault, measured, "any", *numbers), strict=True))


def padding_in_lists(models: Models, log: Sequences, k: int = 10) -> pd.DataFrame:
    """Return rows on the effects of padding in models from `train_padded`: its probability (2), changed lists (6)."""
    half = log.max_len // 2
    rows = []
    for head in dict.fromkeys(head for head, _, _ in models):
        of_seeds = []
        for (name, at_end, _), model in models.items():
            if name == head and at_end:
                histories = [[item + 1 for item in history] for history in _read(log, log.windows("test"))]
                padding = np.exp(model.log_probs(histories)[:, PADDING])
                recommended = (model.topk(histories, k)[0] == PADDING).any(1)
                of_seeds.append((padding, recommended, agreement(model, histories, k)))
        padding, recommended, agreed = np.mean(of_seeds, axis=0)
        none, all_ = np.zeros(len(padding)), np.ones(len(padding))
        rows += [
            row("2", "probability of padding", head, padding, none),
            row("2", f"lists of {k} that recommend padding", head, recommended, none),
            row("6", f"share of the top {k} that is the same in {half} and {log.max_len} slots", head, agreed, all_),
        ]
    return pd.DataFrame(rows)


def agreement(model: Recommender, histories: Histories, k: int) -> np.ndarray:
    """Return the share of the top k that is the same with `max_len` slots and with half of them, (m,)."""
    slots = model.max_len
    recent = [history[-(slots // 2) :] for history in histories]
    many = model.topk(recent, k)[0]
    model.max_len = slots // 2
    few = model.topk(recent, k)[0]
    model.max_len = slots
    return (many[:, :, None] == few[:, None]).any(2).mean(1)


def smoothed(p: np.ndarray, n_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the effect of fault 3, CrossEntropyLoss(log(p + 1e-8)), on targets of probability p.

    Returns:
        The loss in nats, and the remaining share of the gradient, p / (p + 1e-8).
    """
    return -np.log(p + EPSILON) + np.log1p(n_items * EPSILON), p / (p + EPSILON)


def smoothing(cases: pd.DataFrame, n_items: int) -> pd.DataFrame:
    """Return rows on the loss and its gradient at the test targets with fault 3, for each head of `Results.cases`."""
    rows = []
    for head, of_head in cases.groupby("head", sort=False):
        loss, left = smoothed(np.exp(-of_head["log_loss"]), n_items)
        by_user = of_head.assign(loss=loss, left=left).groupby("user")[["loss", "left", "log_loss"]].mean().to_numpy()
        rows.append(row("3", "loss of a test target, nats", head, by_user[:, 0], by_user[:, 2]))
        rows.append(row("3", "share of its gradient that is left", head, by_user[:, 1], np.ones(len(by_user))))
    return pd.DataFrame(rows)


def gradient_left(cases: pd.DataFrame, n_items: int) -> pd.DataFrame:
    """Return the remaining share of the gradient with fault 3, for any probability and at quantiles of test targets.

    Args:
        cases: cases of `Results`.
        n_items: number of items of their log.

    Returns:
        Rows `of ("any target", or a head), p, value, low, high` for `plots.curves`; `low` and `high` equal `value`.
    """
    ps = {"any target": np.logspace(-12, 0, 49)}
    for head, of_head in cases.groupby("head", sort=False):
        ps[head] = np.quantile(np.exp(-of_head["log_loss"]), (0, 0.01, 0.1, 0.5, 0.9))
    rows = [pd.DataFrame({"of": of, "p": p, "value": smoothed(p, n_items)[1]}) for of, p in ps.items()]
    table = pd.concat(rows, ignore_index=True)
    return table.assign(low=table["value"], high=table["value"])


def items_read(log: Sequences) -> pd.DataFrame:
    """Return a row on the number of positions that an encoder reads for each training target (fault 4)."""
    windows = log.windows("train")
    ours = windows.lengths.sum() / windows.n_targets.sum()
    return pd.DataFrame([counted("4", "positions read for a training target", log.max_len, ours, log.n_users)])


def lost_order(log: InteractionLog) -> pd.DataFrame:
    """Return rows on the order that a log loses when its times become float32 (fault 8).

    Raises:
        DataError: the log has no times.
    """
    if log.times is None:
        raise DataError(f"{log.name} has no times that could be rounded; measure fault 8 on a log that has.")
    one_user = np.diff(log.users) == 0
    differ = one_user & (np.diff(log.times) != 0)
    lost = differ & (np.diff(log.times.astype(np.float32)) == 0)
    last = np.append(~one_user[1:], True)  # of a user's pairs
    rows = []
    for measured, pairs in (
        ("a user's neighbours in time that become ties", differ),
        ("test items that tie with the item before", differ & last),
    ):
        rows.append(counted("8", f"{measured} (of {pairs.sum():,})", (lost & pairs).sum(), 0, pairs.sum()))
    return pd.DataFrame(rows)


def history_reranked(results: Results, log: Sequences) -> pd.DataFrame:
    """Return rows on the number of the largest reranker's k items in the history, which C scores again (fault 10)."""
    histories, rows = list(_read(log, log.windows("test"))), []
    for head in results.table["head"].unique():
        config = parse_head(head)
        if isinstance(config, SoftmaxConfig) and config.rerank and config.context:
            k, counts = config.rerank[-1], []
            for seed in results.table["seed"].unique():
                first = results.run(head=head, seed=seed).recommender.parts(histories).components[0].logits[0]
                chosen = np.argpartition(-first, k - 1, axis=1)[:, :k]
                counts.append([np.isin(items, h).sum() for items, h in zip(chosen, histories, strict=True)])
            wasted = np.mean(counts, axis=0)
            rows.append(row("10", f"of R's {k} items, those that C scores anew", head, wasted, np.zeros(len(wasted))))
    return pd.DataFrame(rows, columns=COLUMNS)


def _read(log: Sequences, windows: Windows) -> Iterator[list[int]]:
    """Yield the history of each window."""
    for start, stop in zip(windows.start, windows.stop, strict=True):
        yield log.items[start:stop].tolist()


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows of this module, sorted by the number of the fault and by what was measured."""
    return table.sort_values("measured", kind="stable").sort_values("fault", key=lambda f: f.astype(int), kind="stable")


def readable_faults(table: pd.DataFrame) -> pd.DataFrame:
    """Return sorted rows of this module as text, indexed by `fault, measured, head`."""
    table = ordered(table)
    text = pd.DataFrame({name: table[name].map(_number) for name in ("with", "without")})
    text["difference"] = [
        _number(row.value, "+")
        + ("" if np.isnan(row.low) or row.low == row.high else f" [{_number(row.low, '+')}, {_number(row.high, '+')}]")
        for row in table.itertuples()
    ]
    return text.set_index(pd.MultiIndex.from_frame(table[["fault", "measured", "head"]]))


def _number(value: float, sign: str = "") -> str:
    if value == round(value):
        return f"{value:{sign},.0f}" if value else "0"
    return f"{value:{sign}.4f}" if abs(value) >= 1e-4 else f"{value:{sign}.0e}"
