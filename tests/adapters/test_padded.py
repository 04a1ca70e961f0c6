"""A log as RecBole reads it: every target is a sample, padded with 0, and RecBole's model reads it in training."""

import numpy as np
import pytest
import torch

from cprlab.adapters.padded import Padded
from cprlab.adapters.recbole import Reference
from cprlab.models import GRU4RecConfig, SASRecConfig, parse_head


@pytest.mark.parametrize("at_end", [True, False])
def test_every_training_target_is_a_sample_of_its_own(sequences, at_end):
    log = Padded.of(sequences, at_end)
    windows = log.windows("train")
    batch = log.batch(windows, np.arange(len(windows)))
    row = 0
    for start, stop in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        items = [item + 1 for item in sequences.items[start:stop].tolist()]
        for place in range(1, len(items) - 2):
            history = items[max(0, place - log.max_len) : place]
            assert batch.items[row].tolist() == history + [0] * (log.max_len - len(history))
            assert batch.targets[row].tolist() == [items[place]]
            assert batch.at[row].tolist() == [log.max_len - 1 if at_end else len(history) - 1]
            row += 1
    assert row == len(windows)
    assert log.n_items == sequences.n_items + 1
    assert log.titles[1:].tolist() == sequences.titles.tolist()
    assert Padded.of(sequences, not at_end).fingerprint != log.fingerprint != sequences.fingerprint


@pytest.mark.parametrize("encoder", [GRU4RecConfig(d=8, hidden=8), SASRecConfig(d=8, inner=8)])
@pytest.mark.parametrize("at_end", [True, False])
def test_the_batch_is_what_the_reference_makes_of_a_history(sequences, encoder, at_end):
    torch.manual_seed(0)
    log, head = Padded.of(sequences, at_end), parse_head("Softmax + CPR:5 + Mi")
    model = Reference(encoder, head, log.n_items, max_len=log.max_len, at_end=at_end, rerank=(5,)).double().eval()
    windows = log.windows("test")
    batch = log.batch(windows, np.arange(log.n_users))
    with torch.no_grad():
        scores = model.score(batch.items, batch.at)[:, 0].numpy()
    histories = [log.items[start:stop].tolist() for start, stop in zip(windows.start, windows.stop, strict=True)]
    np.testing.assert_allclose(scores, model.log_probs(histories), rtol=0, atol=1e-12)
