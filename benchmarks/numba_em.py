"""The floor: plain EM for two choices in a short numba program.

One pass forward and one backward through every session, fused with the statistics of the
M-step, on messages that stay in the nearest cache. Numbers of states and regressors are
constants of the compiled program. It knows nothing of missing transitions, folds or more
choices than two, and holds no lock, so that threads can run one fit each.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit


class FloorFit(NamedTuple):
    """Where EM ended: parameters (K,), (K, K), (K, M), MAP objective, and E-steps made."""

    initial: np.ndarray
    transition: np.ndarray
    weights: np.ndarray
    objective: float
    e_steps: int


@lru_cache
def e_step_program(num_states: int, num_features: int) -> Any:
    """Compile the E-step of one size.

    Returns
    -------
    function of (X, y, bounds, initial, transition, weights, gamma)
        ``y`` is 0, 1 or negative where no choice was made, ``bounds`` (S + 1,) where sessions
        begin. Gives the log-likelihood, expected counts of initial states (K,) and transitions
        (K, K), gradient (K, M) and information (K, M, M) of the weights, and writes the
        responsibilities into ``gamma`` (T, K), or not if that has no rows.
    """
    K, M = num_states, num_features

    @njit(nogil=True, fastmath=True, error_model="numpy")
    def e_step(
        X: np.ndarray,
        y: np.ndarray,
        bounds: np.ndarray,
        initial: np.ndarray,
        transition: np.ndarray,
        weights: np.ndarray,
        gamma: np.ndarray,
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        longest = np.max(bounds[1:] - bounds[:-1])
        alpha, prob = np.empty((longest, K)), np.empty((longest, K))
        lik, scale = np.empty((longest, K)), np.empty(longest)
        ahead, beta, ratio = np.empty(K), np.empty(K), np.empty(K)
        first, xi = np.zeros(K), np.zeros((K, K))
        gradient, packed = np.zeros((K, M)), np.zeros((K, M * (M + 1) // 2))
        log_likelihood, keep = 0.0, len(gamma) > 0
        for s in range(len(bounds) - 1):
            begin, length = bounds[s], bounds[s + 1] - bounds[s]
            for k in range(K):
                ahead[k] = initial[k]
            product = 1.0
            for t in range(length):
                row = begin + t
                total = 0.0
                for k in range(K):
                    logit = 0.0
                    for m in range(M):
                        logit += weights[k, m] * X[row, m]
                    p = 1.0 / (1.0 + math.exp(-logit))
                    prob[t, k] = p
                    likelihood = p if y[row] == 1 else (1.0 - p if y[row] == 0 else 1.0)
                    lik[t, k] = likelihood
                    joint = ahead[k] * likelihood
                    alpha[t, k] = joint
                    total += joint
                inverse = 1.0 / total
                scale[t] = inverse
                product *= total
                if product < 1e-200:  # a logarithm now and then, not at every trial
                    log_likelihood += math.log(product)
                    product = 1.0
                for k in range(K):
                    alpha[t, k] *= inverse
                for j in range(K):
                    total = 0.0
                    for i in range(K):
                        total += alpha[t, i] * transition[i, j]
                    ahead[j] = total
            log_likelihood += math.log(product)
            for k in range(K):
                beta[k] = 1.0
            for t in range(length - 1, -1, -1):
                row = begin + t
                seen = y[row] >= 0
                for k in range(K):
                    posterior = alpha[t, k] * beta[k]
                    if seen:
                        p = prob[t, k]
                        residual, variance = posterior * (y[row] - p), posterior * p * (1.0 - p)
                        i = 0
                        for m in range(M):
                            x = X[row, m]
                            gradient[k, m] += residual * x
                            scaled = variance * x
                            for n in range(m, M):
                                packed[k, i] += scaled * X[row, n]
                                i += 1
                    if keep:
                        gamma[row, k] = posterior if seen else 0.0
                    ratio[k] = lik[t, k] * beta[k] * scale[t]
                if t > 0:
                    for i in range(K):
                        total = 0.0
                        for j in range(K):
                            xi[i, j] += alpha[t - 1, i] * ratio[j]
                            total += transition[i, j] * ratio[j]
                        beta[i] = total
                else:
                    for k in range(K):
                        first[k] += alpha[0, k] * beta[k]
        information = np.empty((K, M, M))
        for k in range(K):
            i = 0
            for m in range(M):
                for n in range(m, M):
                    information[k, m, n] = information[k, n, m] = packed[k, i]
                    i += 1
        return log_likelihood, first, xi * transition, gradient, information

    return e_step


@njit(nogil=True, fastmath=True, error_model="numpy")
def _newton(
    X: np.ndarray,
    y: np.ndarray,
    gamma: np.ndarray,
    weights: np.ndarray,
    precision: np.ndarray,
    gradient: np.ndarray,
    information: np.ndarray,
    inner: int,
) -> np.ndarray:
    """Up to ``inner`` Newton steps of the M-step; the first on the E-step's own statistics."""
    K, M = weights.shape
    weights = weights.copy()
    for step in range(inner):
        if step > 0:
            gradient, information = np.zeros((K, M)), np.zeros((K, M, M))
            for t in range(len(y)):
                for k in range(K):
                    logit = 0.0
                    for m in range(M):
                        logit += weights[k, m] * X[t, m]
                    p = 1.0 / (1.0 + math.exp(-logit))
                    residual, variance = gamma[t, k] * (y[t] - p), gamma[t, k] * p * (1.0 - p)
                    for m in range(M):
                        gradient[k, m] += residual * X[t, m]
                        for n in range(M):
                            information[k, m, n] += variance * X[t, m] * X[t, n]
        longest = 0.0
        for k in range(K):
            damped = information[k] + np.diag(precision + 1e-12)
            moved = np.linalg.solve(damped, gradient[k] - precision * weights[k])
            weights[k] += moved
            longest = max(longest, np.max(np.abs(moved)))
        if longest < 1e-8:
            break
    return weights


@lru_cache
def em_program(num_states: int, num_features: int) -> Any:
    """Compile plain EM of one size: see :func:`run_em` for its arguments."""
    e_step = e_step_program(num_states, num_features)

    @njit(nogil=True)
    def em(
        X: np.ndarray,
        y: np.ndarray,
        bounds: np.ndarray,
        initial: np.ndarray,
        transition: np.ndarray,
        weights: np.ndarray,
        precision: np.ndarray,
        counts: np.ndarray,
        constant: float,
        target: float,
        least_gain: float,
        max_e_steps: int,
        inner: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
        gamma = np.empty((len(y) if inner > 1 else 0, len(initial)))
        best, damping = -np.inf, 1.0
        before, proposed = weights, weights
        made = 0
        while made < max_e_steps:
            log_likelihood, first, xi, gradient, information = e_step(
                X, y, bounds, initial, transition, weights, gamma
            )
            made += 1
            objective = log_likelihood + constant - 0.5 * np.sum(precision * weights**2)
            objective += np.sum(counts * np.log(np.maximum(transition, 1e-300)))
            gain = objective - best
            if gain < -1e-12 * abs(best) and damping > 1e-3:  # a Newton step went too far
                damping /= 2
                weights = before + damping * (proposed - before)
                continue
            best, damping = max(objective, best), 1.0
            if objective >= target or gain < least_gain:
                break
            initial = first / np.sum(first)
            transition = xi + counts
            for i in range(len(initial)):
                transition[i] /= np.sum(transition[i])
            before = weights
            proposed = _newton(X, y, gamma, weights, precision, gradient, information, inner)
            weights = proposed
        return initial, transition, weights, best, made

    return em


def run_em(
    X: np.ndarray,
    y: np.ndarray,
    bounds: np.ndarray,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    precision: np.ndarray,
    counts: np.ndarray,
    constant: float = 0.0,
    target: float = np.inf,
    least_gain: float = 0.0,
    max_e_steps: int = 2000,
    inner: int = 1,
) -> FloorFit:
    """Climb by plain EM.

    Parameters
    ----------
    X, y, bounds
        See :func:`e_step_program`.
    start
        Initial probabilities (K,), transitions (K, K), weights (K, M).
    precision, counts, constant
        1 / variance of the prior on each weight (M,), Dirichlet concentrations less one (K, K),
        and what else belongs to the log prior, so that objectives compare.
    target, least_gain
        It ends where the objective reaches ``target``, or gains less than ``least_gain`` nats.
    max_e_steps
        E-steps after which it is given up.
    inner
        Newton steps of an M-step: 1, or up to so many until the weights rest.
    """
    program = em_program(len(start[0]), X.shape[1])
    return FloorFit(
        *program(
            X,
            y,
            bounds,
            *(np.ascontiguousarray(part) for part in start),
            precision,
            counts,
            constant,
            target,
            least_gain,
            max_e_steps,
            inner,
        )
    )
