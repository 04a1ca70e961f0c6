"""Shared by the tests of the explorer: one browser for all tests of a file."""

import pytest

from tests.browser import open_browser


@pytest.fixture(scope="module")  # no longer: a test of another file may run an event loop, or a browser of its own
def browser():
    with open_browser() as browser:
        yield browser
