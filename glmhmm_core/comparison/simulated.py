"""Data that a fit itself would make: its parameters, the trials' stimuli, history fed back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.simulation.feedback import History
from glmhmm_core.simulation.simulate import simulate

#: Regressors of so many numbers are simulated at a time: 64 MiB.
AT_ONCE = 2**23


@dataclass(frozen=True)
class Simulated:
    """One simulated data set with the sessions and stimuli of a fit.

    Attributes
    ----------
    problem
        Choices and regressors; a choice counts on the same trials as in the data.
    states : int64 (T,)
        True states.
    """

    problem: Problem
    states: np.ndarray


def simulate_fit(
    fit: FitResult,
    *,
    history: History,
    transition_history: History | None = None,
    rewarded: np.ndarray | None = None,
    seed: int | Sequence[int] = 0,
) -> Simulated:
    """Simulate a fit on its own trials.

    A choice is made on every trial and fed back; on trials without one in the data it does not
    count afterwards, so that as much is known of the states as in the data.

    Parameters
    ----------
    history
        Columns of the fit's regressors that hold each kind of history regressor; an empty
        mapping takes all regressors as given, which is right only where none depends on choices.
    transition_history
        The same of the fit's transition regressors. Default: all as given.
    rewarded : int (T,), optional
        Class that is rewarded on each trial, where history regressors need it.
    seed
        Root of the random numbers.
    """
    problem = problem_of(fit)
    made = simulate(
        fit.fitted_params,
        fit.X,
        problem.session_index,
        history=history,
        rewarded=rewarded,
        U=fit.U if fit.transition_names else None,
        transition_history=transition_history,
        baseline_class_idx=fit.baseline_class_idx,
        seed=seed,
    )
    y = np.where(fit.mask, made.y, -1)
    return Simulated(replace(problem, X=made.X, U=made.U, y=y), made.states)


def simulate_many(
    fit: FitResult,
    number: int,
    *,
    history: History,
    transition_history: History | None = None,
    rewarded: np.ndarray | None = None,
    seed: int | Sequence[int] = 0,
) -> Iterator[Simulated]:
    """Simulate a fit on its own trials many times, as :func:`simulate_fit` does once.

    As many as fit into memory are one simulation of so many times the sessions, since its cost
    goes with the trials of a session rather than with their number. A simulation depends on
    ``seed``, on its number, and on the size of the data.
    """
    size = max(1, min(number, AT_ONCE // fit.X.size))
    problem = problem_of(fit)
    trials, sessions = len(fit.y), len(problem.sessions)
    index = problem.session_index
    for batch, first in enumerate(range(0, number, size)):
        copies = min(size, number - first)
        # The same random numbers for a simulation, however many follow it.
        made = simulate(
            fit.fitted_params,
            np.tile(fit.X, (copies, 1)),
            (np.arange(copies)[:, None] * sessions + index).ravel(),
            history=history,
            rewarded=None if rewarded is None else np.tile(rewarded, copies),
            U=np.tile(fit.U, (copies, 1)) if fit.transition_names else None,
            transition_history=transition_history,
            baseline_class_idx=fit.baseline_class_idx,
            seed=(*np.atleast_1d(seed).tolist(), batch + 1),
        )
        for i in range(copies):
            rows = slice(i * trials, (i + 1) * trials)
            y = np.where(fit.mask, made.y[rows], -1)
            yield Simulated(
                replace(problem, X=made.X[rows], U=made.U[rows], y=y), made.states[rows]
            )
