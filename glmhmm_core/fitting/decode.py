"""The most probable states of a fitted model."""

import numpy as np

from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.result import FitResult


def most_likely_states(fit: FitResult) -> np.ndarray:
    """Most probable path of states in every session given its choices (Viterbi), int (T,)."""
    problem = Problem(
        fit.X, fit.U, fit.y, fit.mask, fit.session_ids, fit.num_classes, fit.baseline_class_idx
    )
    return problem.most_likely_states(fit.fitted_params)
