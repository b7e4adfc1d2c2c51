"""Tables of held-out scores made ready for choosing between numbers of states.

What cannot be used is refused or named, never dropped in silence.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.errors import InputError

LEFT_OUT_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "reason": pl.String(),
}


@dataclass(frozen=True)
class Wide:
    """Scores (N, number of models) of units at ascending numbers of states; NaN where missing."""

    units: list[str]
    numbers: list[int]
    values: np.ndarray


def keyed(scores: pl.DataFrame, keys: list[str], values: list[str]) -> pl.DataFrame:
    """The scores, if they have these columns and every key at most once."""
    missing = [name for name in [*keys, *values] if name not in scores.columns]
    if missing:
        raise InputError(
            f"no columns {missing}",
            where="choosing the number of states",
            remedy="Give a table of held-out scores.",
        )
    twice = scores.drop_nulls("num_states").select(keys)
    if twice.is_duplicated().any():
        raise InputError(
            f"{twice.filter(twice.is_duplicated()).row(0)} has more than one score",
            where="choosing the number of states",
            remedy=f"Give one row for each of {', '.join(keys)}.",
        )
    return scores


def usable_scores(scores: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with a score of a converged fit, and the others with the reason."""
    value = pl.col("heldout_bits_per_trial").cast(pl.Float64)
    converged = pl.col("converged") if "converged" in scores.columns else pl.lit(True)
    excluded = pl.col("excluded") if "excluded" in scores.columns else pl.lit(None, pl.String)
    marked = scores.with_columns(
        reason=pl.when(pl.col("num_states").is_null())
        .then(pl.coalesce(excluded, pl.lit("no model")))
        .when(value.is_null() | ~value.is_finite())
        .then(pl.lit("no held-out score"))
        .when(~converged)
        .then(pl.lit("the fit did not converge"))
    )
    left_out = marked.filter(pl.col("reason").is_not_null()).select(*LEFT_OUT_SCHEMA)
    return marked.filter(pl.col("reason").is_null()), left_out.sort("subject", "num_states")


def wide(scores: pl.DataFrame, unit: str, value: str) -> Wide:
    """One row per unit and one column per number of states."""
    units = sorted(scores[unit].unique().cast(pl.String).to_list())
    numbers = sorted(scores["num_states"].unique().to_list())
    values = np.full((len(units), len(numbers)), np.nan)
    rows = scores.select(pl.col(unit).cast(pl.String), "num_states", pl.col(value).cast(pl.Float64))
    place = {name: i for i, name in enumerate(units)}
    for name, number, score in rows.iter_rows():
        values[place[name], numbers.index(number)] = score
    return Wide(units, numbers, values)


def traits_of(scores: pl.DataFrame | None, numbers: list[int]) -> pl.DataFrame:
    """Floors and criteria by number of states: one row for each of ``numbers``."""
    columns = {
        "min_occupancy": pl.Expr.median,
        "min_dwell": pl.Expr.median,
        "aic": pl.Expr.mean,
        "bic": pl.Expr.mean,
    }
    wanted = pl.DataFrame({"num_states": numbers}, schema={"num_states": pl.Int64})
    if scores is None:
        return wanted.with_columns(pl.lit(None, pl.Float64).alias(name) for name in columns)
    summaries = [
        (summary(pl.col(name)) if name in scores.columns else pl.lit(None)).cast(pl.Float64)
        .alias(name)
        for name, summary in columns.items()
    ]  # fmt: skip
    of = scores.group_by("num_states").agg(summaries)
    return wanted.join(of, on="num_states", how="left", maintain_order="left")
