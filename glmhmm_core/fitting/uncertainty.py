"""Standard errors of a fit's parameters, from the observed information of the MAP objective.

The inverse of minus the objective's Hessian at the optimum approximates the posterior's
covariance (Laplace). It knows what the hidden states leave open, but not that there are other
optima, nor that a short data set's posterior is skewed: the session bootstrap and sampling are
there for that.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.engine.curvature import gradient_and_hessian
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import KEY_SCHEMA, FreeParameters, free_parameters
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult

Z = 1.959964  # 95 %
#: A standard error beyond so many log-odds (of a weight: per root mean square of its regressor)
#: is none: the data and the prior say nothing.
UNKNOWN = 100.0
#: Smallest eigenvalue of the information, scaled to a diagonal of 1, of a fit in order.
SINGULAR = 1e-6
#: Standard errors that a fit may lie off its optimum.
OFF = 0.01

UNCERTAINTY_SCHEMA: dict[str, pl.DataType] = {
    **KEY_SCHEMA,
    "estimate": pl.Float64(),
    "se": pl.Float64(),  # null where the data and the prior say nothing
    "lower": pl.Float64(),  # 95 %
    "upper": pl.Float64(),
}
STAY_SCHEMA: dict[str, pl.DataType] = {
    "state_idx": pl.Int64(),
    "self_transition": pl.Float64(),  # at the transition regressors' zero
    "self_transition_lower": pl.Float64(),  # 95 %, from the log-odds of staying
    "self_transition_upper": pl.Float64(),
    "dwell": pl.Float64(),  # expected stay, trials
    "dwell_lower": pl.Float64(),
    "dwell_upper": pl.Float64(),
}


@dataclass(frozen=True)
class Uncertainty:
    """How well a fit's free parameters are known.

    Attributes
    ----------
    table : P rows, as ``UNCERTAINTY_SCHEMA``
        Frozen weights are no parameters and have no row.
    covariance : float64 (P, P)
        Of the estimates, in the order of ``table``; NaN where nothing is known.
    near_singular
        Whether some weight or combination of parameters is hardly determined, or the point is
        no maximum. Probabilities at zero alone do not make it so.
    smallest_eigenvalue
        Of the information scaled to a diagonal of 1.
    off_optimum
        Length of the Newton step from the fit to the optimum, in standard errors.
    remarks
        What is wrong, one sentence each.
    """

    table: pl.DataFrame
    covariance: np.ndarray
    near_singular: bool
    smallest_eigenvalue: float
    off_optimum: float
    remarks: tuple[str, ...]


def standard_errors(fit: FitResult, reference: int | None = None) -> Uncertainty:
    """Standard errors and 95 % intervals of weights and log-odds.

    How often the intervals held the truth, over 200 simulated subjects each, K = 3, wide priors
    on the weights (``benchmarks/coverage.py``): with 56 sessions of 90 trials .950 of weights and
    .942 of log-odds of transitions; with 10 sessions .953 and .905. What falls short are
    transitions that are made once or twice in all: .67 and .78 at 10 sessions. A Dirichlet of
    concentration 2, the ordinary default, counts one transition too many for those: .908 of all
    transitions at 56 sessions, .738 at 10. Trust weights of short data sets, not rare
    transitions.

    Parameters
    ----------
    fit
        A converged fit; its data, priors and frozen weights are taken as it has them.
    reference
        State that initial probabilities are relative to; the most probable one if not given.

    Raises
    ------
    InputError
        If the curvature is not finite at the fit.
    """
    named = free_parameters(fit, reference)
    model = fit.specification
    data = problem_of(fit).data()
    prior, free = model.prior(fit.num_states, fit.settings), model.free(fit.num_states)
    # A probability of exactly 0 has no logarithm; the engine's bounds hold the others.
    at = fit.fitted_params
    start = at._replace(
        initial_probs=np.maximum(at.initial_probs, 1e-300),
        transition_matrix=np.maximum(at.transition_matrix, 1e-300),
    )
    gradient, hessian = map(np.asarray, gradient_and_hessian(start, data, prior, free))
    information = -hessian[np.ix_(named.index, named.index)]
    if not np.isfinite(information).all():
        raise InputError(
            "the curvature of the objective is not finite",
            where="standard errors",
            remedy="Look for regressors or weights of an extreme scale.",
        )
    return _invert(fit, named, information, gradient[named.index])


def _invert(
    fit: FitResult, named: FreeParameters, information: np.ndarray, gradient: np.ndarray
) -> Uncertainty:
    # In log-odds, whatever the units of the regressors.
    known = np.diag(information) / _sizes(fit, named.keys) ** 2 > UNKNOWN**-2
    part = information[np.ix_(known, known)]
    scale = np.sqrt(np.diag(part))
    values, vectors = np.linalg.eigh(part / scale[:, None] / scale)
    smallest = float(values.min(initial=1.0))
    covariance = np.full(information.shape, np.nan)
    flat = values < SINGULAR
    safe = np.where(flat, 1.0, values)
    inverse = (vectors * np.where(flat, 0.0, 1 / safe)) @ vectors.T / scale[:, None] / scale
    step = inverse @ gradient[known]
    off = float(np.sqrt(max(step @ part @ step, 0.0)))
    # What moves along a flat direction has no error; what does not, has the others' own.
    loose = (vectors[:, flat] ** 2).sum(1) > 1e-6
    inverse[loose] = inverse[:, loose] = np.nan
    covariance[np.ix_(known, known)] = inverse

    se = np.sqrt(np.diag(covariance))
    estimate = named.values(fit.fitted_params)
    table = named.keys.with_columns(
        estimate=pl.Series(estimate),
        se=pl.Series(se).fill_nan(None),
        lower=pl.Series(estimate - Z * se).fill_nan(None),
        upper=pl.Series(estimate + Z * se).fill_nan(None),
    )
    unsure = named.keys.with_columns(known=pl.Series(known)).filter(~pl.col("known"))
    remarks = [
        f"Nothing is known of {_name(row)}: {_cause(row)}." for row in unsure.iter_rows(named=True)
    ]
    if flat.any():
        what = "is no maximum" if smallest < -SINGULAR else "is flat in some direction"
        some = named.keys.filter(known).filter(loose).iter_rows(named=True)
        remarks.append(f"The objective {what}: {'; '.join(map(_name, some))}.")
    if off > OFF:
        remarks.append(f"The fit lies {off:.2g} standard errors off its optimum.")
    # A probability at zero is the data's answer; a weight that nothing tells is the model's fault.
    weights_unknown = bool(unsure["parameter"].is_in(["weight", "transition_weight"]).any())
    return Uncertainty(
        table, covariance, bool(flat.any()) or weights_unknown, smallest, off, tuple(remarks)
    )


def staying(fit: FitResult, uncertainty: Uncertainty) -> pl.DataFrame:
    """Intervals of self-transitions and expected stays, as ``STAY_SCHEMA``; a row per state.

    By the delta method on the log-odds of staying over leaving, so that they stay within 0..1.
    """
    matrix = np.asarray(fit.fitted_params.transition_matrix, np.float64)
    rows: list[tuple] = []
    for state, stay in enumerate(np.diag(matrix)):
        at = np.flatnonzero(
            uncertainty.table.select(
                (pl.col("parameter") == "transition") & (pl.col("state_idx") == state)
            ).to_series()
        )
        leave = 1 - stay
        if not len(at) or leave <= 0:
            rows.append((state, stay, None, None, None, None, None))
            continue
        targets = uncertainty.table["target_idx"].to_numpy()[at].astype(np.int64)
        slope = -matrix[state, targets] / leave
        error = float(np.sqrt(slope @ uncertainty.covariance[np.ix_(at, at)] @ slope))
        middle = np.log(stay / leave) if stay > 0 else -np.inf
        odds = np.exp([middle - Z * error, middle + Z * error])
        known = bool(np.isfinite(error))
        ends = (odds / (1 + odds)).tolist() if known else (None, None)
        stays = (1 + odds).tolist() if known else (None, None)
        rows.append((state, stay, *ends, 1 / leave, *stays))
    return pl.DataFrame(rows, schema=STAY_SCHEMA, orient="row")


def _sizes(fit: FitResult, keys: pl.DataFrame) -> np.ndarray:
    """Root mean square of each weight's regressor, 1 for log-odds: (P,)."""
    rms = {
        ("weight", name): float(np.sqrt((column[fit.mask] ** 2).mean()))
        for name, column in zip(fit.emission_names, fit.X.T, strict=True)
    } | {
        ("transition_weight", name): float(np.sqrt((column**2).mean()))
        for name, column in zip(fit.transition_names, fit.U.T, strict=True)
    }
    pairs = keys.select("parameter", "feature").iter_rows()
    sizes = np.array([rms.get(pair, 1.0) for pair in pairs])
    return np.where(sizes > 0, sizes, 1.0)


def _name(row: dict) -> str:
    """A parameter in words."""
    state, target, feature = row["state_idx"], row["target_idx"], row["feature"]
    return {
        "initial": f"beginning in state {state}",
        "transition": f"going from state {state} to {target}",
        "transition_weight": f"weight of {feature!r} on going from state {state} to {target}",
        "weight": f"weight of {feature!r} on choice {row['class_idx']} in state {state}",
    }[row["parameter"]]


def _cause(row: dict) -> str:
    if row["parameter"] in ("initial", "transition"):
        return "it never happens"
    return "no trial and no prior tells"
