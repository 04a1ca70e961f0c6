"""Scaling: a temperature or a shift of a trained head's predictions, fitted on validation cases."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize
from scipy.special import expit, logit

from cprlab.data.sequences import Sequences
from cprlab.errors import ConfigError
from cprlab.evaluation.cases import evaluate, score_cases
from cprlab.models import Recommender

TEMPERATURES = (0.02, 50.0)
SHIFTS = (-30.0, 30.0)  # nats; beyond, in double precision, the history has all or no probability
TOLERANCE = {"xatol": 1e-3}  # of log T and of the shift; the loss is flat near the optimum


@dataclass(frozen=True)
class Scaling:
    """Divide log-probabilities by a temperature, or add a constant to those of the history's items.

    p(v) becomes proportional to p(v)^(1/T) · e^(shift · [v in the history]). For a single softmax, the temperature is
    temperature scaling of its logits (Guo et al., ICML 2017). For a mixture, it applies to the mixture's prediction,
    not to each softmax.

    Attributes:
        temperature: T; below 1 it sharpens, above 1 it flattens. The order of items does not change.
        shift: in nats; moves probability between the history and the rest, without changing proportions within either.
    """

    temperature: float = 1.0
    shift: float = 0.0

    def __call__(self, scores: torch.Tensor, history: torch.Tensor) -> torch.Tensor:
        """Return the scaled log-probabilities (B, n); history (B, L) has distinct items, padded with n."""
        n_items = scores.shape[1]
        shifts = torch.where(history < n_items, self.shift, 0.0).to(scores.dtype)
        scaled = (scores / self.temperature).scatter_add(1, history.clamp(max=n_items - 1), shifts)
        return scaled - scaled.logsumexp(1, keepdim=True).clamp(min=torch.finfo(scaled.dtype).min)


def fit_temperature(recommender: Recommender, sequences: Sequences) -> Scaling:
    """Fit the temperature with the least mean log-loss on the validation items.

    The loss is convex in 1/T, so it has one minimum. Each step scores all cases again in batches, so memory never holds
    all cases and items.

    Raises:
        ConfigError: the head gives a validation item probability 0, which a temperature cannot change.
    """

    n_cases = len(sequences.windows("validation"))

    def loss(log_temperature: float) -> float:
        scaling = Scaling(temperature=float(np.exp(log_temperature)))
        losses = (
            -scaling(scores, history).gather(1, target).double().sum()
            for _, scores, history, target in score_cases(recommender, sequences, "validation")
        )
        return float(sum(losses)) / n_cases

    if not np.isfinite(loss(0.0)):
        raise ConfigError(
            f"{recommender.head.config} gives a validation item probability 0, which a temperature cannot change; "
            "use a head that keeps the history."
        )
    found = optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options=TOLERANCE)
    return Scaling(temperature=float(np.exp(found.x)))


def fit_shift(recommender: Recommender, sequences: Sequences) -> Scaling:
    """Fit the shift of the history's log-probabilities with the least mean log-loss on the validation items.

    It changes the copy probability P to σ(logit P + shift), and nothing else that the loss depends on. If no validation
    item repeats, or all do, there is no minimum, and an end of `SHIFTS` is returned.
    """
    cases = evaluate(recommender, sequences, "validation")
    repeat = cases["repeat"].to_numpy(bool)
    if repeat.all() or not repeat.any():
        return Scaling(shift=SHIFTS[int(repeat.all())])
    tiny = np.finfo(np.float32).tiny
    odds = logit(cases["copy_probability"].to_numpy(float).clip(tiny, 1 - 1e-7))

    def loss(shift: float) -> float:
        return -np.log(np.where(repeat, expit(odds + shift), expit(-odds - shift))).mean()

    found = optimize.minimize_scalar(loss, bounds=SHIFTS, method="bounded", options=TOLERANCE)
    return Scaling(shift=float(found.x))
