import pandas as pd

from cprlab.studies.words import gain_in_words

GAIN = {"value": 0.02, "low": 0.01, "high": 0.03, "verdict": "better"}


def said(**changes):
    return gain_in_words(next(pd.DataFrame([GAIN | changes]).itertuples()))


def test_a_gain_is_said_with_its_interval_and_its_verdict():
    assert said() == "+0.0200 [+0.0100, +0.0300], better"
    assert said(low=-0.01234, verdict="no difference shown") == "+0.0200 [-0.0123, +0.0300], no difference shown"


def test_nothing_is_neither_below_nor_above_zero():
    assert said(value=-1e-5, low=-0.0).startswith("+0.0000 [+0.0000, +0.0300]")
