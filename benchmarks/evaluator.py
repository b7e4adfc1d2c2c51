"""One evaluator for all contenders: the log-likelihood in plain NumPy, float64.

Numpy alone, so that it also runs in the environments of other packages.
"""

from typing import NamedTuple

import numpy as np


class Model(NamedTuple):
    """Parameters of a model of two choices, or of a stack of them along a first axis.

    Attributes
    ----------
    initial : float64 (..., K)
        P(z_1).
    transition : float64 (..., K, K)
        P(z_t | z_{t-1}), rows by the state left.
    weights : float64 (..., K, M)
        Log-odds of choice 1 per unit of each regressor.
    """

    initial: np.ndarray
    transition: np.ndarray
    weights: np.ndarray


def log_likelihoods(models: Model, X: np.ndarray, y: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Log-likelihood of every model of a stack, nats: float64 (P,).

    Parameters
    ----------
    models
        Arrays (P, K), (P, K, K), (P, K, M).
    X, y : (T, M), (T,)
        Regressors, and choices 0 or 1; negative where none was made.
    bounds : int (S + 1,)
        First trial of every session, and the end.
    """
    lengths = np.diff(bounds)
    order = np.argsort(-lengths, kind="stable")  # sessions that go on come first
    begin = bounds[:-1][order]
    weights = models.weights.astype(np.float64)
    transition = models.transition.astype(np.float64)
    total = np.zeros(len(weights))
    ahead = np.repeat(models.initial.astype(np.float64)[:, None], len(begin), 1)
    ahead /= ahead.sum(-1, keepdims=True)
    transition = transition / transition.sum(-1, keepdims=True)
    for t in range(int(lengths.max())):
        rows = begin[: int((lengths > t).sum())] + t
        sign = np.where(y[rows] > 0, 1.0, -1.0) * (y[rows] >= 0)
        logit = np.einsum("pkm,sm->psk", weights, X[rows])
        # Of a trial without a choice the sign is 0, and every state gives the same 1/2.
        joint = ahead[:, : len(rows)] * np.exp(-np.logaddexp(0.0, -sign[:, None] * logit))
        scale = joint.sum(-1)
        total += (np.log(scale) + np.where(y[rows] >= 0, 0.0, np.log(2.0))).sum(-1)
        ahead = (joint / scale[..., None]) @ transition
    return total


def stack(models: list[Model]) -> Model:
    """Models of one shape along a first axis."""
    return Model(*(np.stack(part) for part in zip(*models, strict=True)))
