"""Which optimum a subject gets: the population's, unless its own predicts held-out choices better.

Only where the climb from the population's fit did not converge, and an own one that did is higher,
it is the own one whatever the folds say: where that climb stands is no optimum.

A subject's own best restart can be a few nats higher in sample with other states, and no better
held out (measured on real mice); states that mean the same in every subject are worth more.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from glmhmm_core.fitting.result import FitResult, OwnOptimum

#: Held-out bits per trial below which two ends of climbs are the same optimum, but for rounding.
LEAST_GAIN = 1e-5


def choose_optimum(own: FitResult, population: FitResult) -> FitResult:
    """Choose between the best own restart and the start from the population's fit.

    Parameters
    ----------
    own, population
        Fits of one model to the same data with the same folds, or without any.

    Returns
    -------
    FitResult
        ``population``, or ``own`` if its held-out gain is more than one standard error over
        folds, or it converged, ``population`` did not, and it is higher; with ``own_optimum``
        set.
    """
    gain, error = heldout_gain(own.cv_metrics, population.cv_metrics)
    better = gain is not None and error is not None and gain > max(error, LEAST_GAIN)
    lower = population.objective_log_probability < own.objective_log_probability
    chosen = better or (lower and own.converged and not population.converged)
    told = OwnOptimum(
        chosen=chosen,
        objective_gain=own.objective_log_probability - population.objective_log_probability,
        heldout_gain=gain,
        heldout_gain_se=error,
        state_agreement=_agreement(own, population),
    )
    return replace(own if chosen else population, own_optimum=told)


class Fold(Protocol):
    """A fold's held-out score, of a GLM-HMM or of any other model."""

    @property
    def test_bits_per_trial(self) -> float:
        """Held-out bits per trial."""

    @property
    def test_trial_count(self) -> int:
        """Held-out trials with a choice."""


def heldout_gain(own: Sequence[Fold], other: Sequence[Fold]) -> tuple[float | None, float | None]:
    """Held-out gain of one model over another, paired by fold.

    Parameters
    ----------
    own, other
        Folds of both with the same held-out sessions, in one order.

    Returns
    -------
    gain, error
        Bits per trial: mean weighted by trials, and the standard error of the folds' gains; both
        None with fewer than two folds that have a choice.
    """
    pairs = [
        (mine.test_bits_per_trial - theirs.test_bits_per_trial, mine.test_trial_count)
        for mine, theirs in zip(own, other, strict=True)
        if mine.test_trial_count
    ]
    if len(pairs) < 2:
        return None, None
    gains, trials = np.array(pairs).T
    mean = float(np.average(gains, weights=trials))
    return mean, float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


def _agreement(own: FitResult, population: FitResult) -> float:
    """Share of trials in the same most probable state, under the best matching of states."""
    k = own.num_states
    pairs = own.smoothed_state_probs.argmax(1) * k + population.smoothed_state_probs.argmax(1)
    together = np.bincount(pairs, minlength=k * k).reshape(k, k)
    return float(together[linear_sum_assignment(-together)].sum() / together.sum())
