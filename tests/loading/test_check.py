"""`cprlab data check`: what is understood, the first rows and every doubt, on logs with one oddity each."""

import sys

import numpy as np
import pandas as pd
import pytest

from cprlab import cli
from cprlab.data import Columns, Sequences
from cprlab.errors import DataError, visible
from cprlab.loading import load_log, prepare
from cprlab.loading.check import check
from cprlab.settings import TrainConfig
from tests.data.test_log import write

SECOND = 1_500_000_000
HOSTILE = "\x1b[31mred\x1b[0m\u202e"


def table(**changes):
    """Twenty users with eight rows each, in order of global time, without any oddity."""
    places = np.arange(160)
    columns = {"user_id": [f"u{n % 20}" for n in places], "item_id": [f"i{n * 7 % 23}" for n in places]}
    return pd.DataFrame(columns | {"timestamp": SECOND + 60 * places} | changes)


def checked(tmp_path, frame, **columns):
    frame.to_csv(tmp_path / "log.csv", index=False)
    return check(tmp_path / "log.csv", Columns(**columns))


def facts_of(found):
    return found.facts.set_index("fact")["value"]


def test_a_log_is_understood_and_only_its_guesses_are_in_doubt(tmp_path):
    found = checked(tmp_path, table())
    assert found.refused is None
    assert found.columns["used as"].tolist() == ["user", "item", "time"]
    assert set(found.columns["why"]) == {"its name"}
    assert found.rows.to_numpy().tolist() == table().head(5).astype(str).to_numpy().tolist()
    facts = facts_of(found)
    assert facts[["file type", "rows", "users", "items"]].tolist() == ["csv", "160", "20", "23"]
    assert facts["times"] == "2017-07-14 02:40:00 to 2017-07-14 05:19:00"
    assert facts["read as"] == "seconds since 1970 (UTC), guessed from their magnitude"
    assert facts["interactions per user, median (fewest to most)"] == "8 (8 to 8)"
    splits = found.splits.set_index("fact")
    assert splits.loc["test cases"].tolist() == ["20", "16"]  # the last 16 rows, of a user each
    assert splits.loc["training targets"].tolist() == ["100", "108"]  # 6 − 1 a user; the first 128 rows − 20
    assert splits.loc["test items older than the newest training interaction"].tolist() == ["0.0%", "0.0%"]
    (guesses,) = found.doubts
    assert guesses.startswith("Guessed from column names: user = 'user_id', item = 'item_id', time = 'timestamp'. Name")
    assert checked(tmp_path, table(), user="user_id", item="item_id", time="timestamp").doubts == ()


def spoilt(column, rows, values):
    frame = table()
    frame[column] = frame[column].astype(object)
    frame.loc[rows, column] = values
    return frame


BOT = pd.DataFrame({"user_id": "bot", "item_id": "i1", "timestamp": SECOND + np.arange(1500)})
EVEN = np.arange(160) % 2
ISO = pd.to_datetime(table()["timestamp"], unit="s").dt.strftime("%Y-%m-%d %H:%M:%S")
ODDITIES = [
    (table().drop(columns="timestamp"), "No column is named like a time"),
    (table(event_time=5), "The time could also be 'event_time'; name it with --time."),
    (spoilt("timestamp", [3, 4], 0), "2 of 160 times are in 1970 or before"),
    (spoilt("timestamp", [3], 7_000_000_000), "1 of 160 times are in the future; the latest is 2191-10-27 12:26:40"),
    (spoilt("timestamp", [3], 1000 * SECOND), "different units since 1970 (159 like seconds and 1 like milliseconds)"),
    (
        spoilt("timestamp", [20], SECOND),
        "1 of 160 interactions have the time or basket of the same user's previous",
    ),
    (table(timestamp=np.arange(160) // 20), "Each user's times are 0, 1 and so on, so they number the user's rows"),
    (
        table(timestamp=ISO + np.where(EVEN, "Z", "")),
        "80 times have no time zone, unlike the others, and are read",
    ),
    (table(timestamp=ISO + np.where(EVEN, "+02", "")), "80 times have no time zone"),
    (table(timestamp=pd.Series(ISO).str.replace("[-:]", "", regex=True) + np.where(EVEN, "Z", "")), "80 times have no"),
    (table(timestamp=np.where(EVEN, pd.Series(ISO) + "-0500", pd.Series(ISO).str[:10])), "80 times have no time zone"),
    (
        pd.concat([table(), table().head(3)]),
        "3 of 163 rows have the user, item and time of an earlier row, such as user 'u0', item 'i0', 2017-07-14 02:40",
    ),
    (
        spoilt("user_id", [20], "U0"),
        "1 user ids equal another but for case, such as 'U0' and 'u0'; they count as different.",
    ),
    (
        spoilt("item_id", [0], "i1  "),
        "1 item ids equal another but for spaces and what is invisible, such as 'i1' and 'i1  '",
    ),
    (spoilt("item_id", [0], HOSTILE), "1 item ids contain invisible characters"),
    (spoilt("user_id", [159], "short"), "1 of 21 users have fewer than 5 interactions and are left out, with 0.6%"),
    (pd.concat([table(), BOT]), "The user 'bot' has 1,500 interactions, 188 times the median"),
    (table(item_id="i1"), "19 of 20 users have exactly the same sequence of items as another user."),
    (table(timestamp=SECOND - 60 * np.arange(160) // 20 * 20 + np.arange(160) % 20 * 10**5), "Leakage: in the leave-"),
]


DAYS = pd.to_datetime(ISO)
ODDITIES += [
    (table(rating=1 + np.arange(160) % 2), "The column 'rating' is not used, so all rows count the same, such as '1'"),
    (table(Event=np.where(EVEN, "view", "buy")), "'Event' is not used, so all rows count the same, such as 'buy' (80"),
    (table()[::-1], "newest first: from row to row of a user, times fall in 140 of 140 steps that change them."),
    (table(name="N" + pd.Series(np.arange(160) % 20).astype(str)), "23 of 23 items with several rows have several val"),
    (
        table(title="T" + table()["item_id"].mask(table().index == 0, "9")),
        "1 of 23 items with several rows have several",
    ),
    (
        table(user_id=table()["user_id"].replace("u3", "NULL")),
        "Changes results: 8 of 160 rows have user ids such as 'NU",
    ),
    (
        table(item_id=table()["item_id"].str[1:].mask(table().index == 3, "021.0")),
        "ids equal another as numbers, such as '21' and '021.0'",
    ),
    (table(timestamp=ISO + ".123456789"), "160 times are finer than a microsecond and are cut to whole ones."),
]


@pytest.mark.parametrize(("frame", "said"), ODDITIES, ids=[said[:40] for _, said in ODDITIES])
def test_each_oddity_is_told(tmp_path, frame, said):
    clean = checked(tmp_path, table())
    assert not any(said in doubt for doubt in clean.doubts)
    found = checked(tmp_path, frame)
    assert any(said in doubt for doubt in found.doubts), found.doubts


FORMS = {
    "%Y%m%d": ("2017-07-14 to 2017-12-20", "dates written in digits, YYYYMMDD"),
    "%Y%m%d%H%M": ("2017-07-14 02:40 to 2017-12-20 02:40", "dates written in digits, YYYYMMDDhhmm"),
    "%Y%m%d%H%M%S": ("2017-07-14 02:40:00 to 2017-12-20 02:40:00", "dates written in digits, YYYYMMDDhhmmss"),
    "excel": (
        "2017-07-14 02:40:00 to 2017-12-20 02:40:00",
        "Excel's days since 1899-12-30, guessed from their magnitude",
    ),
    " %s ": ("2017-07-14 02:40:00 to 2017-12-20 02:40:00", "seconds since 1970 (UTC), guessed from their magnitude"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_digits_of_dates_are_known_and_change_neither_order_nor_split(tmp_path, form):
    days = pd.Timestamp(SECOND, unit="s") + pd.to_timedelta(np.arange(160), unit="D")
    if form == "excel":  # 2017-01-01 is day 42,736 of Excel
        times = 42_736 + (days - pd.Timestamp("2017-01-01")) / pd.Timedelta(days=1)
    else:
        times = [f" {int(day.timestamp())} " if "%s" in form else day.strftime(form) for day in days]
    frame = table(timestamp=times)
    found = checked(tmp_path, frame)
    assert tuple(facts_of(found)[["times", "read as"]]) == FORMS[form]
    assert [doubt for doubt in found.doubts if "future" in doubt or "1970" in doubt or "number the" in doubt] == []
    if form != "excel":  # without a name, the dates are seen from the values
        path = tmp_path / "log.csv"
        frame.rename(columns={"timestamp": "when_it_was"}).to_csv(path, index=False)
        asked = "no column is named like a time, but 'when_it_was' holds dates .* Use --time when_it_was .*--ties file"
        for read in (load_log, lambda path: prepare(path, tmp_path / "prepared"), lambda path: train(path)):
            with pytest.raises(DataError, match=asked):
                read(path)
        (doubt,) = (doubt for doubt in check(path).doubts if "when_it_was' holds dates" in doubt)
        assert doubt.startswith("Changes results: ")
        kept = load_log(path, ties="file")
        assert doubt in kept.notes
        assert prepare(path, tmp_path / "prepared", ties="file").notes == Sequences.from_log(kept).notes
        named = load_log(path, Columns(time="when_it_was"))
        assert Sequences.from_log(named).fingerprint == Sequences.from_log(kept).fingerprint  # the file is in order


def train(path):
    return TrainConfig(data=str(path)).run()


def test_a_file_without_named_times_that_runs_newest_first_is_told(tmp_path):
    found = checked(tmp_path, table(t_dat=DAYS, timestamp=range(160)).drop(columns="timestamp")[::-1])
    (doubt,) = (doubt for doubt in found.doubts if "'t_dat' holds dates" in doubt)
    assert "rows keep the order of the file, which runs newest first. Use --time t_dat" in doubt
    for values in (range(160), ["x"] * 160, [f"{n}:00" for n in range(160)], ["2017"] * 160, [1e12] * 159 + ["no"]):
        path = write(tmp_path, table(other=values).drop(columns="timestamp").to_csv(index=False))
        assert not [note for note in load_log(path).notes if "holds dates" in note]


def test_advice_and_statements_are_given_only_where_they_are_true(tmp_path):
    found = checked(tmp_path, table(timestamp=np.arange(160) // 20 * 7))
    assert not [doubt for doubt in found.doubts if "number the user's rows" in doubt]  # 0, 7, …
    late = table(timestamp=SECOND + 10**5 * (np.arange(160) % 20) + np.arange(160) // 20)
    found = checked(tmp_path, late)
    assert list(found.splits) == ["fact", "leave-one-out"]
    (leak,) = (doubt for doubt in found.doubts if doubt.startswith("Leakage"))
    assert "temporal" not in leak  # it is not possible


def test_baskets_are_counted_and_their_mates_in_the_history_are_told(tmp_path):
    frame = table(order_id=[n % 20 + 20 * (n // 40) for n in range(160)])  # two rows of a user each
    assert checked(tmp_path, frame).columns["why"].tolist()[3].startswith("may be baskets: group")
    found = checked(tmp_path, frame, basket="order_id")
    assert facts_of(found)[["baskets", "rows per basket, median (fewest to most)"]].tolist() == ["80", "2 (2 to 2)"]
    splits = found.splits.set_index("fact")
    mates = splits.loc["test items predicted from their own basket"]
    assert mates.to_dict() == {"leave-one-out": "100.0%", "temporal": "0.0%", "next-basket": "0.0%"}
    baskets = frame.drop_duplicates(["user_id", "order_id", "item_id"]).groupby("user_id")["order_id"]
    in_last = sum(int((orders == orders.iloc[-1]).sum()) for _, orders in baskets)
    assert splits.at["test cases", "next-basket"] == str(in_last)
    in_first = sum(int((orders == orders.iloc[0]).sum()) for _, orders in baskets)
    held_out = in_last + int(splits.at["validation cases", "next-basket"])
    assert splits.at["training targets", "next-basket"] == str(
        sum(map(len, dict(iter(baskets)).values())) - in_first - held_out
    )


def test_what_is_no_log_still_shows_its_columns_and_rows(tmp_path):
    frame = table().set_axis(["kunde", "artikel", "Zeitstempel (date)"], axis=1)
    found = checked(tmp_path, frame)
    assert "no column looks like the user" in str(found.refused)
    assert found.columns["why"].tolist() == ["", "", "may be times: name it with --time"]
    assert len(found.rows) == 5
    found = checked(tmp_path, table().head(60))
    assert "no user has 5 interactions" in str(found.refused)
    assert facts_of(found)["rows"] == "60"
    found = checked(tmp_path, table(timestamp=SECOND))
    assert found.refused is None
    assert list(found.splits) == ["fact", "leave-one-out"]
    assert not [doubt for doubt in found.doubts if "split" in doubt]  # nobody asked for another
    with pytest.raises(DataError, match="is built in"):
        check("complete-journey")
    with pytest.raises(DataError, match="is not a file"):
        check(tmp_path / "nowhere.csv")


def test_lists_in_a_column_that_is_not_used_do_not_matter(tmp_path):
    frame = table(tags=[[1]] * 160)
    frame.to_parquet(tmp_path / "log.parquet")
    assert len(check(tmp_path / "log.parquet").doubts) == 1


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["cprlab", "data", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, *capsys.readouterr()


def test_the_command_prints_tables_and_doubts_and_nothing_that_steers_the_terminal(tmp_path, monkeypatch, capsys):
    frame = table(title=HOSTILE).rename(columns={"user_id": f"user{HOSTILE}"})
    path = write(tmp_path, frame.to_csv(index=False))
    code, printed, said = run(monkeypatch, capsys, path)
    assert code == 2
    assert f"Its columns are user{visible(HOSTILE)}, item_id" in said
    code, printed, said = run(monkeypatch, capsys, path, "--user", f"user{HOSTILE}")
    assert (code, said) == (0, "")
    assert printed.count(visible(HOSTILE)) >= 7  # the header twice, and five titles
    assert "\\x1b[31mred" in printed
    assert all(one.isprintable() or one == "\n" for one in printed)
    for words in (
        "Columns\n",
        "First rows\n",
        "Log\n",
        "Splits\n",
        "Doubts: good to know\n- Guessed from column names",
    ):
        assert words in printed
