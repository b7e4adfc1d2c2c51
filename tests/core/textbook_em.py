"""Oracles for fits: the MAP objective and textbook EM with exact M-steps, in plain NumPy."""

from dataclasses import dataclass, field

import numpy as np
from core.oracles import by_recursion
from scipy import stats

from glmhmm_core.engine.parameters import Parameters


@dataclass(frozen=True)
class Priors:
    """Priors in the scales that users give."""

    emission_scale: np.ndarray  # (M,)
    concentration: float = 1.0
    stickiness: float = 0.0
    transition_scale: np.ndarray = field(default_factory=lambda: np.ones(0))  # (D,)

    def counts(self, num_states):
        """What the mode adds to the expected transitions, (K, K)."""
        flat = np.full((num_states, num_states), self.concentration - 1)
        return flat + self.stickiness * np.eye(num_states)


def log_prior(params, priors, frozen=None, frozen_transitions=None):
    """Log density of the priors; what has none, and what is frozen (bool), contributes 0."""
    K = len(params.initial_probs)

    def gaussian(weights, scale, held):
        proper = np.isfinite(np.broadcast_to(scale, weights.shape))
        fitted = proper if held is None else proper & ~held
        scale = np.where(np.isfinite(scale), scale, 1.0)
        return stats.norm.logpdf(weights, 0, scale)[fitted].sum()

    total = gaussian(params.emission_weights, priors.emission_scale, frozen)
    if params.transition_weights is not None:
        total += gaussian(params.transition_weights, priors.transition_scale, frozen_transitions)
    counts = priors.counts(K)
    if K > 1 and counts.any():
        for row, more in zip(params.transition_matrix, counts, strict=True):
            total += stats.dirichlet.logpdf(row / row.sum(), 1 + more)
    return float(total)


def objective(params, trials, priors, **frozen):
    """Log-likelihood plus log prior."""
    return by_recursion(params, trials).log_likelihood + log_prior(params, priors, **frozen)


def weights_mode(weights, responsibility, trials, scale):
    """Full Newton: weights (C-1, M) of a softmax GLM with trials counted (n,) times."""
    classes = [c for c in range(trials.num_classes) if c != trials.baseline]
    chosen = (trials.y[:, None] == classes).astype(float)
    precision = np.tile(1 / scale**2, len(classes))
    counted = responsibility * trials.mask
    w = np.asarray(weights, float).copy()

    def value(w):
        logits = np.column_stack([np.zeros(len(trials.y)), trials.X @ w.T])
        log_z = np.logaddexp.reduce(logits, 1)
        fit = counted @ ((chosen * logits[:, 1:]).sum(1) - log_z)
        return fit - 0.5 * precision @ w.ravel() ** 2, np.exp(logits[:, 1:] - log_z[:, None])

    now, p = value(w)
    for _ in range(200):
        gradient = (counted[:, None] * (chosen - p)).T @ trials.X - (precision * w.ravel()).reshape(
            w.shape
        )
        spread = np.einsum("ta,ab->tab", p, np.eye(len(classes))) - p[:, :, None] * p[:, None]
        hessian = np.einsum("t,tab,tm,tn->ambn", counted, spread, trials.X, trials.X)
        hessian = hessian.reshape(w.size, w.size) + np.diag(precision)
        step = np.linalg.solve(hessian, gradient.ravel()).reshape(w.shape)
        length = 1.0
        while value(w + length * step)[0] < now - 1e-12 * abs(now):
            length /= 2
        w = w + length * step
        now, p = value(w)
        if np.abs(step).max() < 1e-12:
            break
    return w


def textbook_em(start, trials, priors, tol=1e-9):
    """EM with exact M-steps for a constant chain: parameters, and the objective at each iterate.

    It ends when no parameter moves by more than ``tol``: rounding hides the last gains.
    """
    params, trace = start, []
    K = len(start.initial_probs)
    for _ in range(5000):
        e = by_recursion(params, trials)
        trace.append(e.log_likelihood + log_prior(params, priors))
        counts = e.transitions.sum(0) + priors.counts(K)
        modes = [
            weights_mode(w, e.smoothed[:, k], trials, priors.emission_scale)
            for k, w in enumerate(params.emission_weights)
        ]
        before, params = (
            params,
            Parameters(
                e.initial / e.initial.sum(),
                counts / counts.sum(1, keepdims=True) if K > 1 else np.ones((1, 1)),
                np.stack(modes),
            ),
        )
        if max(np.abs(a - b).max() for a, b in zip(params[:3], before[:3], strict=True)) < tol:
            break
    return params, np.array(trace)
