"""keep, read_results, read_cases: store each finished run as one small Parquet file with its record.

A file is `FOLDER/LOG/SPLIT/ENCODER-HEAD-IDENTITY.parquet`, and pandas can read it. It has one row per test case, in the
order of `evaluate`, with these columns:

- `user` (code), only if users have several cases; otherwise row i is the i-th user with a case.
- `repeat`: whether the target is among the items read.
- `rank`: rank of the target among all items, 1 is best.
- `above`: number of items of the history that rank above the target, so that `rank − above` is the rank after removing
  the history; null for a repeat, which is removed with the history.
- `log_loss` (nats), rounded to multiples of 2⁻¹²: the error is at most 0.00013 per case.
- `copy_probability` of the items read, rounded to multiples of 2⁻¹⁴: the error is at most 0.000031 per case, and of
  any mean.

The last two are null for a head that only ranks. Rounding errors have random signs, so the error of a mean log-loss
over m cases is about 0.00007 / √m: below 5 · 10⁻⁶, enough for four digits, from about 200 cases on. Everything else is
JSON under the key `cprlab` of the file's metadata, as in `pyarrow.parquet.read_metadata(path).metadata`.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cprlab.errors import CprlabError, DataError
from cprlab.evaluation import means
from cprlab.evaluation.metrics import COPYING, MAIN, RANKING
from cprlab.files import read_parquet, refuse_unreadable, whole
from cprlab.numbers import plain
from cprlab.training import Run
from cprlab.training.runs import RunConfig, slug

KEY = b"cprlab"
FILES = "*/*/*.parquet"
LABELS = ("data", "split", "encoder", "head", "seed")
STEPS = {"log_loss": 2.0**-12, "copy_probability": 2.0**-14}  # rounding steps
PROTOCOL = ("fingerprint", "items", "users", "max_len")  # the same for all runs of one log and split
ENDINGS = re.compile(r"(\.(parquet|csv|tsv|inter|gz|zst))+$")


@dataclass(frozen=True)
class Kept:
    """A kept run, without its cases.

    Attributes:
        path: path of its file.
        config: settings of the run.
        record: `data` (`name, fingerprint, items, users, max_len, split, notes`), `config`, `recipe`, `trained_on`,
            `processes`, `versions`, `curve` (`loss, ndcg, seconds`, one number per epoch) and `metrics` (rows `cases,
            ranking, metric, value, low, high, n`, as from `evaluation.means` of this run).
    """

    path: Path
    config: RunConfig
    record: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file without its cases.

        Raises:
            DataError: the file is not a kept run.
        """
        try:
            record = json.loads(pq.read_metadata(path).metadata[KEY])
            kept = cls(path, RunConfig(**record["config"]), record)
            kept.metric(MAIN)
            if not all(isinstance(record["data"][fact], str) for fact in ("name", "split", "fingerprint")):
                raise ValueError("its data have no name, no split or no fingerprint")
            if len({len(record["curve"][name]) for name in ("loss", "ndcg", "seconds")}) != 1:
                raise ValueError("its curve is incomplete")
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException, CprlabError) as error:
            refuse_unreadable(path, error)
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{path} is not a kept run ({detail}); remove it, and keep the run again.") from error
        return kept

    @property
    def labels(self) -> dict[str, Any]:
        """`data, split, encoder, head, seed`, which identify a kept run; "" means no encoder."""
        data, config = self.record["data"], self.config
        return {
            "data": ENDINGS.sub("", data["name"]),
            "split": data["split"],
            "encoder": "" if config.counts else config.encoder.name,
            "head": config.head,
            "seed": config.training.seed,
        }

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept, from 1."""
        return int(np.argmax(self.record["curve"]["ndcg"])) + 1

    @property
    def epochs(self) -> int:
        """Number of epochs trained."""
        return len(self.record["curve"]["loss"])

    @property
    def minutes(self) -> float:
        """Training time in minutes."""
        return sum(self.record["curve"]["seconds"]) / 60

    def metric(self, metric: str, ranking: str = "raw", cases: str = "all") -> dict[str, Any] | None:
        """Return the row of `record["metrics"]` with these labels, if there is one."""
        wanted = {"metric": metric, "ranking": ranking, "cases": cases}
        return next((row for row in self.record["metrics"] if wanted.items() <= row.items()), None)


def keep(run: Run, folder: Path | str = "results") -> Path:
    """Keep a run unless it is already kept, and return its file, which is written atomically.

    Raises:
        DataError: a part of it was fitted after its training, its record does not say how the log was split, or another
            run with the same log, split, encoder, head and seed is kept, or a run on a different form of the log.
    """
    data = run.record["data"]
    if "retrofit" in run.record:
        raise DataError(
            f"{run.folder} has a part that was fitted after its training; only runs that were trained whole are kept."
        )
    if run.config.start:
        raise DataError(f"{run.folder} started from trained weights; only runs that were trained whole are kept.")
    if not isinstance(data.get("split"), str) or not isinstance(data.get("notes"), list):
        raise DataError(
            f"{run.folder} was trained by an earlier version and does not say how its log was split; train it again."
        )
    about = {name: run.record.get(name) for name in ("data", "recipe", "trained_on", "processes", "versions")}
    curve = {name: run.history[name].tolist() for name in ("loss", "ndcg", "seconds")}
    record = about | {"config": run.config.model_dump(), "curve": curve, "metrics": []}
    new = Kept(Path(), run.config, record)
    place = Path(folder) / (slug(new.labels["data"]) or "log") / data["split"]
    path = place / f"{slug(run.config.name)}-{_identity(run.folder)}.parquet"
    if path.is_file():
        return path
    for other in map(Kept.open, sorted(place.glob("*.parquet"))):
        if other.labels == new.labels:
            raise DataError(f"{other.path} is another run with the same head and seed as {run.folder}; remove one.")
        if wrong := [fact for fact in PROTOCOL if other.record["data"][fact] != data[fact]]:
            raise DataError(
                f"{run.folder} and {other.path} were trained on different data (different {wrong[0]}) under the same "
                "name; rename one of the logs."
            )
    table = _packed(run.cases)
    cases = _unpacked(table.to_pandas()).assign(**new.labels)
    measured = means(cases[[*LABELS, *cases.columns.drop(list(LABELS))]], (*RANKING, *COPYING))
    record["metrics"] = measured.drop(columns=[name for name in LABELS if name in measured]).to_dict("records")
    numbers = [name for name in table.column_names if name != "repeat"]
    with (
        whole(path) as file,
        pq.ParquetWriter(
            file, table.schema, compression="zstd", compression_level=19, use_dictionary=False, store_schema=False,
            column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
        ) as writer,
    ):  # fmt: skip
        writer.write_table(table)
        writer.add_key_value_metadata({KEY.decode(): json.dumps(plain(record), allow_nan=False)})
    return path


def keep_all(runs: Path | str, folder: Path | str = "results") -> tuple[list[Path], list[str]]:
    """Keep the finished runs in a folder that are not kept yet.

    Returns:
        The files of all runs that are kept now, and an error message for each that is not.

    Raises:
        DataError: there is no such folder.
    """
    if not Path(runs).is_dir():
        raise DataError(f"{runs} is not a folder of runs; cprlab train, report and sweep make one.")
    files = {path.stem.rpartition("-")[2]: path for path in Path(folder).glob(FILES)}
    kept, refused = [], []
    for record in sorted(Path(runs).glob("[!.]*/run.json")):
        try:
            kept.append(files.get(_identity(record.parent)) or keep(Run.load(record.parent), folder))
        except DataError as error:
            refused.append(str(error))
    return kept, refused


def read_results(folder: Path | str = "results") -> list[Kept]:
    """Return all kept runs without their cases; none if there is no such folder.

    They are sorted by log, encoder and head, with the softmax first and counting heads last.

    Raises:
        DataError: a file is not a kept run.
    """
    return sorted((Kept.open(path) for path in Path(folder).glob(FILES)), key=_place)


def _place(run: Kept) -> tuple:
    data, split, encoder, head, seed = run.labels.values()
    return data, split, run.config.counts, encoder, not head.startswith("Softmax"), len(head), head, seed


def read_cases(runs: Sequence[Kept]) -> pd.DataFrame:
    """Return the test cases of kept runs: `LABELS`, then the kept columns of `evaluate`.

    Raises:
        DataError: a file's table is damaged.
    """
    if not runs:
        return pd.DataFrame(columns=[*LABELS, "user"])
    tables = []
    for run in runs:
        try:
            tables.append(_unpacked(read_parquet(run.path)))
        except (OSError, ValueError, LookupError, TypeError) as error:
            refuse_unreadable(run.path, error)
            raise DataError(f"{run.path} is damaged ({error}); remove it, and keep the run again.") from error
    of_run = np.repeat(np.arange(len(runs)), [len(table) for table in tables])
    labels = pd.DataFrame([run.labels for run in runs])
    columns = {}
    for name in LABELS:  # categories, since there are few values for millions of rows
        codes, words = pd.factorize(labels[name])
        columns[name] = words[codes[of_run]] if name == "seed" else pd.Categorical.from_codes(codes[of_run], words)
    return pd.concat([pd.DataFrame(columns), pd.concat(tables, ignore_index=True)], axis=1)


def listed(runs: Iterable[Kept]) -> pd.DataFrame:
    """Return one row of text per run: labels, users, NDCG@10 raw and with the history removed, epochs and minutes."""
    table = []
    for run in runs:
        of_ranking = [run.metric(MAIN, ranking) for ranking in ("raw", "post")]
        raw, post = ("{value:.4f} [{low:.4f}, {high:.4f}]".format(**row) if row else "" for row in of_ranking)
        users = f"{of_ranking[0]['n']:,}" if of_ranking[0] else ""
        trained = {"best epoch": str(run.best_epoch), "epochs": str(run.epochs), "minutes": f"{run.minutes:.1f}"}
        numbers = {"users": users, MAIN: raw, "history removed": post} | trained
        table.append({name: str(value) for name, value in run.labels.items()} | numbers)
    return pd.DataFrame(table)


def rows(runs: Iterable[Kept]) -> list[dict[str, Any]]:
    """Return all metrics of all runs as rows: `LABELS`, then `cases, ranking, metric, value, low, high, n`."""
    order = ("cases", "ranking", "metric", "value", "low", "high", "n")
    return [run.labels | {name: row[name] for name in order} for run in runs for row in run.record["metrics"]]


def _identity(folder: Path) -> str:
    """Return the hash at the end of a run folder's name."""
    return folder.name.rpartition("-")[2]


def _packed(cases: pd.DataFrame) -> pa.Table:
    """Return the kept columns of `evaluate`, each in the smallest type."""
    columns = {} if cases["user"].is_unique else {"user": _smallest(cases["user"].to_numpy())}
    columns |= {"repeat": pa.array(cases["repeat"].to_numpy()), "rank": _smallest(cases["rank"].to_numpy())}
    columns["above"] = _smallest((cases["rank"] - cases["rank_post"]).to_numpy())
    for name, step in STEPS.items():
        rounded = np.round(cases[name].to_numpy(dtype=float) / step) * step
        columns[name] = pa.array(rounded.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def _smallest(values: np.ndarray) -> pa.Array:
    """Return whole numbers, with NaN for missing ones, as the smallest unsigned integers that fit."""
    missing = np.isnan(values)
    held = np.where(missing, 0, values)
    return pa.array(held.astype(np.min_scalar_type(int(held.max(initial=0)))), mask=missing)


def _unpacked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of `evaluate` from those of a file."""
    user = table["user"].to_numpy(dtype=np.int64) if "user" in table else np.arange(len(table))
    rank = table["rank"].to_numpy(dtype=np.int64)
    numbers = {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("above", *STEPS)}
    return pd.DataFrame(
        {
            "user": user,
            "repeat": table["repeat"].to_numpy(dtype=bool),
            "rank": rank,
            "rank_post": rank - numbers["above"],
        }
        | {name: numbers[name] for name in STEPS}
    )
