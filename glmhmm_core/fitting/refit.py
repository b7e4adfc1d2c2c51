"""A fit's data as the engine wants them, and the same model fitted to other data."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.climb import Climb, Training, winner
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.result import FitResult


def problem_of(fit: FitResult) -> Problem:
    """The choices, regressors and sessions that a fit was made on."""
    return Problem(
        fit.X, fit.U, fit.y, fit.mask, fit.session_ids, fit.num_classes, fit.baseline_class_idx
    )


def resampled(problem: Problem, sessions: np.ndarray) -> Problem:
    """The sessions of these indices, one behind the other; one that is drawn twice stands twice."""
    rows = [np.flatnonzero(problem.session_index == s) for s in sessions]
    at = np.concatenate(rows)
    return replace(
        problem,
        X=problem.X[at],
        U=problem.U[at],
        y=problem.y[at],
        mask=problem.mask[at],
        session_ids=np.repeat(np.arange(len(sessions)), [len(r) for r in rows]),
        session_groups=None,
    )


def refit(
    fit: FitResult,
    problem: Problem,
    starts: Sequence[Parameters],
    *,
    n_restarts: int = 0,
    seed: int = 0,
) -> Climb:
    """Fit the model of ``fit``, with its priors and tolerances, to other data.

    Parameters
    ----------
    starts
        Parameters to climb from, besides the restarts.
    n_restarts, seed
        Fresh random starts, and the root of their random numbers.

    Returns
    -------
    Climb
        The best of all.
    """
    settings = replace(fit.settings, n_restarts=n_restarts, seed=seed, cv_folds=0)
    training = Training(problem.data(), fit.specification, settings, "", None)
    glm = training.glm() if n_restarts else np.empty(0)
    climbs = climb_all(training, fit.num_states, glm, starts, map, lambda _: None)
    return climbs[winner(climbs, settings.tol)]
