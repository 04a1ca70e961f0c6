"""Shared by all tests: which are slow, a small log, one thread a worker, a browser, and Triton without a GPU."""

import os
import subprocess
from multiprocessing.process import BaseProcess

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ["TRITON_INTERPRET"] = "1"  # before cprlab imports it: kernels run on the CPU, statement by statement

from cprlab.data import InteractionLog, Sequences
from tests.browser import CHROMIUM, open_browser

settings.register_profile(
    "cprlab", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # busy machines
settings.load_profile("cprlab")
torch.set_num_threads(1)  # the tests run in parallel; two threads each would only wait for one another


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark what asks for `slow`, itself or by a fixture; begin with the notebooks, so that nobody waits for them."""
    for item in items:
        if "slow" in item.fixturenames:
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Let no test start a process that is not marked as slow: `make check` is to stay quick."""
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("slow"):
            for starter, name in ((subprocess.Popen, "__init__"), (BaseProcess, "start")):
                patch.setattr(starter, name, lambda *_, **__: pytest.fail("It starts a process: mark it as slow."))
        return (yield)


def random_log(users: int = 30, items: int = 40, longest: int = 60, seed: int = 0) -> InteractionLog:
    """A log with repeats: each user draws from a dozen favourites."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        favourites = rng.choice(items, 12, replace=False)
        rows += [(f"u{user}", int(item)) for item in rng.choice(favourites, rng.integers(5, longest))]
    return InteractionLog.from_frame(pd.DataFrame(rows, columns=["user_id", "item_id"]), "random")


@pytest.fixture(scope="session")
def sequences() -> Sequences:
    return Sequences.from_log(random_log(), max_len=20)


@pytest.fixture(scope="session")
def slow():
    """Be asked for by fixtures that start a process."""


@pytest.fixture(scope="session")
def chromium(slow):
    """See that the machine has a Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")


@pytest.fixture(scope="module")  # no longer: a test of another file may run an event loop, or a browser of its own
def browser(chromium):
    """Give a headless Chromium."""
    with open_browser() as browser:
        yield browser
