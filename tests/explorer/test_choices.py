"""The table of cases against counts by hand, and its certificates against linear programs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from cprlab.errors import ConfigError
from cprlab.explorer.choices import AT_ONCE, Choices
from cprlab.explorer.model import Model
from cprlab.explorer.state import PRESETS, Query, Setting
from cprlab.explorer.verdict import case_verdict
from cprlab.probes import copy_probability
from tests.explorer.test_verdict import work

NAMES = ["Straße", "<b>İzmir</b>", "ΑΘΗΝΑ", "Alien (1979)"]


@pytest.fixture(scope="module")
def models(subject):
    """Two models, of which a single state copies some histories."""
    titles = np.array([f"{NAMES[item % 4]} no. {item}." for item in range(subject().snapshot.n_items)])
    named = replace(subject(d=11), held_out=replace(subject(d=11).snapshot, titles=titles))
    return [Model(named), Model(subject("Softmax + C", d=13))]


@pytest.fixture
def cases(models, subject):
    return Choices(models, subject().user_ids)


def test_a_row_says_what_each_model_does_with_a_case(cases, models):
    table = cases.table
    assert [letter for letter, _ in cases.lettered()] == ["A", "B"]
    for case, row in table.iterrows():
        history, target = models[0].snapshot.histories[case].tolist(), models[0].snapshot.targets[case]
        assert cases.histories[case].tolist() == history
        assert (row["case"], row["user"], row["length"]) == (case, cases.users[case], len(history))
        assert row["next"] == f"{NAMES[target % 4]} no. {target}."
        assert row["repeat"] == (target in history)
        copied = []
        for letter, model in zip("AB", models, strict=True):
            p = np.exp(model.recommender.log_probs([history])[0])
            copied.append(p[sorted(set(history))].sum())
            assert row[f"copy {letter}"] == pytest.approx(copied[-1])
            assert row[f"rank {letter}"] == (p >= p[target]).sum()
        assert row["apart"] == pytest.approx(abs(copied[0] - copied[1]))
        assert row["off"] == pytest.approx(max(abs((target in history) - one) for one in copied))
    assert cases.observed == pytest.approx(
        sum(t in h for h, t in zip(cases.histories, cases.targets, strict=True)) / 30
    )


def test_a_preset_lists_its_cases(cases):
    rng = np.random.default_rng(0)
    cases.table["copyable"] = rng.choice(["yes", "no", "undecided", ""], len(cases.table))
    found = {preset: cases.find(Query(preset=preset))["case"].tolist() for preset in PRESETS}
    expected: dict[str, list[int]] = {preset: [] for preset in PRESETS}
    for case, row in cases.table.iterrows():
        least, most = sorted([row["copy A"], row["copy B"]])
        told = {
            "all": True,
            "should copy, but does not": row["repeat"] and least < cases.observed,
            "should not copy, but does": not row["repeat"] and most > cases.observed,
            "cannot be copied by one hidden state": row["copyable"] == "no",
            "next item is in the history": row["repeat"],
            "next item is new": not row["repeat"],
        }
        for preset, listed in told.items():
            expected[preset] += [case] * bool(listed)
    assert found == expected
    assert all(0 < len(listed) < 30 for preset, listed in found.items() if preset != "all")


def test_letters_are_found_in_titles_and_users_however_they_are_written(cases):
    def listed(search):
        return cases.find(Query(search=search))["case"].tolist()

    def having(item):
        return [
            case for case, history in enumerate(cases.histories) if item in [*history.tolist(), cases.targets[case]]
        ]

    assert listed("  ") == list(range(30))
    assert listed("NO. 12.") == having(12)
    assert listed(" strasse no. 4. ") == having(4)
    assert listed("αθηνα no. 6.") == having(6)
    assert 0 < len(having(12)) < 30
    only_next = [case for case, target in enumerate(cases.targets) if target not in cases.histories[case]]
    assert only_next[0] in listed(f"no. {cases.targets[only_next[0]]}.")
    assert [cases.users[case] for case in listed("U13")] == ["u13"]
    assert listed("nobody") == []
    both = cases.find(Query(search="no. 12.", preset="next item is new"))["case"].tolist()
    assert both == [case for case in having(12) if cases.targets[case] not in cases.histories[case]]


def test_text_is_sorted_as_it_is_read(cases):
    users = ["10", "u2", "9", "Zoë", "", "b", "B", "007", "a9"] + [""] * 21
    cases.table["user"] = users
    for descending, expected in (
        (False, ["007", "9", "10", "a9", "b", "B", "u2", "Zoë"]),
        (True, ["Zoë", "u2", "b", "B", "a9", "10", "9", "007"]),
    ):
        found = cases.find(Query(sort="user", descending=descending))
        assert found["user"].tolist() == expected + [""] * 22
    cases.table["copyable"] = ["yes", "", "no", "undecided"] + [""] * 26
    for descending, expected in ((False, ["no", "undecided", "yes"]), (True, ["yes", "undecided", "no"])):
        assert cases.find(Query(sort="copyable", descending=descending))["copyable"].tolist()[:3] == expected


@pytest.mark.parametrize("column", ["case", "user", "next", "length", "repeat", "copy B", "rank A", "off", "copyable"])
@pytest.mark.parametrize("descending", [False, True])
def test_the_table_is_sorted_and_equal_cases_keep_their_order(cases, column, descending):
    values = cases.table[column].tolist()

    def read(case):
        return values[case].lower() if column in ("user", "next") else values[case]

    expected = sorted(range(30), key=read, reverse=descending)  # keeps equal ones in order, either way
    assert cases.find(Query(sort=column, descending=descending))["case"].tolist() == expected


def test_there_is_no_other_column(cases):
    with pytest.raises(ConfigError, match=r"no column 'copy C' .* did you mean 'copy .'.*apart"):
        cases.find(Query(sort="copy C"))


def ranked_above(weights, chosen):
    """Whether a state scores all the chosen items at least 1 above all others: a linear program in h and a level."""
    signs = np.where(np.isin(np.arange(len(weights)), chosen), 1, -1)[:, None]
    sides = np.hstack([-signs * weights, signs])  # −s (w·h − t) ≤ −½
    free = [(None, None)] * sides.shape[1]
    return linprog(np.zeros(sides.shape[1]), sides, np.full(len(sides), -0.5), bounds=free).status == 0


def test_certificates_come_in_and_any_models_no_counts(cases, models):
    answers = [
        [ranked_above(model.snapshot.item_embeddings, history) for history in cases.histories] for model in models
    ]
    assert len({*zip(*answers, strict=True)}) > 2  # the models differ, and agree
    done = 0
    for reached in cases.certify():
        assert done < reached <= done + AT_ONCE
        done = reached
        looked = cases.table["copyable"].tolist()
        expected = ["yes" if one and other else "no" for one, other in zip(*answers, strict=True)]
        assert looked == expected[:done] + [""] * (30 - done)
        assert cases.table["least"].notna().tolist() == [case < done for case in range(30)]
    assert done == 30
    for case in (0, 7, 29):
        history = cases.histories[case]
        least = [work(case_verdict(one, case, history, one.predict(case, history, Setting()))) for one in models]
        lost = [one.least_copying for one, _ in least]
        assert cases.table["least"][case] == pytest.approx(max(lost), abs=2e-6)
        assert cases.table.loc[case, ["least A", "least B"]].tolist() == pytest.approx(lost, abs=2e-6)


def test_a_history_of_every_item_has_no_certificate(foreign):
    one = foreign()
    histories = [*one.snapshot.histories[:2], np.arange(one.snapshot.n_items)]
    snapshot = replace(one.snapshot.take(np.arange(3)), histories=histories)
    cases = Choices([Model(replace(one, held_out=snapshot, cases=copy_probability(snapshot)))], None)
    assert list(cases.certify()) == [2]
    assert [bool(outcome) for outcome in cases.table["copyable"]] == [True, True, False]
    assert cases.table["least"].notna().tolist() == [True, True, False]
    assert cases.table["user"].tolist() == [""] * 3


def test_of_models_that_read_different_lengths_the_longest_history_is_shown(models, subject):
    one = subject()
    short = replace(one.snapshot, histories=[history[-3:] for history in one.snapshot.histories])
    other = replace(one, held_out=short, cases=copy_probability(short))
    assert [h.tolist() for h in Choices([Model(other), Model(one)], None).histories] == [
        h.tolist() for h in one.snapshot.histories
    ]


def test_models_of_different_logs_are_refused(models, subject):
    one = subject()
    targets = one.snapshot.targets.copy()
    targets[4] = (targets[4] + 1) % one.snapshot.n_items
    fewer = replace(one, held_out=one.snapshot.take(np.arange(29)), cases=one.cases[:29])
    for other in (
        replace(one, held_out=replace(one.snapshot, targets=targets)),
        replace(one, held_out=replace(one.snapshot, item_ids=one.snapshot.item_ids[::-1])),
        fewer,
    ):
        with pytest.raises(ConfigError, match=r"Softmax, seed 0 are of different logs.*with the same --users"):
            Choices([models[0], Model(other)], None)
    strings = replace(one.snapshot, item_ids=one.snapshot.item_ids.astype(str))
    Choices([models[0], Model(replace(one, held_out=strings))], None)
