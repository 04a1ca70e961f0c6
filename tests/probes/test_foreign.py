"""Snapshots of RecBole's and RecTools' models: their numbering of items, their held-out items, their scores."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from cprlab.adapters.recbole import FromRecBole, load
from cprlab.data import Columns
from cprlab.errors import ConfigError, DataError
from cprlab.evaluation import MAIN, METRICS
from cprlab.models import GRU4RecConfig, SoftmaxConfig
from cprlab.probes import copy_probability, foreign, from_recbole, from_rectools

ROOT = Path(__file__).parents[2]
RECBOLE = ROOT / ".venv-recbole" / "bin" / "python"
FILTERED = Path(__file__).parent / "data" / "recbole"
ANSWERS = json.loads((FILTERED / "answers.json").read_text())
CHECKPOINTS = ROOT / "cprlab" / "adapters" / "recorded"
N = 30  # items of the checkpoints there, whose histories are of up to 7
START = 881_250_944  # single precision has this number of seconds, and the next 64 later
TOKENS = [f"t{place}" for place in np.random.default_rng(5).permutation(100)[:N]]


def choose(model, histories):
    """For each history, a new item that the model finds much likelier after it than after others."""
    scores = model.log_probs([np.array(history) - 1 for history in histories])
    scores -= np.median(scores, axis=0)
    for row, history in zip(scores, histories, strict=True):
        row[np.array(history) - 1] = -np.inf
    return (scores.argmax(1) + 1).tolist()


def made_up(model, last=N, burst=True):
    """A log that a model fits, in RecBole's codes: rows (user, code, time) in file order, and the test cases."""
    rng = np.random.default_rng(0)
    histories = [list(range(1, last + 1))]  # the first user's rows number the items
    histories += [rng.integers(1, last + 1, rng.integers(2, 12)).tolist() for _ in range(60)]
    targets = choose(model, [history[-7:] for history in histories])
    if last < N:
        targets = [target if target <= last else 1 for target in targets]
    rows, later = [], []
    for user, (history, target) in enumerate(zip(histories, targets, strict=True)):
        items = [*history, target]
        if burst and user % 2:  # all within half a minute, and the times run against the file's order
            rows += [(f"u{user}", item, START + 25 - 2 * place) for place, item in enumerate(items)]
        else:
            timed = [(f"u{user}", item, START + 1000 * place) for place, item in enumerate(items)]
            if user:
                later += timed
            else:
                rows += timed
    later = [later[place] for place in rng.permutation(len(later))]
    later += [("two", 1, START), ("two", 2, START + 1000)]  # RecBole has no test case of two interactions
    order = [0] + [user for user in range(1, 61) if user % 2] if burst else [0]
    shown = [f"u{user}" for user in order]
    shown += list(dict.fromkeys(user for user, _, _ in later if user not in shown and user != "two"))
    cases = {
        f"u{user}": (history[-7:], target)
        for user, (history, target) in enumerate(zip(histories, targets, strict=True))
    }
    return rows + later, [cases[user] for user in shown]


def write(path, rows):
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    lines += [f"{user}\t{TOKENS[item - 1]}\t{time}" for user, item, time in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRec", "GRU4RecCPR", "SASRecCPR"])
def test_recboles_numbering_and_test_cases_are_found_in_its_log(tmp_path, name):
    model = load(CHECKPOINTS / f"{name}.pth")
    rows, cases = made_up(model)
    snapshot = from_recbole(model, write(tmp_path / "log.inter", rows))
    assert snapshot.item_ids.tolist() == snapshot.titles.tolist() == TOKENS
    assert [(row + 1).tolist() for row in snapshot.histories] == [history for history, _ in cases]
    assert (snapshot.targets + 1).tolist() == [target for _, target in cases]
    if not name.endswith("CPR"):  # one softmax, so the Snapshot is the model
        measured = copy_probability(snapshot)
        scores = model.log_probs([np.array(history) - 1 for history, _ in cases])
        rank = [(row >= row[target - 1]).sum() for row, (_, target) in zip(scores, cases, strict=True)]
        assert measured["rank"].tolist() == rank
        np.testing.assert_allclose(
            measured["log_loss"], [-row[target - 1] for row, (_, target) in zip(scores, cases, strict=True)], rtol=1e-5
        )


def recbole_reads(folder, settings):
    """What RecBole itself makes of `log/log.inter` in a folder with each of these settings."""
    answer = subprocess.run(
        [RECBOLE, "-W", "ignore", ROOT / "benchmarks" / "sides" / "recbole_reads.py"],
        input=json.dumps(settings),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not RECBOLE.exists(), reason="RecBole has no environment here (benchmarks/against_recbole.py)")
def test_recbole_itself_reads_that_log_so(tmp_path):
    rows, cases = made_up(load(CHECKPOINTS / "GRU4Rec.pth"), last=N - 1)
    (tmp_path / "log").mkdir()
    write(tmp_path / "log" / "log.inter", rows)
    others = [TOKENS[-1], *TOKENS[: N - 1][::-1]]
    (tmp_path / "log" / "log.item").write_text("\n".join(["item_id:token", *others]))
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]}
    [answer] = recbole_reads(tmp_path, [{"load_col": columns, "MAX_ITEM_LIST_LENGTH": 7}])
    assert answer["tokens"] == ["[PAD]", *TOKENS]
    assert sorted(zip(answer["histories"], answer["targets"], strict=True)) == sorted(cases)


@pytest.mark.slow
@pytest.mark.skipif(not RECBOLE.exists(), reason="RecBole has no environment here (benchmarks/against_recbole.py)")
def test_recbole_itself_gives_the_recorded_answers(tmp_path):
    shutil.copytree(FILTERED, tmp_path / "log")
    answers = list(ANSWERS["cases"].values())
    again = recbole_reads(tmp_path, [answer["settings"] for answer in answers])
    assert [answer["settings"] | one for answer, one in zip(answers, again, strict=True)] == [
        answer["settings"] | {key: answer[key] for key in ("tokens", "histories", "targets")} for answer in answers
    ]


def untrained(n_items, **settings):
    """A model of RecBole with these settings; whether it predicts anything is not checked."""
    model = FromRecBole(GRU4RecConfig(d=2, hidden=2), SoftmaxConfig(), n_items, max_len=6)
    model.settings = {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}} | settings
    return model


@pytest.mark.parametrize("answer", [pytest.param(answer, id=name) for name, answer in ANSWERS["cases"].items()])
def test_recboles_filters_are_applied(monkeypatch, answer):
    monkeypatch.setattr(foreign, "_check_numbering", lambda *_: None)
    ids = answer["tokens"][1:]
    snapshot = from_recbole(untrained(len(ids), **answer["settings"]), FILTERED / "log.inter")
    assert snapshot.item_ids.tolist() == ids
    cases = [((row + 1).tolist(), target) for row, target in zip(snapshot.histories, snapshot.targets + 1, strict=True)]
    assert sorted(cases) == sorted(zip(answer["histories"], answer["targets"], strict=True))
    titled = {f"Thing {one}" for one in ids} | set(ids)
    assert set(snapshot.titles) <= titled


def test_a_model_trained_with_filters_has_recboles_ndcg():
    model = load(FILTERED / "GRU4Rec.pth")
    snapshot = from_recbole(model, FILTERED / "log.inter")
    assert len(snapshot) == len(ANSWERS["cases"]["all"]["targets"])
    assert METRICS[MAIN](copy_probability(snapshot), "rank").mean() == pytest.approx(ANSWERS["ndcg"], abs=1e-9)


REFUSED = {
    "benchmark_filename": (["train", "test"], r"with benchmark_filename = \['train', 'test'\]"),
    "alias_of_item_id": (["item_id_list"], "with alias_of_item_id ="),
    "rm_dup_inter": (0, "rm_dup_inter = 0 is unknown; possible: first, last"),
    "numerical_features": (["timestamp"], "times as numerical_features"),
    "user_inter_num_interval": ("5", "user_inter_num_interval is '5', which is no interval"),
    "item_inter_num_interval": ("[x,inf)", r"item_inter_num_interval is '\[x,inf\)', which is no interval"),
    "val_interval": ({"shop": "[1,2]"}, "by their shop .val_interval., and the column 'shop' has values that are no"),
    "normalize_field": ("timestamp", "normalize_field must be a list"),
    "load_col": ("*", "load_col and unload_col must give names"),
    "eval_args": (
        {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": None, "order": "TO"},
        "may have trained on users' last items",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_followed_are_named(name):
    value, words = REFUSED[name]
    settings = {"TIME_FIELD": "timestamp", name: value}
    with pytest.raises((ConfigError, DataError), match=words):
        from_recbole(untrained(24, **settings), FILTERED / "log.inter")


@pytest.mark.parametrize(
    ("split", "fine"),
    [
        ({"LS": "valid_and_test"}, True),
        ({"RS": [0.8, 0.1, 0.1]}, True),
        ({"RS": [0.9, 0.1, 0]}, False),
        ({"RS": ["x"]}, False),
        ({"TS": [0.8, 0.1, 0.1]}, False),
        (None, False),
    ],
)
def test_only_where_last_items_were_held_out_is_a_model_read(monkeypatch, split, fine):
    monkeypatch.setattr(foreign, "_check_numbering", lambda *_: None)
    model = untrained(24, eval_args={"split": split, "group_by": "user", "order": "TO"})
    if fine:
        assert len(from_recbole(model, FILTERED / "log.inter")) == 75
    else:
        with pytest.raises(ConfigError, match=r"by eval_args = .* may have trained on users' last items"):
            from_recbole(model, FILTERED / "log.inter")


def test_filters_that_need_other_rows_or_files_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "_check_numbering", lambda *_: None)
    log = Path(shutil.copy(FILTERED / "log.inter", tmp_path))
    with pytest.raises(DataError, match=r"kept the rows of this model by their price \(val_interval\), and .* no such"):
        from_recbole(untrained(24, val_interval={"price": "[1,2]"}), log)
    with pytest.raises(DataError, match=r"keeps \(user_inter_num_interval = '\[99,inf\)'\)"):
        from_recbole(untrained(24, user_inter_num_interval="[99,inf)"), log)
    with pytest.raises(DataError, match=r"has 4 items .* keeps \(item_inter_num_interval = '\[22,inf\)'\).* model 24"):
        from_recbole(untrained(24, item_inter_num_interval="[22,inf)"), log)
    with pytest.raises(DataError, match=r"read log\.user too \(load_col\)"):
        from_recbole(untrained(24, load_col={"inter": ["user_id"], "user": ["user_id"]}), log)
    text = log.read_text()
    (tmp_path / "log.inter").write_text(f"{text}nan\tt1\t1\t1\ta\n")
    with pytest.raises(DataError, match="rows without user_id and rows without item_id"):
        from_recbole(untrained(24), log)


def test_rows_of_the_same_time_are_refused_where_duplicates_were_removed(tmp_path):
    log = tmp_path / "log.inter"
    head = "user_id:token\titem_id:token\ttimestamp:float"
    rows = ["u1\ta\t1", "u1\tb\t2", "u2\tb\t2", "u1\tc\t3", "u2\ta\t4", "u2\tc\t5"]
    log.write_text("\n".join([head, *rows]))
    assert from_recbole(untrained(3, rm_dup_inter="first"), log).item_ids.tolist() == ["a", "b", "c"]
    for other in ("u3\td\t3", "u2\ta\t5"):  # two new items, two rows of one user
        log.write_text("\n".join([head, *rows[:4], *rows[5:], other]))
        n_items = 4 if "d" in other else 3
        assert len(from_recbole(untrained(n_items), log).item_ids) == n_items
        with pytest.raises(DataError, match=r"\(rm_dup_inter\).* There are 4 such rows"):
            from_recbole(untrained(n_items, rm_dup_inter="first"), log)


def test_recboles_names_of_columns_come_before_guesses(tmp_path):
    log = tmp_path / "log.inter"
    lines = [f"u{k % 2}\t{'abc'[k % 3]}\tx{k}\t{k}" for k in range(9)]
    log.write_text("\n".join(["user_id:token\ttrack:token\titem_id:token\ttimestamp:float", *lines]))
    assert from_recbole(untrained(3, ITEM_ID_FIELD="track"), log).item_ids.tolist() == ["a", "b", "c"]
    assert from_recbole(untrained(9), log).item_ids.tolist() == [f"x{k}" for k in range(9)]


def test_items_of_recboles_item_file_come_last_and_give_titles(tmp_path):
    model = load(CHECKPOINTS / "GRU4Rec.pth")
    model.settings = {**model.settings, "load_col": None, "filter_inter_by_user_or_item": False}
    rows, _ = made_up(model, last=N - 2)
    path = write(tmp_path / "log.inter", rows)
    with pytest.raises(
        DataError, match=r"log\.inter has 28 items that .* keeps, and the model 30; use the log that RecB"
    ):
        from_recbole(model, path)
    more = [TOKENS[29], TOKENS[3], TOKENS[28]]
    lines = ["item_id:token\ttitle:token_seq", *(f"{token}\tTitle of {token}" for token in more)]
    (tmp_path / "log.item").write_text("\n".join(lines))
    snapshot = from_recbole(model, path)
    assert snapshot.item_ids.tolist() == [*TOKENS[:28], TOKENS[29], TOKENS[28]]
    assert snapshot.titles[[3, 28, 29]].tolist() == [f"Title of {TOKENS[place]}" for place in (3, 29, 28)]
    assert snapshot.titles[0] == TOKENS[0]
    (tmp_path / "log.item").write_text("\n".join([*lines, "t999\tOne too many"]))
    with pytest.raises(DataError, match=r"has 31 items .* the model 30"):
        from_recbole(model, path)


@pytest.mark.parametrize("name", ["GRU4Rec", "SASRecCPR"])
@pytest.mark.parametrize("order", ["shuffled", "reversed"])
def test_rows_in_another_order_are_noticed(tmp_path, name, order):
    model = load(CHECKPOINTS / f"{name}.pth")
    rows, _ = made_up(model, burst=False)
    rows = (
        rows[::-1]
        if order == "reversed"
        else [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]
    )
    with pytest.raises(DataError, match=r"log\.inter: for the model, users' held-out items are no more likely"):
        from_recbole(model, write(tmp_path / "log.inter", rows))


def test_where_all_is_repeated_the_numbering_cannot_be_told(tmp_path):
    model = load(CHECKPOINTS / "GRU4Rec.pth")
    rows = [("u0", item, START + 1000 * item) for item in range(1, N + 1)]
    rows += [(f"u{user}", 1 + user % 5, START + 1000 * place) for user in range(1, 50) for place in range(3)]
    assert len(from_recbole(model, write(tmp_path / "log.inter", rows))) == 50


def test_other_columns_and_files_without_cases(tmp_path):
    model = load(CHECKPOINTS / "GRU4Rec.pth")
    rows, cases = made_up(model, burst=False)
    frame = pd.DataFrame(rows, columns=["who", "what", "when"])
    frame["what"] = [TOKENS[item - 1] for item in frame["what"]]
    frame["name"] = "The " + frame["what"]
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    snapshot = from_recbole(model, path, Columns(user="who", item="what", time="when", title="name"))
    assert (snapshot.targets + 1).tolist() == [target for _, target in cases]
    assert snapshot.titles.tolist() == [f"The {token}" for token in TOKENS]
    with pytest.raises(DataError, match="no column looks like the user"):
        from_recbole(model, path)
    with pytest.raises(DataError, match="is not a file"):
        from_recbole(model, tmp_path / "none.inter")
    pairs = [(f"u{item}", item, START + place) for item in range(1, N + 1) for place in (0, 1000)]
    with pytest.raises(DataError, match="no user has 3 interactions, so there is no test case"):
        from_recbole(model, write(tmp_path / "log.inter", pairs))


class StandIn(nn.Module):
    """Stands in for the Transformer of a fitted SASRecModel: as there, sessions are padded with 0 at the left."""

    def __init__(self, n, d, distance):
        super().__init__()
        self.item_model = SimpleNamespace(get_all_embeddings=self.all_embeddings)
        self.similarity_module = SimpleNamespace(
            distance=SimpleNamespace(value=distance),
            item_tower_forward=lambda table: table,
            session_tower_forward=lambda states: states,
        )
        self.embedding = nn.Embedding(n + 1, d)
        self.gru = nn.GRU(d, d, batch_first=True)
        self.dropout = nn.Dropout(0.5)

    def all_embeddings(self):
        return self.dropout(self.embedding.weight)

    def encode_sessions(self, batch, item_embs):
        return self.gru(self.dropout(item_embs[batch["x"]]))[0]


def stand_in(ids, max_len=4, distance="dot", temperature=1.0, **preparator):
    """Stands in for a fitted SASRecModel of RecTools 0.19, with those of its attributes that are read."""
    torch.manual_seed(0)
    return SimpleNamespace(
        lightning_model=SimpleNamespace(torch_model=StandIn(len(ids), 5, distance).double(), logits_t=temperature),
        data_preparator=SimpleNamespace(
            **{
                "item_id_map": SimpleNamespace(external_ids=np.array(["PAD", *ids], dtype=object)),
                "session_max_len": max_len,
                "item_extra_tokens": ("PAD",),
                "add_unix_ts": False,
            }
            | preparator
        ),
    )


INTERACTIONS = pd.DataFrame(
    [
        ("ann", 30, 3, "c"),
        ("bob", 10, 1, "a"),
        ("ann", 10, 1, "a"),
        ("ann", 99, 2, "?"),  # not known to the model
        ("bob", 20, 1, "b"),  # as early as the one above it
        ("ann", 20, 4, "b"),
        *[("cem", item, place, "x") for place, item in enumerate([10, 20, 40, 40, 99, 30, 20, 10])],
        ("dee", 10, 1, "a"),  # has no other
        ("eve", 10, 1, "a"),
        ("eve", 99, 2, "?"),  # the last is not known
        ("fay", 99, 1, "?"),
        ("fay", 20, 2, "b"),  # none before is known
    ],
    columns=["user_id", "item_id", "datetime", "title"],
)


@pytest.mark.parametrize(("distance", "temperature"), [("dot", 1.0), ("cosine", 0.1)])
def test_a_rectools_model_is_read_as_recommend_reads_it(distance, temperature):
    model = stand_in([40, 10, 30, 20], distance=distance, temperature=temperature)
    backbone = model.lightning_model.torch_model
    assert backbone.training
    snapshot = from_rectools(model, INTERACTIONS, title="title")
    assert backbone.training
    assert snapshot.item_ids.tolist() == [40, 10, 30, 20]
    assert snapshot.titles.tolist() == ["x", "a", "c", "b"]
    sessions = [[0, 0, 2, 3], [0, 0, 0, 2], [1, 1, 3, 4]]  # ann, bob, cem: in the model's codes
    assert [(row + 1).tolist() for row in snapshot.histories] == [[2, 3], [2], [1, 1, 3, 4]]
    assert (snapshot.targets + 1).tolist() == [4, 4, 2]
    backbone.eval()
    (_, rows), *_ = snapshot.log_probs()
    for row, session in zip(rows.numpy(), sessions, strict=True):
        with torch.no_grad():
            state = backbone.gru(backbone.embedding.weight[torch.tensor([session])])[0][0, -1].numpy()
        table = backbone.embedding.weight.detach().numpy()[1:]
        scores = [w @ state for w in table]
        if distance == "cosine":
            scores = [w @ state / np.sqrt((w @ w) * (state @ state)) for w in table]
        np.testing.assert_allclose(row, log_softmax(np.array(scores) / temperature), rtol=0, atol=1e-12)


def test_what_is_no_fitted_sasrec_of_rectools_is_refused():
    with pytest.raises(ConfigError, match="needs a fitted SASRecModel of RecTools; this has no lightning_model"):
        from_rectools(SimpleNamespace(data_preparator=None), INTERACTIONS)
    for preparator in ({"item_extra_tokens": ("PAD", "MASK")}, {"add_unix_ts": True}):
        with pytest.raises(ConfigError, match="SASRecModel without times can be read"):
            from_rectools(stand_in([10], **preparator), INTERACTIONS)
    with pytest.raises(DataError, match="The model knows no user's last item and history"):
        from_rectools(stand_in(["10", "20"]), INTERACTIONS)
    with pytest.raises(DataError, match="no user has 2 interactions"):
        from_rectools(stand_in([10]), INTERACTIONS.drop_duplicates("user_id"))
