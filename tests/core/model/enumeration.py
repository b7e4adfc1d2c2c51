"""An oracle for tiny cases: every path of states written out, in NumPy alone."""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from glmhmm_core.engine.parameters import Parameters


class Enumerated(NamedTuple):
    log_likelihood: float
    smoothed: np.ndarray  # (T, K)
    transitions: np.ndarray  # (K, K), expected number of each
    best_path: tuple[int, ...]
    filtered: np.ndarray  # (T, K)
    predicted: np.ndarray  # (T, K)


def draw_case(K, C, T, M=2, *, seed=0, missing=True):
    """Parameters, regressors (T, M) and choices (T,), some of them missing."""
    rng = np.random.default_rng((seed, K, C, T))
    params = Parameters(
        rng.dirichlet(np.ones(K)),
        rng.dirichlet(np.ones(K), size=K),
        rng.normal(size=(K, C - 1, M)) * 2,
    )
    X, y = rng.normal(size=(T, M)), rng.integers(0, C, T)
    if missing:
        y[rng.random(T) < 0.3] = -1
    return params, X, y


def class_log_probs(weights, X, baseline):
    """log P(y = c | z = k, x_t) as (T, K, C)."""
    logits = np.einsum("kcm,tm->tkc", weights, X)
    logits = np.insert(logits, baseline, 0.0, axis=2)
    return logits - logsumexp(logits, axis=2, keepdims=True)


def matrices_of(params, U):
    """Transitions into every trial, (T, K, K), from the log-odds of leaving over staying."""
    K = len(params.initial_probs)
    found = np.empty((len(U), K, K))
    for t, u in enumerate(U):
        for i in range(K):
            odds = params.transition_matrix[i] / params.transition_matrix[i, i]
            others = [j for j in range(K) if j != i]
            odds[others] *= np.exp(params.transition_weights[i] @ u)
            found[t, i] = odds / odds.sum()
    return found


def _path_log_probs(params, X, y, baseline, U):
    K, T = len(params.initial_probs), len(y)
    matrices = np.broadcast_to(params.transition_matrix, (T, K, K))
    if U is not None:
        matrices = matrices_of(params, U)
    by_class = class_log_probs(params.emission_weights, X, baseline)
    paths = np.array(list(product(range(K), repeat=T)))
    log_p = np.log(params.initial_probs)[paths[:, 0]]
    for t in range(T):
        if t > 0:
            log_p = log_p + np.log(matrices[t])[paths[:, t - 1], paths[:, t]]
        if y[t] >= 0:
            log_p = log_p + by_class[t, paths[:, t], y[t]]
    return paths, log_p


def _marginals(paths, log_p, K):
    p = np.exp(log_p - logsumexp(log_p))
    return np.stack([[p[paths[:, t] == k].sum() for k in range(K)] for t in range(paths.shape[1])])


def enumerate_paths(params, X, y, baseline=0, U=None) -> Enumerated:
    K, T = len(params.initial_probs), len(y)
    paths, log_p = _path_log_probs(params, X, y, baseline, U)
    p = np.exp(log_p - logsumexp(log_p))
    transitions = np.zeros((K, K))
    for path, weight in zip(paths, p, strict=True):
        np.add.at(transitions, (path[:-1], path[1:]), weight)
    filtered, predicted = np.empty((T, K)), np.empty((T, K))
    for t in range(T):
        known = y[: t + 1].copy()
        filtered[t] = _marginals(*_path_log_probs(params, X[: t + 1], known, baseline, U), K)[-1]
        known[-1] = -1
        predicted[t] = _marginals(*_path_log_probs(params, X[: t + 1], known, baseline, U), K)[-1]
    return Enumerated(
        float(logsumexp(log_p)),
        _marginals(paths, log_p, K),
        transitions,
        tuple(int(z) for z in paths[log_p.argmax()]),
        filtered,
        predicted,
    )
