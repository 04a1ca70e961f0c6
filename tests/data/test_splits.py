"""The temporal split against loops over the raw rows, and what stays as it is without it."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cprlab.adapters.padded import Padded
from cprlab.data import InteractionLog, Sequences, count_repeats, load_prepared, save_prepared, thin_repeats
from cprlab.data.splits import SplitBy
from cprlab.errors import DataError
from cprlab.evaluation import choose_examples, describe_cases, evaluate
from cprlab.evaluation.diversity import recommended, takers
from cprlab.loading import load_sequences, prepare
from cprlab.loading.check import leakage
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.settings import TrainConfig
from cprlab.sweeps import Grid
from cprlab.training import RunConfig
from tests.conftest import random_log
from tests.data.test_log import write
from tests.data.test_sequences import assert_same_sequences, read_back

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 30)), min_size=8, max_size=60)


def log_of(rows):
    return InteractionLog.from_frame(pd.DataFrame(rows, columns=["user", "item", "time"]), ties="file")


def by_hand(rows, fewest=5):
    """Each kept user's rows `(item, time)` in order, by user, and the two points, from the definition."""
    kept = {user: [row[1:] for row in rows if row[0] == user] for user in dict.fromkeys(row[0] for row in rows)}
    kept = {user: sorted(own, key=lambda row: row[1]) for user, own in kept.items() if len(own) >= fewest}
    times = sorted(time for own in kept.values() for _, time in own)
    return kept, [times[len(times) * percent // 100] if times else None for percent in (80, 90)]


def cases_by_hand(kept, begin, end):
    """The `(user, history, target)` of the first row from `begin` on, if it is before `end` and something precedes."""
    for user, own in kept.items():
        later = [place for place, (_, time) in enumerate(own) if time >= begin]
        if later and later[0] > 0 and own[later[0]][1] < end:
            yield user, [item for item, _ in own[: later[0]]], own[later[0]][0]


def split_by_hand(rows, max_len):
    kept, points = by_hand(rows)
    training = [
        (user, own[place][0]) for user, own in kept.items() for place in range(1, len(own)) if own[place][1] < points[0]
    ]
    held_out = [
        [(user, history[-max_len:], target) for user, history, target in cases_by_hand(kept, begin, end)]
        for begin, end in ((points[0], points[1]), (points[1], np.inf))
    ]
    return training, *held_out


@settings(max_examples=60)
@given(ROWS, st.integers(1, 9))
def test_the_temporal_split_is_its_definition(rows, max_len):
    training, validation, test = split_by_hand(rows, max_len)
    if not (training and validation and test):
        with pytest.raises(DataError, match=r"no user has 5|temporal split leaves no"):
            Sequences.from_log(log_of(rows), max_len=max_len, split="temporal")
        return
    sequences = Sequences.from_log(log_of(rows), max_len=max_len, split="temporal")

    def own(found):
        for user, *read, target in found:
            yield (
                sequences.user_ids[user],
                *(sequences.item_ids[of].tolist() for of in read),
                sequences.item_ids[target],
            )

    assert list(own(read_back(sequences, "validation"))) == validation
    assert list(own(read_back(sequences, "test"))) == test
    trained = [(user, target) for user, _, target in own(read_back(sequences, "train"))]
    assert sorted(trained) == sorted(training)
    kept, points = by_hand(rows)
    early = [item for of_user in kept.values() for item, time in of_user if time < points[0]]
    assert sequences.training_counts().tolist() == [early.count(item) for item in sequences.item_ids]
    assert takers(sequences).sum() == sum(
        len({item for item, time in of_user if time < points[0]}) for of_user in kept.values()
    )
    counts = count_repeats(sequences)
    assert (counts.tested, counts.cases) == (sum(target in read for _, read, target in test), len(test))
    assert describe_cases(sequences)["gap"].notna().sum() == counts.tested
    assert f"{len(validation):,} validation and {len(test):,} test cases of {len(kept):,} users" in sequences.notes[-1]


@settings(max_examples=40)
@given(ROWS)
def test_leakage_is_what_loops_count_and_none_in_the_temporal_split(rows):
    kept, points = by_hand(rows)
    if not kept:
        return
    facts = leakage(log_of(rows), "leave-one-out")
    newest = max(time for own in kept.values() for _, time in own[:-2])
    for name, place in (("validation", -2), ("test", -1)):
        older = sum(own[place][1] < newest for own in kept.values()) / len(kept)
        assert facts[f"{name} items older than the newest training interaction"] == pytest.approx(older)
    trained = {item for own in kept.values() for item, _ in own[:-2]}
    unseen = sum(own[-1][0] not in trained for own in kept.values()) / len(kept)
    assert facts["test items that never occur in training"] == pytest.approx(unseen)
    assert facts["training targets"] == sum(len(own) - 3 for own in kept.values())
    if all(split_by_hand(rows, 50)):
        facts = leakage(log_of(rows), "temporal")
        assert {value for fact, value in facts.items() if "older" in fact} == {0}
        seen = {item for own in kept.values() for item, time in own if time < points[0]}
        test = split_by_hand(rows, 50)[2]
        unseen = sum(target not in seen for _, _, target in test) / len(test)
        assert facts["test items that never occur in training"] == pytest.approx(unseen)


def timed_log(users=25, seed=0):
    rng = np.random.default_rng(seed)
    rows = [(user, item, time) for user in range(users) for item, time in rng.integers(0, [25, 999], (40, 2))]
    return log_of(rows)


def test_parts_of_a_log_keep_the_points_in_time(tmp_path):
    whole = Sequences.from_log(timed_log(), split="temporal", max_len=8)
    cases = {
        split: {int(whole.user_ids[user]): (read, target) for user, read, target in read_back(whole, split)}
        for split in ("validation", "test")
    }
    sample, recent, thin = whole.sample(12), whole.recent(12), thin_repeats(whole, 0)
    for part, length in ((sample, 8), (recent, 8), (thin, 8)):
        assert part.split == "temporal"
        for split, of_split in cases.items():
            found = list(read_back(part, split))
            assert len(found) > len(sample.user_ids) // 2
            for user, read, target in found:
                expected, item = of_split[int(part.user_ids[user])]
                assert part.item_ids[target] == whole.item_ids[item]
                read = part.item_ids[read].tolist()
                assert read == whole.item_ids[expected[-len(read) :]].tolist()
                assert part is recent or len(read) == length
    fewer = thin_repeats(whole, 1)
    kept, points = by_hand([*zip(*columns(timed_log()), strict=True)])
    for place, user in enumerate(fewer.user_ids):
        first = {item: time for item, time in reversed(kept[user])}  # the time of its first consumption
        assert fewer.before[:, place].tolist() == [sum(time < point for time in first.values()) for point in points]
    save_prepared(sample, tmp_path / "log")
    assert_same_sequences(load_prepared(tmp_path / "log"), sample)


def columns(log):
    return log.user_ids[log.users].tolist(), log.item_ids[log.items].tolist(), log.times.tolist()


def test_the_split_is_part_of_what_a_run_is_found_by_and_the_default_is_what_it_was(tmp_path):
    default = Sequences.from_log(random_log(), max_len=20)
    assert default.fingerprint == "2c76e4f5baab0f50"  # as before there was another split
    assert RunConfig().identity(default) == "bf94bf4598ec"  # of recipe 4, whatever other splits there are
    log = timed_log()
    ways: tuple[SplitBy, ...] = ("leave-one-out", "temporal")
    splits = [Sequences.from_log(log, split=split) for split in ways]
    assert len({RunConfig().identity(sequences) for sequences in splits}) == 2
    for way, sequences in zip(ways, splits, strict=True):
        save_prepared(sequences, tmp_path / way)
        assert load_sequences(tmp_path / way, split=way).split == sequences.split == way
    with pytest.raises(DataError, match="prepared with the temporal split, not the leave-one-out split"):
        load_sequences(tmp_path / "temporal")
    with pytest.raises(DataError, match="prepared with the leave-one-out split, not the temporal split"):
        load_sequences(tmp_path / "leave-one-out", split="temporal")
    rows = [*zip(*columns(log), strict=True), *[(99, 1, 0)] * 5]  # a user who never comes back
    with pytest.raises(DataError, match="does not have one list per user"):
        recommended([], Sequences.from_log(log_of(rows), split="temporal"))


@pytest.fixture(scope="module")
def some_cases():
    """A log in which some users have no test case; and two recommenders for it."""
    sequences = Sequences.from_log(
        log_of([*zip(*columns(timed_log()), strict=True), *[(-1, 1, 0)] * 5][::-1]), split="temporal"
    )
    torch.manual_seed(0)
    heads = ("Softmax", "Softmax + C")
    made = {head: Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(head), sequences.n_items) for head in heads}
    return sequences, made


def test_cases_are_those_of_their_users_though_some_have_none(some_cases):
    sequences, recommenders = some_cases
    expected = {user: (read, target) for user, read, target in read_back(sequences, "test")}
    assert 0 not in expected  # so a case's place is not its user's code
    assert len(expected) > 10
    cases = {head: evaluate(recommender, sequences) for head, recommender in recommenders.items()}
    assert cases["Softmax"]["user"].tolist() == list(expected)
    assert cases["Softmax"]["target"].tolist() == [target for _, target in expected.values()]
    examples = choose_examples(recommenders, cases, sequences, each=1000)
    assert examples
    codes = {str(user): code for code, user in enumerate(sequences.user_ids)}
    for example in examples:
        assert (example.history.tolist(), example.target) == expected[codes[example.user]]


def test_recboles_form_of_a_log_has_the_same_targets(some_cases):
    sequences, _ = some_cases
    padded = Padded.of(sequences, at_end=True)
    for split in ("train", "validation", "test"):
        found = [(user, target - 1) for user, _, target in read_back(padded, split)]
        assert found == [(user, target) for user, _, target in read_back(sequences, split)]


def test_the_split_reaches_grids_and_trainings(tmp_path, capsys):
    log = timed_log()
    rows = pd.DataFrame(dict(zip(("user", "item", "time"), columns(log), strict=True)))
    rows.to_csv(tmp_path / "log.csv.gz", index=False)
    (of_grid,) = Grid(data=(str(tmp_path / "log.csv.gz"),), split="temporal").logs().values()
    config = TrainConfig(data=str(tmp_path / "log.csv.gz"), split="temporal", encoder="MF", epochs=1, head="Softmax")
    run = config.but(runs=str(tmp_path / "runs"), device="cpu").run()
    assert of_grid.split == "temporal"
    assert run.record["data"]["fingerprint"] == config.sequences().fingerprint
    assert "Temporal split: training before" in capsys.readouterr().err
    assert len(run.cases) == len(config.sequences().windows("test"))


def test_a_folder_whose_points_are_not_those_of_its_users_is_refused(tmp_path):
    sequences = Sequences.from_log(timed_log(), split="temporal")
    for row, change in ((0, 1000), (0, -1000), (1, -1000), (1, 1000)):
        save_prepared(sequences, tmp_path / "log")
        users = pd.read_parquet(tmp_path / "log" / "users.parquet")
        users.iloc[3, 1 + row] += change
        users.to_parquet(tmp_path / "log" / "users.parquet")
        with pytest.raises(DataError, match="split points outside a user's sequence"):
            load_prepared(tmp_path / "log")


def test_without_times_there_is_no_temporal_split(tmp_path):
    path = write(tmp_path, "user_id,item_id\n" + "a,1\n" * 9)
    for read in (load_sequences, lambda path, **split: prepare(path, tmp_path / "prepared", **split)):
        with pytest.raises(DataError, match=r"log\.csv has no times for the temporal split.* with --time"):
            read(path, split="temporal")
    for times in ([5] * 9, range(9)):  # all at once; and nobody who comes back
        rows = "".join(f"a,{n % 2},{time}\n" for n, time in enumerate(times))
        path = write(tmp_path, f"user_id,item_id,time\n{rows}" + ("b,1,8\nb,1,8\nb,1,8\nb,1,8\nb,1,8\n"))
        said = []
        for read in (load_sequences, lambda path, **split: prepare(path, tmp_path / "prepared", **split)):
            with pytest.raises(DataError, match="the temporal split leaves no") as caught:
                read(path, split="temporal")
            said.append(str(caught.value))
        assert said[0] == said[1]
