"""Session bootstrap: the spread of a fit's parameters when its sessions are drawn again.

It needs neither a smooth posterior nor the model's own errors to be right, only that sessions
are exchangeable; it costs a refit each. Every refit starts from the fit itself, so that it stays
in the same optimum, and its states are matched to the fit's before they are compared.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import KEY_SCHEMA, free_parameters, interchangeable
from glmhmm_core.fitting.refit import problem_of, refit, resampled
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.states.matching import match_parameters, reorder

BOOTSTRAP_SCHEMA: dict[str, pl.DataType] = {
    **KEY_SCHEMA,
    "estimate": pl.Float64(),  # of the fit
    "se": pl.Float64(),  # standard deviation over resamples
    "lower": pl.Float64(),  # 2.5 and 97.5 % of the resamples
    "upper": pl.Float64(),
}


@dataclass(frozen=True)
class Bootstrap:
    """Parameters over resamples.

    Attributes
    ----------
    table : P rows, as ``BOOTSTRAP_SCHEMA``
    values : float64 (resamples, P)
        Of the refits that converged.
    not_converged
        Refits that did not, and are left out.
    ambiguous
        Refits of the rest whose states were not matched beyond doubt; they are not left out.
    """

    table: pl.DataFrame
    values: np.ndarray
    not_converged: int
    ambiguous: int


def bootstrap_sessions(fit: FitResult, resamples: int = 200, seed: int = 0) -> Bootstrap:
    """Refit to sessions drawn with replacement.

    Parameters
    ----------
    fit
        A converged fit.
    resamples
        How many refits; each depends on ``seed`` and its number alone.

    Raises
    ------
    InputError
        If there are fewer than two sessions or resamples, or fewer than two refits converge.
    """
    problem = problem_of(fit)
    n = len(problem.sessions)
    if n < 2 or resamples < 2:
        raise InputError(
            f"{resamples} resamples of {n} sessions",
            where="session bootstrap",
            remedy="Give two of each at least.",
        )
    named = free_parameters(fit)
    values, failed, ambiguous = [], 0, 0
    for i in range(resamples):
        drawn = np.random.default_rng((seed, i)).integers(0, n, n)
        climb = refit(fit, resampled(problem, drawn), [fit.fitted_params])
        if not climb.converged:
            failed += 1
            continue
        match = match_parameters(climb.params, fit.fitted_params, problem, interchangeable(fit))
        ambiguous += match.ambiguous
        values.append(named.values(reorder(climb.params, match.order)))
    if len(values) < 2:
        raise InputError(
            f"{failed} of {resamples} refits did not converge",
            where="session bootstrap",
            remedy="Raise max_iters, or look for a model with more states than the data bear.",
        )
    drawn_values = np.array(values)
    lower, upper = np.quantile(drawn_values, (0.025, 0.975), axis=0)
    table = named.keys.with_columns(
        estimate=pl.Series(named.values(fit.fitted_params)),
        se=pl.Series(drawn_values.std(0, ddof=1)),
        lower=pl.Series(lower),
        upper=pl.Series(upper),
    )
    return Bootstrap(table, drawn_values, failed, ambiguous)
