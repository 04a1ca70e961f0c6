"""Shared by all tests: small logs, small models, one thread a worker, and Triton without a GPU."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ["TRITON_INTERPRET"] = "1"  # before cprlab imports it: kernels run on the CPU, statement by statement

from cprlab.data import InteractionLog, Sequences

settings.register_profile(
    "cprlab", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # busy machines
settings.load_profile("cprlab")
torch.set_num_threads(1)  # the tests run in parallel; two threads each would only wait for one another


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the notebooks, which take longest by far: whoever starts with them last keeps the others waiting."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


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
