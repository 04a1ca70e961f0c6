"""Models and cases of a page, opened again in Python; and how the demo's page is made of the log's."""

import json

import numpy as np
import pytest
import torch

from cprlab.explorer import Explorer, demo, offline, read_page
from cprlab.explorer.from_page import part
from cprlab.models import GRU4RecConfig, Recommender, SASRecConfig, parse_head
from cprlab.subjects import Subject
from tests.explorer.test_widget import hostile

HEADS = ["Softmax", "MoS:2 dynamic + CPR:5 + F + Mi (tied=False)", "RepeatNet", "Softmax + B (post)"]


def written(subjects, path, cases):
    path.write_text(offline.page_of(Explorer(subjects), cases), encoding="utf-8")
    return read_page(path)


@pytest.mark.parametrize("head", HEADS)
def test_a_pages_models_are_the_same_bit_by_bit_on_its_cases(subject, tmp_path, head):
    given = subject(head)
    shown = Explorer([given])
    cases = [shown.state.case, *(case for case in (3, 11, 20) if case != shown.state.case)]
    (read,) = written([given], tmp_path / "page.html", cases)
    weights = read.recommender.state_dict()
    assert weights.keys() == given.recommender.state_dict().keys()
    for name, weight in given.recommender.state_dict().items():
        assert weights[name].dtype == weight.dtype
        assert torch.equal(weights[name], weight)
    own = given.held_out.take(np.array(sorted(cases)))
    assert (read.name, read.held_out.titles.tolist()) == (given.name, own.titles.tolist())
    assert [list(history) for history in read.held_out.histories] == [list(history) for history in own.histories]
    assert read.held_out.targets.tolist() == own.targets.tolist()
    assert read.user_ids.tolist() == [str(given.user_ids[case]) for case in sorted(cases)]
    scores = [one.recommender.log_probs(list(own.histories)) for one in (given, read)]
    np.testing.assert_array_equal(*scores)
    columns = ["rank", "copy_probability", "repeat"]
    np.testing.assert_allclose(read.cases[columns].astype(float), given.cases.loc[sorted(cases), columns].astype(float))


def test_single_precision_sasrec_and_titles_with_markup_come_back(subject, sequences, tmp_path):
    torch.manual_seed(0)
    sizes = SASRecConfig(d=8, layers=1, heads=1)
    recommender = Recommender(sizes, parse_head("Softmax + CP"), sequences.n_items, max_len=sequences.max_len).eval()
    given = hostile(subject("Softmax"))
    held_out = type(given.held_out).from_recommender(
        recommender, given.held_out.histories, given.held_out.targets, titles=given.held_out.titles
    )
    one = Subject("<b>one</b>", held_out, given.cases, True, recommender, user_ids=given.user_ids)
    case = Explorer([one]).state.case
    (read,) = written([one], tmp_path / "page.html", [case])
    assert read.name == "<b>one</b>"
    assert isinstance(read.recommender.encoder.config, SASRecConfig)
    assert not isinstance(read.recommender.encoder.config, GRU4RecConfig)
    assert read.recommender.embedding.weight.dtype == torch.float32
    np.testing.assert_array_equal(read.recommender.log_probs([[3, 1]]), recommender.log_probs([[3, 1]]))
    assert read.held_out.titles.tolist() == [title[:200] for title in given.held_out.titles]


def test_the_demo_has_a_case_of_each_of_some_users_and_opens_on_a_repeat(subject, monkeypatch, tmp_path):
    given = [subject(), subject("Softmax + CPR:5,10 + Mi")]
    monkeypatch.setattr(demo, "models", lambda runs: given)
    monkeypatch.setattr(demo, "told", lambda shown: [])  # their cases come on top
    monkeypatch.setattr(demo, "HOUSEHOLDS", 9)
    demo.main(str(tmp_path / "demo.html"))
    read = read_page(tmp_path / "demo.html")
    assert len(read) == 2
    users = read[0].user_ids.tolist()
    assert len(set(users)) == len(users) == 9
    text = (tmp_path / "demo.html").read_text(encoding="utf-8")
    data = json.loads(part(text, "data"))
    rows = {row[0]: row for row in data["table"]["rows"]}
    columns = [column["key"] for column in data["table"]["columns"]]
    opened = rows[data["state"]["case"]]
    assert opened[columns.index("repeat")]
    apart = columns.index("apart")
    assert opened[apart] == max(row[apart] for row in rows.values() if row[columns.index("repeat")])
    assert demo.NOTICE in text
