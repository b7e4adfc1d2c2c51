"""Tables of what earlier trials weigh, lag by lag, and of the exponential through them.

For regressors of the kinds ``choice_lags`` and ``outcome_lags``. Which column is which lag comes
from the task, never from a name.
"""

import math
from collections.abc import Iterator

import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.uncertainty import Z
from glmhmm_core.tables.lag_kernel import fit_lag_kernel
from glmhmm_core.tasks.task import Task

_KEY: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_idx": pl.Int64(),
    "state_rank": pl.Int64(),
    "state_label": pl.String(),
    "state_color": pl.String(),
    "state_match": pl.String(),  # name that it shares with other subjects; null: of this one alone
    "regressor": pl.String(),
}
_GROUP: dict[str, pl.DataType] = {
    "class_idx": pl.Int64(),
    "class_name": pl.String(),
    "earlier": pl.String(),  # the earlier choice; null of two choices, whose column is signed
}
LAG_WEIGHT_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    **_GROUP,
    "lag": pl.Int64(),  # choices back, from 1
    "weight": pl.Float64(),  # log-odds of the class over the baseline
    "se": pl.Float64(),  # null where not known
}
LAG_KERNEL_SCHEMA: dict[str, pl.DataType] = {
    **_KEY,
    **_GROUP,
    "scale": pl.Float64(),  # sum of the kernel over the lags, log-odds
    "tau": pl.Float64(),  # trials; shared over classes and earlier choices
    "tau_lower": pl.Float64(),  # 95 %, null where not known
    "tau_upper": pl.Float64(),
    "half_life": pl.Float64(),  # tau ln 2, trials
    "num_lags": pl.Int64(),
    "rmse": pl.Float64(),  # over all groups, log-odds
    "r2": pl.Float64(),
    "weighted": pl.Boolean(),  # by the weights' standard errors
    "success": pl.Boolean(),
    "message": pl.String(),  # why not; null on success
}


def lag_weight_table(weights: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Weights of all lags, as ``LAG_WEIGHT_SCHEMA``. Of a choice's lags, above zero repeats it.

    Parameters
    ----------
    weights
        ``weight_table`` of one subject or several, one below the other, perhaps
        ``with_intervals``: standard errors are then a quarter of their width, nearly.
    task
        Names the lags' columns.

    Raises
    ------
    InputError
        The task has no regressor of lags.
    """
    columns = pl.DataFrame(
        list(_columns(task)),
        schema={
            "feature": pl.String,
            "regressor": pl.String,
            "lag": pl.Int64,
            "earlier": pl.String,
        },
        orient="row",
    )
    if columns.is_empty():
        raise InputError(
            "no regressor is of lags",
            where=f"task {task.name}",
            remedy='Add one of kind = "choice_lags" or "outcome_lags" to the task.',
        )
    known = {"lower", "upper"} <= set(weights.columns)
    se = (pl.col("upper") - pl.col("lower")) / (2 * Z) if known else pl.lit(None, pl.Float64)
    return (
        weights.with_columns(se=se)
        .join(columns, on="feature", maintain_order="left")
        .select(*LAG_WEIGHT_SCHEMA)
    )


def _columns(task: Task) -> Iterator[tuple[str, str, int, str | None]]:
    """Feature, regressor, lag and earlier choice of every column of lags."""
    others = [name for c, name in enumerate(task.choices) if c != task.baseline_class_idx]
    for regressor in task.regressors:
        if regressor.kind not in ("choice_lags", "outcome_lags"):
            continue
        names = task.columns_of(regressor)
        per_lag = len(names) // regressor.count
        for place, name in enumerate(names):
            earlier = others[place % per_lag] if per_lag > 1 else None
            yield name, regressor.name, place // per_lag + 1, earlier


def lag_kernel_table(lag_weights: pl.DataFrame) -> pl.DataFrame:
    """The exponential through the lags of every state, as ``LAG_KERNEL_SCHEMA``.

    One time constant per subject, model, state and regressor, and a scale per class and earlier
    choice: of two choices that is one row. What could not be fitted has a row that says why.

    Parameters
    ----------
    lag_weights
        ``lag_weight_table``. Where the standard errors of a state's lags are known, the fit is
        weighted by them and the other lags, frozen ones too, do not count.
    """
    rows = []
    for key, part in lag_weights.group_by(*_KEY, maintain_order=True):
        names = [str(group) for group in part.select(*_GROUP).rows()]
        errors = None if part["se"].is_null().all() else part["se"].fill_null(math.inf).to_numpy()
        kernel = fit_lag_kernel(part["lag"].to_numpy(), part["weight"].to_numpy(), names, errors)
        firsts = part.with_columns(group=pl.Series(names)).unique("group", maintain_order=True)
        shared = (kernel.tau, kernel.tau_lower, kernel.tau_upper, kernel.half_life)
        told = (kernel.weighted, kernel.success, kernel.message or None)
        rows += [
            (
                *(*key, *(one[name] for name in _GROUP), kernel.scales[one["group"]], *shared),
                *(part["lag"].n_unique(), kernel.rmse, kernel.r2, *told),
            )
            for one in firsts.iter_rows(named=True)
        ]
    table = pl.DataFrame(rows, schema=LAG_KERNEL_SCHEMA, orient="row")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))
