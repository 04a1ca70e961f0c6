"""Shared by the tests of the explorer: small untrained models to look at."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from cprlab.evaluation import evaluate
from cprlab.explorer import App, Explorer
from cprlab.models import GRU4RecConfig, Recommender, parse_head
from cprlab.probes import HeldOut, Snapshot, copy_probability
from cprlab.subjects import Subject
from cprlab.training.counting import fit_counting

HISTORY = (3, 3, 7, 1, 7)  # of the tests that edit one


@pytest.fixture(scope="session")
def subject(sequences):
    """Give a model with random weights in double precision, on the test cases of the small log."""

    @cache
    def build(head="Softmax", d=6, seed=0, name=""):
        torch.manual_seed(seed)
        sizes = GRU4RecConfig(d=d, hidden=8)
        recommender = Recommender(sizes, parse_head(head), sequences.n_items, max_len=sequences.max_len).double()
        with torch.no_grad():
            for weight in recommender.parameters():
                weight.normal_(std=0.7)
        recommender.eval()
        snapshot = Snapshot.from_sequences(recommender, sequences, facet="V")
        cases = evaluate(recommender, sequences)
        ids = sequences.user_ids[sequences.windows("test").user]
        return Subject(name or f"{head}, seed {seed}", snapshot, cases, False, recommender, user_ids=ids)

    return build


@pytest.fixture(scope="session")
def foreign(subject):
    """Give a Snapshot without an encoder, of the same cases, with random states and, if asked, biases."""

    @cache
    def build(bias=True, dtype="float64", name="foreign"):
        rng, known = np.random.default_rng(2), subject().snapshot
        snapshot = replace(
            known,
            item_embeddings=rng.normal(size=(known.n_items, 6)),
            states=rng.normal(size=(len(known), 6)).astype(dtype),
            bias=rng.normal(size=known.n_items) if bias else None,
        )
        return Subject(name, snapshot, copy_probability(snapshot), False)

    return build


@pytest.fixture(scope="session")
def counting(sequences):
    """Give a rival that counts, on the same cases."""

    @cache
    def build(head):
        recommender = Recommender(
            GRU4RecConfig(), parse_head(head), sequences.n_items, max_len=sequences.max_len
        ).double()
        fit_counting(recommender, sequences)
        ids = sequences.user_ids[sequences.windows("test").user]
        cases = evaluate(recommender, sequences)
        return Subject(head, HeldOut.of_log(sequences), cases, True, recommender, user_ids=ids)

    return build


@pytest.fixture
def app(subject):
    return App(Explorer([subject(), subject("Softmax + CPR:5,10 + Mi")], data="random"))


def moved(app, place=0, **changes):
    settings = list(app.state.settings)
    settings[place] = settings[place].but(**changes)
    return {"settings": settings}


def log_probs(app, history=HISTORY):
    return [model.recommender.log_probs([list(history)])[0] for model in app.shown.models]
