"""What is kept of a run, against the run itself: pandas alone reads it, and nothing that a table shows is lost."""

import json
import math
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cprlab.errors import DataError
from cprlab.evaluation import METRICS, user_means
from cprlab.results import keep, keep_all, listed, read_cases, read_results, rows
from cprlab.results.store import LABELS
from cprlab.training import Run

COUNTING = ("Counts", "Recent")


def run_of(tiny, kept):
    """The run that a file is of."""
    (run,) = [run for run in tiny.runs if kept.path.stem.endswith(run.folder.name[-12:])]
    return run


def test_each_run_is_one_file_that_pandas_reads(tiny):
    assert len(tiny.kept) == len(tiny.runs) == 3 * (3 + 1 + 3 + 2)
    assert {path.relative_to(tiny.results).parent.as_posix() for path in tiny.files} == {
        "random/leave-one-out", "all-new/leave-one-out", "again/next-basket",
    }  # fmt: skip
    for kept in tiny.kept:
        run, table = run_of(tiny, kept), pd.read_parquet(kept.path)
        assert ("user" in table) == (kept.labels["split"] == "next-basket")
        assert table["repeat"].tolist() == run.cases["repeat"].tolist()
        assert table["rank"].tolist() == run.cases["rank"].tolist()
        post = table["rank"] - table["above"]  # nullable in the file, nan where the target goes too
        np.testing.assert_array_equal(post.to_numpy(float, na_value=np.nan), run.cases["rank_post"])
        for name, bound in (("log_loss", 2**-13), ("copy_probability", 2**-15)):
            assert (table[name].isna() == run.cases[name].isna()).all()
            assert (np.abs(table[name].astype(float) - run.cases[name]).dropna() <= bound).all()
        assert table["rank"].dtype.itemsize == (1 if run.cases["rank"].max() < 256 else 2)


def test_the_metadata_hold_all_that_the_run_knew(tiny):
    for kept in tiny.kept:
        run, record = run_of(tiny, kept), json.loads(pq.read_metadata(kept.path).metadata[b"cprlab"])
        for name in ("config", "data", "recipe", "versions", "processes", "trained_on"):
            assert record[name] == json.loads(json.dumps(run.record[name])), name
        assert record["data"]["notes"] == run.record["data"]["notes"]
        assert record["curve"]["ndcg"] == run.history["ndcg"].tolist()
        assert record["curve"]["seconds"] == run.history["seconds"].tolist()
        assert record["curve"]["loss"] == [None if math.isnan(one) else one for one in run.history["loss"]]
        assert kept.epochs == len(run.history)
        assert kept.best_epoch == 1 + run.history["ndcg"].tolist().index(run.history["ndcg"].max())
        assert kept.minutes == pytest.approx(run.history["seconds"].sum() / 60)


def test_metrics_are_those_of_the_run_with_intervals_over_users(tiny):
    for kept in tiny.kept:
        run, seen = run_of(tiny, kept), set()
        for row in kept.record["metrics"]:
            chosen = {"all": run.cases["repeat"] | True, "repeat": run.cases["repeat"], "new": ~run.cases["repeat"]}
            of_group = run.cases[chosen[row["cases"]]]
            rank = {"raw": "rank", "post": "rank_post"}[row["ranking"]]
            of_user = METRICS[row["metric"]](of_group, rank).astype(float).groupby(of_group["user"]).mean()
            assert row["value"] == pytest.approx(of_user.mean(), abs=1e-4)  # what is rounded costs so little
            if row["metric"] == "NDCG@10":
                assert row["value"] == pytest.approx(of_user.mean(), abs=1e-12)
            assert row["n"] == len(of_user)
            spread = of_user.std(ddof=0) / math.sqrt(len(of_user))
            assert row["low"] <= row["value"] <= row["high"]
            if len(of_user) > 20 and row["metric"] == "log-loss":  # where the mean is about normal
                assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * spread, rel=0.2, abs=1e-6)
            seen.add((row["cases"], row["ranking"], row["metric"]))
        assert ("all", "raw", "NDCG@10") in seen
        assert ("all", "post", "NDCG@10") in seen
        assert (("all", "raw", "log-loss") in seen) == (run.config.head != "Recent")
        assert any(group == "repeat" for group, *_ in seen) == run.cases["repeat"].any()


def test_means_of_rounded_numbers_have_the_same_four_digits_where_cases_are_many():
    rng = np.random.default_rng(0)
    loss, probability = rng.gamma(3, 2.5, 5000), rng.beta(0.3, 3, 5000)
    for values, step in ((loss, 2.0**-12), (probability, 2.0**-14)):
        rounded = np.round(values / step) * step
        assert (rounded.astype(np.float32) == rounded).all()  # so single precision loses nothing more
        assert np.abs(rounded - values).max() <= step / 2
        assert abs(rounded.mean() - values.mean()) < 5e-6


def test_a_loss_that_is_infinite_is_kept(tiny, tmp_path):
    run = tiny.runs[0]
    cases = run.cases.assign(log_loss=np.where(np.arange(len(run.cases)) == 3, np.inf, run.cases["log_loss"]))
    with np.errstate(invalid="ignore"):  # of its intervals
        keep(Run(run.folder, run.config, run.recommender, run.history, run.record, cases), tmp_path)
    (kept,) = read_results(tmp_path)
    assert kept.metric("log-loss")["value"] is None
    assert np.flatnonzero(np.isinf(read_cases([kept])["log_loss"])).tolist() == [3]


def test_read_back_cases_are_those_of_evaluate_under_their_labels(tiny):
    cases = read_cases(tiny.kept)
    assert list(cases.columns[: len(LABELS)]) == list(LABELS)
    for kept in tiny.kept:
        chosen = cases
        for name, value in kept.labels.items():
            chosen = chosen[chosen[name] == value]
        run = run_of(tiny, kept)
        assert len(chosen) == len(run.cases)
        columns = ["repeat", "rank", "rank_post"]
        pd.testing.assert_frame_equal(chosen[columns].reset_index(drop=True), run.cases[columns])
        whose = user_means(chosen["rank"].to_numpy(float), chosen["user"].to_numpy())
        np.testing.assert_allclose(whose, run.cases.groupby("user")["rank"].mean())
    assert list(read_cases([]).columns) == [*LABELS, "user"]


def test_heads_that_count_have_no_encoder_and_are_last(tiny):
    for _, of_log in pd.DataFrame(kept.labels for kept in tiny.kept).groupby(["data", "split"]):
        assert of_log["head"].tolist()[-2:] == ["Counts", "Recent"]
        assert (of_log["encoder"] == "").tolist() == [head in COUNTING for head in of_log["head"]]
        assert of_log["head"].tolist()[:2] == ["Softmax", "Softmax"]
        assert of_log["seed"].tolist()[:2] == [0, 1]


def test_the_list_and_the_rows_say_what_the_files_hold(tiny):
    table = listed(tiny.kept)
    assert len(table) == len(tiny.kept)
    for kept, row in zip(tiny.kept, table.to_dict("records"), strict=True):
        raw = kept.metric("NDCG@10")
        assert row["NDCG@10"] == f"{raw['value']:.4f} [{raw['low']:.4f}, {raw['high']:.4f}]"
        assert (row["head"], row["split"], row["users"]) == (kept.labels["head"], kept.labels["split"], str(raw["n"]))
    found = rows(tiny.kept)
    assert list(found[0]) == [*LABELS, "cases", "ranking", "metric", "value", "low", "high", "n"]
    assert len(found) == sum(len(kept.record["metrics"]) for kept in tiny.kept)
    assert len({tuple(row[name] for name in (*LABELS, "cases", "ranking", "metric")) for row in found}) == len(found)


def test_what_is_kept_is_not_kept_again(tiny, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in tiny.files}
    assert keep(tiny.runs[0], tiny.results) in before
    monkeypatch.setattr(Run, "load", None)  # is not even read
    again, refused = keep_all(tiny.folder, tiny.results)
    assert not refused
    assert {path: path.stat().st_mtime_ns for path in again} == before


def test_what_does_not_fit_is_refused_in_a_sentence(tiny, tmp_path):
    run = tiny.runs[0]
    keep(run, tmp_path)
    (path,) = tmp_path.rglob("*.parquet")
    twin = Run(
        run.folder.with_name("other-0123456789ab"), run.config, run.recommender, run.history, run.record, run.cases
    )
    with pytest.raises(DataError, match="is another run with the same head and seed"):
        keep(twin, tmp_path)
    other = run.record | {"data": run.record["data"] | {"fingerprint": "0" * 16}}
    config = run.config.but(head="Softmax + C")
    with pytest.raises(DataError, match=r"trained on different data \(different fingerprint\)"):
        keep(Run(twin.folder, config, run.recommender, run.history, other, run.cases), tmp_path)
    for lost in ("split", "notes"):
        data = {name: value for name, value in run.record["data"].items() if name != lost}
        old = Run(twin.folder, config, run.recommender, run.history, run.record | {"data": data}, run.cases)
        with pytest.raises(DataError, match="an earlier version and does not say how its log was split"):
            keep(old, tmp_path)
    assert list(tmp_path.rglob("*.parquet")) == [path]
    with pytest.raises(DataError, match="is not a folder of runs"):
        keep_all(tmp_path / "runs", tmp_path)


def test_a_run_that_is_not_whole_is_told_and_the_others_are_kept(tiny, tmp_path):
    for run in tiny.runs[:2]:
        (tmp_path / "runs" / run.folder.name).mkdir(parents=True)
        for file in run.folder.iterdir():
            (tmp_path / "runs" / run.folder.name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "runs" / tiny.runs[0].folder.name / "cases.parquet").unlink()
    (tmp_path / "runs" / ".unfinished").mkdir()
    kept, refused = keep_all(tmp_path / "runs", tmp_path / "results")
    assert [path.stem[-12:] for path in kept] == [tiny.runs[1].folder.name[-12:]]
    assert len(refused) == 1
    assert "is not a whole run" in refused[0]


@pytest.mark.parametrize("harm", ["cut", "other", "metadata", "table"])
def test_a_damaged_file_is_refused_in_a_sentence(tiny, tmp_path, harm):
    path = tmp_path / "log" / "leave-one-out" / "run.parquet"
    path.parent.mkdir(parents=True)
    content = tiny.files[0].read_bytes()
    if harm == "cut":
        path.write_bytes(content[:-100])
    elif harm == "other":
        pd.DataFrame({"rank": [1]}).to_parquet(path)
    elif harm == "metadata":
        path.write_bytes(re.sub(rb'"split": "([a-z-]+)"', rb'"splat": "\1"', content))
    else:
        table = pq.read_table(tiny.files[0]).drop_columns("rank")
        pq.write_table(table.replace_schema_metadata(pq.read_metadata(tiny.files[0]).metadata), path)
    with pytest.raises(DataError, match=r"run\.parquet is (not a kept run|damaged)"):
        read_cases(read_results(tmp_path))


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert read_results(tmp_path / "results") == []
