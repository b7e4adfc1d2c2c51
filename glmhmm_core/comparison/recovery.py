"""Parameter recovery: simulate from a fit, fit again, and see what comes back.

What a data set of this size and kind can tell: a parameter that is not recovered here cannot be
read off the real fit, and states that are not decoded here cannot be trusted there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from glmhmm_core.comparison.scores import SAME_OPTIMUM
from glmhmm_core.comparison.simulated import Simulated, simulate_fit
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import KEY_SCHEMA, free_parameters, interchangeable
from glmhmm_core.fitting.refit import refit
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.simulation.feedback import History
from glmhmm_core.states.matching import match_parameters, reorder

RECOVERED_SCHEMA: dict[str, pl.DataType] = {
    "simulation": pl.Int64(),
    **KEY_SCHEMA,
    "truth": pl.Float64(),
    "estimate": pl.Float64(),
    "error": pl.Float64(),  # estimate - truth
    "se": pl.Float64(),  # from the refit's curvature; null where nothing is known
    "covered": pl.Boolean(),  # the truth lies in the 95 % interval; null without one
}
DECODED_SCHEMA: dict[str, pl.DataType] = {
    "simulation": pl.Int64(),
    "converged": pl.Boolean(),
    "found_optimum": pl.Boolean(),  # as high as a climb from the truth, within same_optimum
    "ambiguous": pl.Boolean(),  # states not matched to the truth's beyond doubt
    "match_margin": pl.Float64(),  # null for one state
    "decoded": pl.Float64(),  # share of trials whose most probable state is the true one
    "ceiling": pl.Float64(),  # the same with the true parameters
    "near_singular": pl.Boolean(),
}


@dataclass(frozen=True)
class Recovery:
    """What came back.

    Attributes
    ----------
    parameters : as ``RECOVERED_SCHEMA``
        A row per simulation and free parameter.
    decoding : as ``DECODED_SCHEMA``
        A row per simulation.
    """

    parameters: pl.DataFrame
    decoding: pl.DataFrame


def recover(
    fit: FitResult,
    *,
    history: History,
    transition_history: History | None = None,
    rewarded: np.ndarray | None = None,
    num_simulations: int = 10,
    n_restarts: int = 8,
    seed: int = 0,
) -> Recovery:
    """Simulate the fit's own sessions from its parameters and fit the same model again.

    The refits start afresh, as that of the data did, and not from the truth.

    Parameters
    ----------
    history, transition_history, rewarded
        As for :func:`~glmhmm_core.comparison.simulated.simulate_fit`.
    num_simulations
        Simulated data sets; each depends on ``seed`` and on its number alone.
    n_restarts
        Fresh starts of each refit.

    Raises
    ------
    InputError
        If there is nothing to simulate, or no start.
    """
    if num_simulations < 1 or n_restarts < 1:
        raise InputError(
            f"{num_simulations} simulations with {n_restarts} restarts",
            where="recovery",
            remedy="Give one of each at least.",
        )
    parameters, decoding = [], []
    for i in range(num_simulations):
        made = simulate_fit(
            fit,
            history=history,
            transition_history=transition_history,
            rewarded=rewarded,
            seed=(seed, i),
        )
        table, row = _one(fit, made, n_restarts, (seed, i))
        parameters.append(table.select(pl.lit(i, pl.Int64).alias("simulation"), pl.all()))
        decoding.append((i, *row))
    return Recovery(
        pl.concat(parameters).select(*RECOVERED_SCHEMA),
        pl.DataFrame(decoding, schema=DECODED_SCHEMA, orient="row"),
    )


def recovery_summary(recovery: Recovery) -> pl.DataFrame:
    """Errors of each parameter over simulations: ``KEY_SCHEMA``, bias, sd, rmse and coverage.

    Simulations whose refit did not converge are left out; ``simulations`` counts the others.
    Estimates of which nothing is known, such as the log-odds of a state in which no session
    seems to begin, are counted in ``unknown`` and are in no mean.
    """
    known = pl.col("se").is_not_null()
    good = recovery.decoding.filter("converged").select("simulation")
    keys = list(KEY_SCHEMA)
    used = recovery.parameters.join(good, on="simulation")
    return used.group_by(keys, maintain_order=True).agg(
        simulations=pl.len(),
        truth=pl.col("truth").first(),
        unknown=(~known).sum(),
        bias=pl.col("error").filter(known).mean(),
        sd=pl.col("error").filter(known).std(),
        rmse=(pl.col("error") ** 2).filter(known).mean().sqrt(),
        mean_se=pl.col("se").mean(),
        coverage=pl.col("covered").mean(),
    )


def _one(
    fit: FitResult, made: Simulated, n_restarts: int, seed: Sequence[int]
) -> tuple[pl.DataFrame, tuple]:
    problem, truth = made.problem, fit.fitted_params
    root = int(np.random.default_rng(seed).integers(2**31))
    climb = refit(fit, problem, [], n_restarts=n_restarts, seed=root)
    from_truth = refit(fit, problem, [truth])
    slack = SAME_OPTIMUM * max(int(problem.mask.sum()), 1000) / 1000
    match = match_parameters(climb.params, truth, problem, interchangeable(fit))
    params = reorder(climb.params, match.order)

    named = free_parameters(fit)
    again = replace(fit, fitted_params=params, X=problem.X, U=problem.U, y=problem.y)
    known = standard_errors(again, named.reference)
    estimate, true = named.values(params), named.values(truth)
    table = known.table.with_columns(
        truth=pl.Series(true),
        error=pl.Series(estimate - true),
        covered=pl.lit(pl.Series(true)).is_between("lower", "upper"),
    )
    decoded, ceiling = (
        float((problem.posteriors(p).smoothed.argmax(1) == made.states).mean())
        for p in (params, truth)
    )
    margin = match.margin if np.isfinite(match.margin) else None
    found = climb.objective >= from_truth.objective - slack
    return table, (
        *(climb.converged, found, match.ambiguous, margin),
        *(decoded, ceiling, known.near_singular),
    )
