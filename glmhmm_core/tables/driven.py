"""Tables of models with transition regressors: weights, average transitions, staying.

Long form, one row per number; labels as in ``tables/parameters.py``. A transition is led by the
regressors of the trial that it goes to, so a session's first trial has none.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import polars as pl

from glmhmm_core.comparison.path_statistics import path_table
from glmhmm_core.comparison.scores import model_name
from glmhmm_core.engine.transitions import others, transition_matrices
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.labels import StateLabels
from glmhmm_core.states.naming import Naming
from glmhmm_core.tables.parameters import state_columns

_EDGE: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "source_idx": pl.Int64(),
    "source_rank": pl.Int64(),
    "source_label": pl.String(),
    "source_color": pl.String(),
    "source_match": pl.String(),
    "target_idx": pl.Int64(),
    "target_rank": pl.Int64(),
    "target_label": pl.String(),
    "target_color": pl.String(),
    "target_match": pl.String(),
}
#: Name of the log-odds at the regressors' zero among the weights.
AT_ZERO = "bias"
TRANSITION_WEIGHT_SCHEMA: dict[str, pl.DataType] = {
    **_EDGE,
    "model": pl.String(),  # as in tables of models side by side
    "feature_idx": pl.Int64(),  # place of the regressor; null of the log-odds at zero
    "feature": pl.String(),
    # Log-odds of leaving the source for the target over staying: per unit of the regressor, or
    # at the regressors' zero.
    "weight": pl.Float64(),
    "se": pl.Float64(),  # null where it is not known or was not asked for
    "lower": pl.Float64(),  # 95 %
    "upper": pl.Float64(),
    "frozen": pl.Boolean(),  # held at its value, not fitted
    "feature_sd": pl.Float64(),  # standard deviation of the regressor over trials
    "label_reason": pl.String(),  # why the model's labels are ambiguous; null unless they are
}
DRIVEN_TRANSITION_SCHEMA: dict[str, pl.DataType] = {
    **_EDGE,
    "at_zero": pl.Float64(),  # probability where all regressors are 0
    "average": pl.Float64(),  # mean probability over the trials that have a transition
    "lowest": pl.Float64(),  # 2.5 % quantile of the probability over these trials
    "highest": pl.Float64(),  # 97.5 %
    "source_dwell": pl.Float64(),  # stay in paths drawn from the posterior, trials
    "source_dwell_lower": pl.Float64(),  # 95 % of the paths
    "source_dwell_upper": pl.Float64(),
}
STAYING_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_idx": pl.Int64(),
    "state_rank": pl.Int64(),
    "state_label": pl.String(),
    "state_color": pl.String(),
    "state_match": pl.String(),  # name that it shares with other subjects; null: of this one alone
    "feature_idx": pl.Int64(),
    "feature": pl.String(),
    "value": pl.Float64(),  # of the regressor, the others at their means
    "stay": pl.Float64(),  # probability that the state stays
}
#: Values of a regressor at which staying is computed.
POINTS = 41


def transition_weight_table(
    fits: SubjectFits,
    naming: Naming | None = None,
    errors: Mapping[int, pl.DataFrame] | None = None,
) -> pl.DataFrame:
    """Every transition weight of a subject's models, as ``TRANSITION_WEIGHT_SCHEMA``.

    Parameters
    ----------
    fits
        Models with transition regressors.
    naming
        Names the states; by themselves if not given.
    errors
        Number of states -> table of :func:`~glmhmm_core.fitting.uncertainty.standard_errors`.
    """
    rows: list[tuple] = []
    for fit in fits.fits:
        labels = (naming or Naming())(fit, fits.choice_names)
        weights, free = fit.fitted_params.transition_weights, fit.specification.free(fit.num_states)
        assert weights is not None
        assert free.transition is not None
        known = _errors_by_edge((errors or {}).get(fit.num_states))
        spread = _led(fit).std(0)
        matrix = np.asarray(fit.fitted_params.transition_matrix)
        reason = labels.reason or None
        for source, target, row in _edges(labels):
            states = (*state_columns(labels, source), *state_columns(labels, target))
            edge = (fits.subject, fit.num_states, *states, model_name(fit))
            bias = float(np.log(matrix[source, target]) - np.log(matrix[source, source]))
            at_zero = known.get((source, target, None), (None,) * 3)
            rows.append((*edge, None, AT_ZERO, bias, *at_zero, False, None, reason))
            for column, name in enumerate(fit.transition_names):
                error = known.get((source, target, name), (None,) * 3)
                held = not free.transition[source, row, column]
                weight = float(np.asarray(weights)[source, row, column])
                rows.append((*edge, column, name, weight, *error, held, spread[column], reason))
    return pl.DataFrame(rows, schema=TRANSITION_WEIGHT_SCHEMA, orient="row")


def driven_transition_table(fits: SubjectFits, naming: Naming | None = None) -> pl.DataFrame:
    """Transition probabilities at zero and over the trials, as ``DRIVEN_TRANSITION_SCHEMA``.

    How long a state lasts is taken from paths drawn from the posterior: with other regressors on
    every trial no single matrix says it.
    """
    rows: list[tuple] = []
    for fit in fits.fits:
        labels = (naming or Naming())(fit, fits.choice_names)
        matrices = _matrices(fit, _led(fit))
        low, high = np.quantile(matrices, (0.025, 0.975), axis=0)
        zero, mean = np.asarray(fit.fitted_params.transition_matrix), matrices.mean(0)
        dwell = {
            row["state_idx"]: (row["mean"], row["lower"], row["upper"])
            for row in path_table(fit).filter(statistic="dwell").iter_rows(named=True)
        }
        rows += [
            (
                *(
                    fits.subject,
                    fit.num_states,
                    *state_columns(labels, i),
                    *state_columns(labels, j),
                ),
                *(zero[i, j], mean[i, j], low[i, j], high[i, j], *dwell[i]),
            )
            for i in labels.order
            for j in labels.order
        ]
    return pl.DataFrame(rows, schema=DRIVEN_TRANSITION_SCHEMA, orient="row")


def staying_table(fits: SubjectFits, naming: Naming | None = None) -> pl.DataFrame:
    """How the probability of staying changes with each regressor, as ``STAYING_SCHEMA``.

    One regressor goes from its lowest to its highest value, the others are at their means.
    """
    rows: list[tuple] = []
    for fit in fits.fits:
        labels = (naming or Naming())(fit, fits.choice_names)
        led = _led(fit)
        for column, name in enumerate(fit.transition_names):
            at = np.tile(led.mean(0), (POINTS, 1))
            at[:, column] = np.linspace(led[:, column].min(), led[:, column].max(), POINTS)
            matrices = _matrices(fit, at)
            rows += [
                (
                    *(fits.subject, fit.num_states, *state_columns(labels, k), column, name),
                    *(value, matrix[k, k]),
                )
                for k in labels.order
                for value, matrix in zip(at[:, column], matrices, strict=True)
            ]
    return pl.DataFrame(rows, schema=STAYING_SCHEMA, orient="row")


def _led(fit: FitResult) -> np.ndarray:
    """Transition regressors of the trials that have a transition, (T - S, D)."""
    _, first = np.unique(fit.session_ids, return_index=True)
    return np.delete(fit.U, first, axis=0)


def _matrices(fit: FitResult, U: np.ndarray) -> np.ndarray:
    """Transition matrices (T, K, K) at regressors (T, D)."""
    at = jnp.asarray(U).T[:, :, None]
    return np.asarray(transition_matrices(fit.fitted_params, at))[..., 0].transpose(2, 0, 1)


def _edges(labels: StateLabels) -> list[tuple[int, int, int]]:
    """Source, target and the target's row among the weights, in display order."""
    targets = others(len(labels.order))
    return [
        (i, j, targets[i].tolist().index(j)) for i in labels.order for j in labels.order if j != i
    ]


def _errors_by_edge(table: pl.DataFrame | None) -> dict[tuple, tuple]:
    if table is None:
        return {}
    of_chain = table.filter(pl.col("parameter").is_in(["transition", "transition_weight"]))
    columns = ("state_idx", "target_idx", "feature", "se", "lower", "upper")
    return {row[:3]: row[3:] for row in of_chain.select(columns).iter_rows()}
