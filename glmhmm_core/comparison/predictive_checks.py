"""Posterior predictive checks: whether a fit makes data like those it was fitted to.

Each check is a number computed alike from the data and from data sets that the fit simulates,
states decoded by the fit in both. A fit that fails one is wrong in that respect, however well
it scores; a reference model's mice switch in 91 % of simulated sessions and 83 % of real ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import polars as pl

from glmhmm_core.comparison.path_statistics import statistics
from glmhmm_core.comparison.simulated import simulate_many
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.session_kinds import SessionKinds, as_one_chain
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.many import AT_ONCE, posteriors_of_many
from glmhmm_core.fitting.problem import Posteriors, Problem
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.simulation.feedback import History

LAGS = (1, 2, 3, 5, 10, 20)

CHECK_SCHEMA: dict[str, pl.DataType] = {
    "statistic": pl.String(),
    "state_idx": pl.Int64(),  # null: not of one state
    "lag": pl.Int64(),  # trials; null: none
    "data": pl.Float64(),
    "simulated": pl.Float64(),  # mean over simulations
    "lower": pl.Float64(),  # 95 % of the simulations
    "upper": pl.Float64(),
    "p_value": pl.Float64(),  # two-sided: share of data sets at least as far out
    "fails": pl.Boolean(),  # the data lie outside 95 % of the simulations
    "simulations": pl.List(pl.Float64()),  # of each simulated data set; null where undefined
}

_Values = dict[tuple[str, int | None, int | None], float]


def predictive_checks(
    fit: FitResult,
    *,
    history: History,
    transition_history: History | None = None,
    rewarded: np.ndarray | None = None,
    kinds: SessionKinds | None = None,
    num_simulations: int = 100,
    lags: Sequence[int] = LAGS,
    seed: int = 0,
) -> pl.DataFrame:
    """Compare the data with simulations from the fit, as ``CHECK_SCHEMA``.

    Of the decoded states (the most probable one of each trial): ``switches_per_session``, their
    ``switches_variance`` over sessions, ``share_switching`` (sessions with a switch), and each
    state's ``occupancy``, ``occupancy_rise`` (in the later halves of sessions less in the
    earlier), ``run_mean`` and ``run_median``. Of the choices: mean length of runs of one choice,
    ``choice_run_mean``, and ``choice_autocorrelation`` by lag.

    Parameters
    ----------
    fit
        Its parameters are taken as they are; how well they are known is not part of it.
    history, transition_history, rewarded
        As for :func:`~glmhmm_core.comparison.simulated.simulate_fit`.
    kinds
        Put sessions of several kinds in place of the fit's chain and weights.
    num_simulations
        Simulated data sets, at least 20.
    lags
        Trials between choices that are correlated.
    seed
        Root of the random numbers, as for
        :func:`~glmhmm_core.comparison.simulated.simulate_many`.

    Raises
    ------
    InputError
        If there are too few simulations, or a lag is not positive.
    """
    if num_simulations < 20 or min(lags, default=1) < 1:
        raise InputError(
            f"{num_simulations} simulations and lags of {list(lags)} trials",
            where="predictive checks",
            remedy="Give at least 20 simulations, and lags of at least 1.",
        )
    if kinds is not None:
        chain = Parameters(*(np.asarray(field) for field in as_one_chain(kinds)[:3]))
        fit = replace(fit, fitted_params=chain)
    k, problem = fit.num_states, problem_of(fit)
    data = _checks(problem, problem.posteriors(fit.fitted_params), k, lags)
    data_sets = simulate_many(
        fit,
        num_simulations,
        history=history,
        transition_history=transition_history,
        rewarded=rewarded,
        seed=seed,
    )
    simulated: list[_Values] = []
    while batch := [one.problem for one in islice(data_sets, AT_ONCE)]:
        decoded = posteriors_of_many(batch, [fit.fitted_params] * len(batch))
        simulated += [_checks(*pair, k, lags) for pair in zip(batch, decoded, strict=True)]
    rows = []
    for key, value in data.items():
        values = np.array([one[key] for one in simulated])
        shown = [float(v) if np.isfinite(v) else None for v in values]
        made = values[np.isfinite(values)]
        if not len(made) or not np.isfinite(value):
            there = value if np.isfinite(value) else None
            rows.append((*key, there, *[None] * 5, shown))
            continue
        lower, upper = np.quantile(made, (0.025, 0.975))
        # The data are one more data set, so that no share is zero.
        below, above = (1 + (made <= value).sum()), (1 + (made >= value).sum())
        p = min(1.0, 2 * float(min(below, above)) / (1 + len(made)))
        fails = not lower <= value <= upper
        rows.append((*key, value, made.mean(), lower, upper, p, fails, shown))
    return pl.DataFrame(rows, schema=CHECK_SCHEMA, orient="row")


def choice_autocorrelation(y: np.ndarray, sessions: np.ndarray, lag: int) -> float:
    """Repetition of choices ``lag`` trials apart, above chance: 1 always, 0 as if independent.

    (P(same) - sum_c p_c^2) / (1 - sum_c p_c^2), over pairs of a session in which both trials
    have a choice, p being the frequencies in those pairs. For two choices it is their
    autocorrelation. NaN without pairs, or with one choice alone.

    Parameters
    ----------
    y : int (T,)
        Choices, negative where none counts.
    sessions : (T,)
        Session of each trial, trials of a session together.
    """
    early, late = y[:-lag], y[lag:]
    pairs = (sessions[:-lag] == sessions[lag:]) & (early >= 0) & (late >= 0)
    early, late = early[pairs], late[pairs]
    counts = np.bincount(np.concatenate([early, late]))
    chance = float(((counts / max(counts.sum(), 1)) ** 2).sum())
    if not len(early) or chance >= 1:
        return float("nan")
    return (float((early == late).mean()) - chance) / (1 - chance)


def choice_run_mean(y: np.ndarray, sessions: np.ndarray) -> float:
    """Mean length of runs of one choice within sessions, over trials without one; NaN of none."""
    made = y >= 0
    y, sessions = y[made], sessions[made]
    if not len(y):
        return float("nan")
    runs = 1 + int(((y[1:] != y[:-1]) | (sessions[1:] != sessions[:-1])).sum())
    return len(y) / runs


def _checks(
    problem: Problem, posteriors: Posteriors, num_states: int, lags: Sequence[int]
) -> _Values:
    """Every statistic of one data set; a state is the same in every kind of session."""
    smoothed = posteriors.smoothed.reshape(len(problem.y), -1, num_states).sum(1)
    of_states = statistics(smoothed.argmax(1)[None], problem.session_index, num_states)
    found: _Values = {
        (name, state, None): float(value[0])
        for (name, state), value in of_states.items()
        if name != "dwell"
    }
    order = np.argsort(problem.session_index, kind="stable")
    y, sessions = problem.y[order], problem.session_index[order]
    found["choice_run_mean", None, None] = choice_run_mean(y, sessions)
    for lag in lags:
        found["choice_autocorrelation", None, lag] = choice_autocorrelation(y, sessions, lag)
    return found
