"""The feedback loop: what users do is what is assumed of them, by closed forms, counts and brute force."""

import itertools

import numpy as np
import pytest
from scipy import stats

from cprlab.errors import ConfigError
from cprlab.models import GRU4RecConfig
from cprlab.simulation import EVERYBODY, Population, Users, learner, oracle, popular, simulate
from cprlab.training import RunConfig, TrainingConfig


def crowd(**changes):
    return Population(**({"users": 4000, "items": 12, "first": 4, "consumables": 1.0} | changes))


def value(table, measure, round_=1):
    return table.query("measure == @measure and round == @round_")["value"].mean()


def test_appetites_are_the_formula():
    population = Population(users=3, items=30, sharpness=1.5, factors=4)
    rng = np.random.default_rng(0)
    tastes, kinds = rng.normal(size=(3, 4)), rng.normal(size=(30, 4))
    for user, likes in enumerate(population.likes()):
        products = np.array([tastes[user] @ kind / 2 for kind in kinds])
        np.testing.assert_allclose(likes, np.exp(1.5 * (products - products.max())))
    assert population.consumable().sum() == 15
    users = Users(population)
    for user, history in enumerate(users.histories):
        for item in range(30):
            since = 20 - history.index(item) if history.count(item) == 1 else None
            if item not in history:
                assert users.appetites()[user, item] == population.likes()[user, item]
            elif not population.consumable()[item]:
                assert users.appetites()[user, item] == 0
            elif since:
                assert users.appetites()[user, item] == (0.7 if since >= 6 else 0)


def test_nothing_is_consumed_twice_where_nothing_is_wanted_again_nor_before_it_is_due():
    never, soon = (Population(users=30, items=60, consumables=share, period=5, organic=0.5) for share in (0.0, 1.0))
    for population, again in ((never, False), (soon, True)):
        users = Users(population, seed=3)
        for _ in range(25):
            users.visit(np.argsort(-users.appetites(), axis=1)[:, :5])
        repeats = [len(history) - len(set(history)) for history in users.histories]
        assert (max(repeats) > 0) == again
    population = Population(users=50, items=40, consumables=1.0, period=7, organic=1.0, again=1.0)
    users, consumed = Users(population), []
    for _ in range(40):  # all choose by themselves, so everybody consumes at each visit
        consumed.append(users.visit())
    for of_user in np.array(consumed).T:
        for item in set(of_user):
            assert np.diff(np.flatnonzero(of_user == item)).min(initial=7) >= 7


def test_an_item_is_taken_as_often_as_its_rank_and_appetite_say():
    population = crowd(accept=0.9, attention=0.6, organic=0.0)
    users = Users(population)
    lists = np.tile(np.arange(4), (population.users, 1))
    appetites = users.appetites()[:, :4]
    looked_and_liked = 0.9 * 0.6 ** np.arange(4) * appetites
    expected = looked_and_liked * np.cumprod(np.hstack([np.ones((4000, 1)), 1 - looked_and_liked[:, :-1]]), axis=1)
    consumed = users.visit(lists)
    for rank in range(4):
        mean, deviation = expected[:, rank].sum(), np.sqrt((expected[:, rank] * (1 - expected[:, rank])).sum())
        assert abs((consumed == rank).sum() - mean) < 4 * deviation
    assert ((consumed < 4) | (consumed == -1)).all()


def test_users_choose_by_themselves_as_often_as_stated_and_in_proportion_to_their_appetites():
    population = crowd(organic=0.35, accept=0.0)  # nothing of a list is ever taken
    users = Users(population, seed=1)
    appetites = users.appetites()
    consumed = users.visit(np.tile(np.arange(10), (4000, 1)))
    assert stats.binomtest(int((consumed >= 0).sum()), 4000, 0.35).pvalue > 1e-3
    users = Users(population, seed=1)
    share = appetites / appetites.sum(1, keepdims=True)
    observed = np.bincount(users.visit(), minlength=12)
    deviation = np.sqrt((share * (1 - share)).sum(0))
    assert (np.abs(observed - share.sum(0)) < 4 * deviation).all()


def test_the_oracle_is_the_ceiling():
    population = crowd(users=40, items=7, accept=0.9, attention=0.5)
    users = Users(population)
    best = np.argsort(-users.appetites(), axis=1)[:, :3]
    engagement = 1 - np.prod(1 - users.chances(best), axis=1)
    for order in itertools.permutations(range(7), 3):
        other = 1 - np.prod(1 - users.chances(np.tile(order, (40, 1))), axis=1)
        assert (other <= engagement + 1e-12).all()


def test_engagement_and_accuracy_have_their_closed_forms():
    population = crowd(users=50, items=40, consumables=0.0, sharpness=0.0, accept=1.0, first=5)
    table = simulate(population, oracle, rounds=1, visits=1)
    assert (
        value(table, "engagement") == 1
    )  # whoever looks at an item of appetite 1 takes it, and the first is looked at
    assert value(table, "accuracy") == 1
    assert value(table, "repeats recommended") == 0
    table = simulate(population.but(accept=0.5, attention=0.0, organic=0.0), oracle, 2, 3, seed=1)
    assert value(table, "engagement", 2) == pytest.approx(0.5)  # only the first item is looked at
    table = simulate(crowd(users=50, items=20, period=1, again=1.0, sharpness=4.0), popular, 1, 2, k=5)
    one = table.query("measure == 'accuracy'")["value"]
    assert ((one > 0) & (one <= 1)).all()
    assert value(table, "engagement") < 1


def test_what_is_measured_over_everybody_is_counted():
    population = crowd(users=20, items=15, period=2)
    table = simulate(population, popular, rounds=2, visits=4, k=5, seed=2)
    users = Users(population, seed=2)
    for round_ in (1, 2):
        counts = np.bincount(np.concatenate(users.histories), minlength=15)
        lists = np.tile(np.argsort(-counts, kind="stable")[:5], (20, 1))
        old, new = 0, []
        for _ in range(4):
            before = [set(history) for history in users.histories]
            consumed = users.visit(lists)
            new += [item for item in consumed if item >= 0]
            old += sum(item in seen for item, seen in zip(consumed, before, strict=True))
        of_all = table[(table["round"] == round_) & (table["user"] == EVERYBODY)].set_index("measure")["value"]
        assert of_all["repeats consumed"] == pytest.approx(old / len(new))
        assert of_all["distinct items"] == pytest.approx(len(set(new)) / 15)
        counted = np.bincount(new, minlength=15)
        assert of_all["Gini"] == pytest.approx(np.abs(counted[:, None] - counted).mean() / (2 * counted.mean()))


def test_luck_does_not_depend_on_the_lists():
    population = crowd(users=200, items=15, organic=1.0)
    one, other = Users(population, seed=4), Users(population, seed=4)
    for _ in range(3):
        one.visit(np.tile(np.arange(5), (200, 1)))
        other.visit(np.tile(np.arange(5, 10), (200, 1)))
    assert one.histories == other.histories != Users(population, seed=5).histories


def test_a_model_learns_what_is_never_wanted_again():
    population = Population(users=60, items=40, consumables=0.0, first=20)
    training = TrainingConfig(epochs=6, batch_size=8, learning_rate=1e-2, precision="float64")
    tables = {
        head: simulate(
            population,
            learner(RunConfig(encoder=GRU4RecConfig(d=16, hidden=16), head=head, training=training), 40, "cpu"),
            rounds=1,
            visits=2,
        )
        for head in ("Softmax", "Softmax (post)", "Softmax + C")
    }
    assert value(tables["Softmax (post)"], "repeats recommended") == 0
    assert value(tables["Softmax + C"], "repeats recommended") < 0.05 < value(tables["Softmax"], "repeats recommended")
    assert value(tables["Softmax + C"], "accuracy") > value(simulate(population, popular, 1, 2), "accuracy")


def test_assumptions_that_are_impossible_are_refused():
    with pytest.raises(ConfigError, match=r"'accept' cannot be 1\.2"):
        Population(accept=1.2)
    with pytest.raises(ConfigError, match="may empty a catalogue of 12 items"):
        Population(items=12, first=12)
