"""The neighbourhood that a page computes, under Node, against scikit-learn's and against a decomposition of its own."""

import json

import numpy as np
import pytest

from cprlab.explorer.maps import local
from tests.explorer import fake
from tests.explorer.test_modules import node

pytestmark = pytest.mark.slow
ASK = """
import {{ readFileSync }} from "node:fs";
import {{ neighbourhood }} from "{module}";
const {{ weights, d, history }} = JSON.parse(readFileSync("{given}", "utf8"));
const found = neighbourhood(Float32Array.from(weights.flat()), d, history);
console.log(JSON.stringify({{ ...found, places: [...found.places], mean: [...found.mean],
  axes: found.axes.map((axis) => [...axis]) }}));
"""


def spread(*deviations):
    return np.random.default_rng(8).normal(size=(400, len(deviations))) * deviations


def alike():
    """Axes of which the first two vary almost the same, in any direction."""
    axes, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(64, 64)))
    return spread(3, 2.99, 2.98, *[1] * 61) @ axes


SITUATIONS = {
    "many axes": (spread(*np.linspace(2, 0.2, 64)), [3, 17, 17, 40]),
    "almost alike": (alike(), list(range(0, 100, 2))),
    "two axes": (spread(2, 1), [5]),
    "few items": (spread(*[1] * 64)[:4], [1, 2]),
    "the same item twice": (np.repeat(spread(2, 1, 1), 2, axis=0), [7, 8, 8]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for name in ("base.js", "neighbourhood.js"):
        (folder / name).write_text((fake.STATIC / name).read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_page_finds_the_same_neighbourhood(folder, situation):
    weights, history = SITUATIONS[situation]
    weights = weights.astype(np.float32)
    given = {"weights": weights.tolist(), "d": weights.shape[1], "history": history}
    (folder / "given.json").write_text(json.dumps(given))
    said = node(
        "--input-type=module", "-e", ASK.format(module=folder / "neighbourhood.js", given=folder / "given.json")
    )
    assert said.stderr == ""
    found = json.loads(said.stdout)
    places = np.array(found["places"], dtype=float).reshape(-1, 2)  # JSON has null for NaN
    plane = local(weights, history)
    np.testing.assert_array_equal(np.isnan(places), np.isnan(plane.points))
    np.testing.assert_allclose(places, plane.points, atol=1e-5)
    np.testing.assert_allclose(found["mean"], plane.linear.mean_, atol=1e-5)
    np.testing.assert_allclose(found["axes"], plane.linear.components_, atol=1e-5)
    assert found["note"] == plane.note
    inside = weights[~np.isnan(places[:, 0])].astype(float)
    _, _, axes = np.linalg.svd(inside - inside.mean(0), full_matrices=False)
    assert np.abs(np.diag(np.array(found["axes"]) @ axes[:2].T)) == pytest.approx(1, abs=1e-9)
