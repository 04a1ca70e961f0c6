"""retrofit against brute force: a softmax over all items in loops, minimised by SciPy without gradients of ours."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad, minimize
from scipy.special import expit, logit, logsumexp

from cprlab.errors import ConfigError, DataError
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import Snapshot
from cprlab.probes.likelihood import FREE, PARTS, Likelihood
from cprlab.probes.retrofit import Retrofit, fit, retrofit


def snapshot(m=60, n=12, d=3, seed=0, bias=True):
    """A random model at work, whose users repeat more than it expects."""
    rng = np.random.default_rng(seed)
    histories = [rng.integers(n, size=rng.integers(1, 8)) for _ in range(m)]
    targets = [rng.choice(history) if rng.random() < 0.6 else rng.integers(n) for history in histories]
    b = rng.normal(size=n) if bias else None
    return Snapshot(rng.normal(size=(n, d)), rng.normal(size=(m, d)), histories, targets, b)


def brute(snap, numbers, matrix, vector):
    """Log-probabilities (m, n) of f_C = (I + matrix + s I) h + vector and b, s, w₁, w₂, item by item."""
    b, s, by_count, by_age = numbers
    rows = []
    for h, history in zip(snap.states, snap.histories, strict=True):
        z = []
        for v, w in enumerate(snap.item_embeddings):
            facet = h
            more = 0.0
            if v in history:
                facet = h + s * h + matrix @ h + vector
                ages = [len(history) - place for place, item in enumerate(history) if item == v]
                more = b + by_count * np.log(1 + len(ages)) + by_age * np.log(sum(age**-0.5 for age in ages))
            z.append(facet @ w + (0 if snap.bias is None else snap.bias[v]) + more)
        rows.append(np.array(z) - logsumexp(z))
    return np.array(rows)


def parts_of(snap, theta):
    """θ as `brute` takes it: A and a in the units of the arrays, root mean squares of their entries."""
    d = snap.states.shape[1]
    if len(theta) == 4:
        return theta, np.zeros((d, d)), np.zeros(d)
    h, w = (np.sqrt((values**2).mean()) for values in (snap.states, snap.item_embeddings))
    return theta[:4], theta[4:-d].reshape(d, d) / (h * w), theta[-d:] / w


@pytest.fixture(params=PARTS)
def part(request):
    return request.param


@pytest.mark.parametrize("bias", [True, False])
def test_the_loss_is_that_of_a_softmax_over_all_items_and_its_gradient_that_of_differences(part, bias):
    snap = snapshot(bias=bias)
    users = np.arange(60) // 2  # two cases a user
    problem = Likelihood(snap, part, users)
    theta = np.where(problem.free, np.random.default_rng(1).normal(size=problem.size), 0)
    everyone = np.ones(len(problem.users), bool)
    scored = brute(snap, *parts_of(snap, theta))
    expected = -scored[np.arange(60), snap.targets].mean()
    assert problem.loss(theta, everyone)[0] == pytest.approx(expected, abs=1e-12)
    wrong = check_grad(
        lambda free: problem.loss(np.where(problem.free, free, 0), everyone)[0],
        lambda free: problem.loss(np.where(problem.free, free, 0), everyone)[1] * problem.free,
        theta,
    )
    assert wrong < 1e-6


def test_the_fit_is_scipys(part):
    """Nelder and Mead's and Powell's kind would be slow in 16 dimensions; BFGS takes its own differences of `brute`."""
    snap, users = snapshot(), np.arange(60)
    problem = Likelihood(snap, part, users)
    ridge = 0.01 if problem.wide else 0.0
    theta = problem.fit(np.ones(60, bool), ridge, np.zeros(problem.size))

    def objective(free):
        full = np.zeros(problem.size)
        full[problem.free] = free
        scored = brute(snap, *parts_of(snap, full))
        return -scored[np.arange(60), snap.targets].mean() + ridge / 2 * full[4:] @ full[4:]

    best = minimize(objective, np.zeros(problem.free.sum()), method="BFGS", options={"gtol": 1e-7})
    assert objective(theta[problem.free]) == pytest.approx(best.fun, abs=1e-6)
    assert objective(np.zeros(problem.free.sum())) > best.fun + 1e-3  # there was something to fit


def test_few_evaluations_reach_the_least_loss_where_directions_differ_a_thousandfold(monkeypatch):
    """Scores are those of states and embeddings of one scale, and the loss is convex: a gradient of 0 is its least."""
    snap, scale = snapshot(m=300, n=30, d=6), np.geomspace(0.03, 30, 6)
    snap = Snapshot(snap.item_embeddings / scale, snap.states * scale, snap.histories, snap.targets, snap.bias)
    problem, everyone, evaluated = Likelihood(snap, "C + F", np.arange(300)), np.ones(300, bool), []
    of_theta = problem.loss

    def counted(theta, chosen):
        evaluated.append(theta)
        return of_theta(theta, chosen)

    monkeypatch.setattr(problem, "loss", counted)
    theta = problem.fit(everyone, 1e-3, np.zeros(problem.size))
    assert len(evaluated) < 60
    gradient = of_theta(theta, everyone)[1]
    gradient[4:] += 1e-3 * theta[4:]
    assert np.abs(gradient).max() < 1e-5
    assert np.abs(of_theta(np.zeros(problem.size), everyone)[1]).max() > 0.1


def test_a_history_that_has_no_probability_and_is_never_the_target_changes_nothing(part):
    """Its loss is flat in all directions, to the last digit."""
    weights = np.eye(4) * np.array([[-1], [1], [1], [1]])
    states = np.array([[900.0, *row] for row in np.random.default_rng(0).normal(size=(20, 3))])
    snap = Snapshot(weights, states, [[0]] * 20, [1 + case % 3 for case in range(20)])
    found = fit(snap, part, np.arange(20))
    assert np.isfinite(found.numbers).all()
    assert np.isfinite(found.matrix).all()
    plain = brute(snap, np.zeros(4), np.zeros((4, 4)), np.zeros(4))
    assert np.abs(found.log_probs(snap.states, snap.histories)[:, 1:] - plain[:, 1:]).max() < 1e-12


def test_one_bias_has_a_closed_form():
    """One item in each history, all scores 0: p(history) = e^b / (e^b + n − 1), fitted to the share of repeats."""
    n, m = 6, 50
    targets = [0] * 20 + [3] * 30
    snap = Snapshot(np.ones((n, 2)), np.zeros((m, 2)), [[0]] * m, targets)
    found = fit(snap, "B", np.arange(m))
    assert found.numbers == pytest.approx([logit(0.4) + np.log(n - 1), 0, 0], abs=1e-5)
    assert np.exp(found.log_probs(np.zeros((1, 2)), [[0]]))[0, 0] == pytest.approx(0.4, abs=1e-5)
    assert expit(found.numbers[0] - np.log(n - 1)) == pytest.approx(0.4, abs=1e-5)


def test_its_log_probabilities_are_those_of_brute_force(part):
    snap = snapshot()
    found = fit(snap, part, np.arange(60))
    b, by_count, by_age = found.numbers
    expected = brute(snap, (b, 0, by_count, by_age), found.matrix - np.eye(3), found.vector)
    assert np.abs(found.log_probs(snap.states, snap.histories) - expected).max() < 1e-12
    free = len(FREE[part]) + (3 * 3 + 3 - 1 if "C" in part else 0)
    assert found.parameters == free


def test_cases_of_one_user_with_one_state_are_one_query():
    """A basket of three items: the same loss, and as many queries as baskets."""
    one = snapshot(m=30)
    again = np.repeat(np.arange(30), 3)
    rng = np.random.default_rng(3)
    many = Snapshot(
        one.item_embeddings,
        one.states[again],
        [one.histories[case] for case in again],
        rng.integers(12, size=90),
        one.bias,
    )
    grouped, apart = Likelihood(many, "C", again), Likelihood(many, "C", np.arange(90))
    assert (len(grouped.users), len(apart.users)) == (30, 90)
    theta = rng.normal(size=grouped.size)
    ours, its = (of.loss(theta, np.ones(len(of.users), bool)) for of in (grouped, apart))
    assert ours[0] == pytest.approx(its[0], abs=1e-12)
    assert np.abs(ours[1] - its[1]).max() < 1e-12


def test_each_user_weighs_the_same():
    """One user with 40 cases that repeat, twelve with one that does not: the bias is negative."""
    n = 5
    snap = Snapshot(np.ones((n, 2)), np.zeros((52, 2)), [[0]] * 52, [0] * 40 + [1] * 12)
    found = fit(snap, "B", np.array([0] * 40 + list(range(1, 13))))
    assert found.numbers[0] == pytest.approx(logit(1 / 13) + np.log(n - 1), abs=1e-5)


@pytest.fixture(scope="module")
def found():
    return retrofit(snapshot(m=200), "F", users=np.arange(200) // 2, seed=1)


class TestTable:
    def test_it_is_judged_on_users_that_were_not_fitted(self, found):
        assert len(found.cases["before"]) == len(found.cases["after"]) == 100
        assert found.table.query("cases == 'all'")["n"].eq(50).all()

    def test_the_difference_is_that_of_the_means(self, found):
        wide = found.table.pivot(index=["cases", "metric"], columns="model", values="value")
        assert set(wide.index.get_level_values("cases")) == {"all", "repeat", "new"}
        assert (wide["after"] - wide["before"] - wide["difference"]).abs().max() < 1e-12
        log_loss = found.cases["after"]["log_loss"].mean()
        assert wide.loc[("all", "log-loss"), "after"] == pytest.approx(log_loss)

    def test_both_sides_are_the_models_own_predictions(self, found):
        snap = snapshot(m=200)
        rows = found.cases["before"]
        plain = brute(snap, np.zeros(4), np.zeros((3, 3)), np.zeros(3))
        losses = {round(-plain[case, target], 6) for case, target in enumerate(snap.targets)}
        assert {round(loss, 6) for loss in rows["log_loss"]} <= losses

    def test_a_validation_snapshot_is_fitted_and_all_others_judged(self):
        fitted, judged = snapshot(m=60), snapshot(m=60)
        found = retrofit(judged, "B", validation=fitted)
        assert found.numbers == pytest.approx(fit(fitted, "B", np.arange(60)).numbers)
        assert len(found.cases["after"]) == 60
        with pytest.raises(DataError, match="another model"):
            retrofit(judged, "B", validation=snapshot(seed=5))


def test_a_facet_that_users_follow_is_found():
    """Targets are drawn from a head with a context facet of its own: C gets near its log-loss, and B does not."""
    rng = np.random.default_rng(0)
    snap = snapshot(m=2000, n=30, d=3, seed=2)
    matrix, vector = 2 * rng.normal(size=(3, 3)), rng.normal(size=3)
    true = brute(snap, (1.0, 0, 0, 0), matrix, vector)
    targets = [rng.choice(30, p=np.exp(row)) for row in true]
    drawn = Snapshot(snap.item_embeddings, snap.states, snap.histories, targets, snap.bias)
    losses = {}
    for part in ("B", "C"):
        found = retrofit(drawn, part, seed=0)
        losses[part] = found.cases["after"]["log_loss"].mean()
        targets_judged = found.cases["after"]["target"].to_numpy()
    judged = [case for case in range(2000) if case in set(found.cases["after"]["case"])]
    truth = -true[judged, targets_judged].mean()
    assert losses["C"] < truth + 0.02
    assert losses["B"] > truth + 0.2


class TestFiles:
    def test_what_is_saved_is_read_back(self, part, tmp_path):
        found = fit(snapshot(), part, np.arange(60))
        found.save(tmp_path / "part.safetensors")
        again = Retrofit.load(tmp_path / "part.safetensors")
        snap = snapshot()
        assert (again.part, again.parameters, again.ridge) == (part, found.parameters, found.ridge)
        assert (again.log_probs(snap.states, snap.histories) == found.log_probs(snap.states, snap.histories)).all()

    def test_what_is_no_retrofit_is_refused(self, tmp_path):
        snapshot().save(tmp_path / "snapshot.safetensors")
        (tmp_path / "text.safetensors").write_text("no arrays")
        for name in ("snapshot.safetensors", "text.safetensors", "nothing.safetensors"):
            with pytest.raises(DataError, match=name):
                Retrofit.load(tmp_path / name)
        with pytest.raises(DataError, match="saved as NAME"):
            fit(snapshot(), "B", np.arange(60)).save(tmp_path / "part.npz")


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(DataError, match="10 users or more"):
        retrofit(snapshot(m=12), "B")
    found = fit(snapshot(), "B", np.arange(60))
    with pytest.raises(DataError, match="shape"):
        found.log_probs(np.ones((2, 3)), [[1]])
    with pytest.raises(DataError, match="codes go from 0"):
        found.log_probs(np.ones((1, 3)), [[99]])


@pytest.mark.parametrize("head", ["Softmax", "Softmax + Mi", "Softmax (projection_bias=False)"])
def test_the_part_becomes_one_of_the_models_own_head(part, head):
    """The recommender scores histories as the retrofit scores their states; untouched, the model scores as before."""
    torch.manual_seed(0)
    model = Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(head), 20, max_len=6).double().eval()
    rng = np.random.default_rng(0)
    histories = [rng.integers(20, size=rng.integers(1, 9)) for _ in range(80)]
    targets = [rng.choice(history[-6:]) if rng.random() < 0.5 else rng.integers(20) for history in histories]
    snap = Snapshot.from_recommender(model, histories, np.array(targets))
    before = model.log_probs(histories)
    found = fit(snap, part, np.arange(80))
    other = found.recommender(model)
    name = {"B": " + B", "F": " + C + F", "C": " + C + B", "C + F": " + C + F"}[part]
    named = head.replace("Softmax", f"Softmax{name}", 1)
    assert other.head.config == parse_head(named if part == "B" else named.removesuffix(" (projection_bias=False)"))
    assert np.abs(other.log_probs(histories) - found.log_probs(snap.states, snap.histories)).max() < 1e-9
    assert np.abs(before - other.log_probs(histories)).max() > 0.01
    assert (model.log_probs(histories) == before).all()
    assert other.encoder is model.encoder
    again = Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(str(other.head.config)), 20, max_len=6).double()
    again.load_state_dict(other.state_dict())
    assert (again.eval().log_probs(histories) == other.log_probs(histories)).all()


def test_a_part_is_not_added_to_another_model_or_head():
    models = [Recommender(GRU4RecConfig(d=8, hidden=8), parse_head(head), 20) for head in ("Softmax", "Softmax + C")]
    snap = Snapshot.from_recommender(models[0], [[item] for item in range(20)], list(range(20)))
    found = fit(snap, "B", np.arange(20))
    with pytest.raises(ConfigError, match="another model"):
        found.recommender(Recommender(GRU4RecConfig(d=8, hidden=8), parse_head("Softmax"), 20))
    with pytest.raises(ConfigError, match=r"Softmax \+ C has other parts"):
        found.recommender(models[1])
