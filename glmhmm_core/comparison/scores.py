"""Scores of a fitted model: bits per trial, information criteria, agreement of restarts."""

import math

import numpy as np

from glmhmm_core.fitting.optimum import heldout_gain
from glmhmm_core.fitting.result import FitResult

#: Restarts within so many nats per 1,000 choices of the best have reached the same optimum.
SAME_OPTIMUM = 1e-3


def model_name(fit: FitResult) -> str:
    """Which model it is, as tables and MLflow say it: "glm", "glmhmm", or "glmhmm_t".

    "hierarchical" is either under priors that were learned from a population.
    """
    if fit.specification.population is not None:
        return "hierarchical"
    if fit.num_states == 1:
        return "glm"
    return "glmhmm_t" if fit.transition_names else "glmhmm"


def num_parameters(fit: FitResult) -> int:
    """Free parameters: initial law, transitions, and weights that are not frozen."""
    return fit.specification.num_parameters(fit.num_states)


def aic(fit: FitResult) -> float:
    """Akaike's information criterion, nats times two; lower is better."""
    return 2 * num_parameters(fit) - 2 * fit.raw_log_likelihood


def bic(fit: FitResult) -> float:
    """Schwarz's information criterion over the trials with a choice; lower is better."""
    return num_parameters(fit) * math.log(fit.num_choices) - 2 * fit.raw_log_likelihood


def bits_per_trial(fit: FitResult) -> float:
    """In-sample log-likelihood over that of the choices' own frequencies, bits per trial."""
    y = fit.y[fit.mask]
    frequencies = np.bincount(y, minlength=fit.num_classes) / len(y)
    base = float(np.log(frequencies[y]).mean())
    return (fit.log_likelihood_per_trial - base) / math.log(2)


def heldout_bits_per_trial(fit: FitResult) -> float | None:
    """Held-out information over the training frequencies, weighted by trials; None without folds.

    (LL_test - LL_0) / (n_test ln 2) over all folds together (Ashwood et al. 2022, Methods), with
    half a count added to each class in the training frequencies.
    """
    folds = [fold for fold in fit.cv_metrics if fold.test_trial_count]
    if not folds:
        return None
    trials = [fold.test_trial_count for fold in folds]
    return float(np.average([fold.test_bits_per_trial for fold in folds], weights=trials))


def heldout_accuracy(fit: FitResult) -> float | None:
    """Share of held-out choices predicted one step ahead; None without folds."""
    folds = [fold for fold in fit.cv_metrics if fold.test_trial_count]
    if not folds:
        return None
    trials = [fold.test_trial_count for fold in folds]
    return float(np.average([fold.test_accuracy for fold in folds], weights=trials))


def restarts_at_best(fit: FitResult) -> int:
    """How many restarts reached the best one's objective, within 1e-3 nats per 1,000 choices."""
    margin = SAME_OPTIMUM * max(fit.num_choices, 1000) / 1000
    return int((fit.restart_objectives >= fit.restart_objectives.max() - margin).sum())


def gain_over(fit: FitResult, ordinary: FitResult | None) -> tuple[float | None, float | None]:
    """Held-out bits per trial of a fit over another on the same folds, and the standard error.

    None where folds are not the same, or there is nothing to compare with.
    """
    if ordinary is None or [f.test_session_ids for f in fit.cv_metrics] != [
        f.test_session_ids for f in ordinary.cv_metrics
    ]:
        return None, None
    return heldout_gain(fit.cv_metrics, ordinary.cv_metrics)
