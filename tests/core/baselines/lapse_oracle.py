"""Lapse GLMs from their formulas, a trial at a time, in plain NumPy."""

import numpy as np


def previous_of(y, session_ids):
    """Last choice made before each trial in its session; None where there is none."""
    last, found = {}, []
    for choice, session in zip(y, session_ids, strict=True):
        found.append(last.get(session))
        if choice >= 0:
            last[session] = choice
    return found


def softmax(weights, X, baseline):
    odds = np.exp(np.insert(X @ weights.T, baseline, 0.0, axis=1))
    return odds / odds.sum(axis=1, keepdims=True)


def probs_of(weights, rates, kind, X, previous, baseline=0):
    """P(y_t = c), (T, C)."""
    C = len(weights) + 1
    p = softmax(weights, X, baseline)
    if kind == "class_1":
        return rates[0] + (1 - C * rates[0]) * p
    if kind == "class":
        return np.array(rates) + (1 - sum(rates)) * p
    for t, before in enumerate(previous if kind.startswith("history") else ()):
        if before is not None:
            r, a = rates if kind == "history" else rates[2 * before : 2 * before + 2]
            p[t] = (1 - r - a) * p[t] + a / (C - 1)
            p[t, before] += r - a / (C - 1)
    return p


def objective(weights, rates, kind, X, y, session_ids, scale, baseline=0):
    """Log-likelihood plus the Gaussian log density of the weights, nats."""
    probs = probs_of(weights, rates, kind, X, previous_of(y, session_ids), baseline)
    made = y >= 0
    prior = -0.5 * (weights / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
    return np.log(probs[made, y[made]]).sum() + prior.sum()
