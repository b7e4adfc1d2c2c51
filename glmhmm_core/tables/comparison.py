"""All models side by side, scored on the same folds: of one subject, and over a cohort."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.comparison import scores
from glmhmm_core.comparison.conclusion import sentences
from glmhmm_core.comparison.contenders import Contender, bits_per_trial, session_gain

COMPARISON_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "model": pl.String(),  # "glm", "glmhmm", "glmhmm_t", "hierarchical", "lapse_class" ...
    "num_states": pl.Int64(),  # 1 of models without states
    "num_parameters": pl.Int64(),
    "log_likelihood": pl.Float64(),  # nats
    "bits_per_trial": pl.Float64(),
    "accuracy": pl.Float64(),
    "aic": pl.Float64(),
    "bic": pl.Float64(),
    "heldout_bits_per_trial": pl.Float64(),  # trial-weighted over interleaved folds
    "heldout_accuracy": pl.Float64(),
    "gain_over_glm": pl.Float64(),  # of those, bits per trial, paired by session
    "gain_over_glm_se": pl.Float64(),  # over sessions
    "prospective_bits_per_trial": pl.Float64(),  # the past trained on, the next sessions scored
    "prospective_gain": pl.Float64(),  # over the GLM, paired by session
    "prospective_gain_se": pl.Float64(),  # over sessions
    "converged": pl.Boolean(),  # the fit, and all of its folds
    "remarks": pl.String(),  # what the fit should be read with; null if nothing
}
COHORT_SCHEMA: dict[str, pl.DataType] = {
    "model": pl.String(),
    "num_states": pl.Int64(),
    "subjects": pl.Int64(),  # whose model converged and has a held-out score
    "left_out": pl.Int64(),  # the other subjects
    "heldout_bits_per_trial": pl.Float64(),  # means over subjects, and standard errors over them
    "gain_over_glm": pl.Float64(),
    "gain_over_glm_se": pl.Float64(),
    "prospective_bits_per_trial": pl.Float64(),
    "prospective_gain": pl.Float64(),
    "prospective_gain_se": pl.Float64(),
}
#: Columns of gains by kind of folds.
GAINS = {"interleaved": "gain_over_glm", "prospective": "prospective_gain"}
_KEY = ["model", "num_states"]


def comparison_table(subject: str, models: Sequence[Contender]) -> pl.DataFrame:
    """One row per model, as ``COMPARISON_SCHEMA``; gains are over the model of one state."""
    glm = next((model for model in models if model.model == "glm"), None)
    rows = [{"subject": subject, **_row(model), **_gains(model, glm)} for model in models]
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA)


def _row(model: Contender) -> dict[str, Any]:
    fit = model.fit
    row: dict[str, Any] = {
        "model": model.model,
        "num_states": model.num_states,
        "log_likelihood": fit.raw_log_likelihood,
        "accuracy": fit.accuracy,
        "heldout_bits_per_trial": bits_per_trial(model.interleaved),
        "prospective_bits_per_trial": bits_per_trial(model.prospective),
        "converged": model.converged,
        "remarks": " ".join(fit.remarks) or None,
    }
    if isinstance(fit, BaselineFit):
        return row | {
            "num_parameters": fit.num_parameters,
            "bits_per_trial": fit.bits_per_trial,
            "aic": fit.aic,
            "bic": fit.bic,
            "heldout_accuracy": fit.heldout_accuracy,
        }
    return row | {
        "num_parameters": scores.num_parameters(fit),
        "bits_per_trial": scores.bits_per_trial(fit),
        "aic": scores.aic(fit),
        "bic": scores.bic(fit),
        "heldout_accuracy": scores.heldout_accuracy(fit),
    }


def _gains(model: Contender, glm: Contender | None) -> dict[str, float | None]:
    gains: dict[str, float | None] = {}
    for kind, column in GAINS.items():
        pair: tuple[float | None, float | None] = (None, None)
        if glm is not None and model is not glm:
            pair = session_gain(getattr(model, kind), getattr(glm, kind))
        gains |= dict(zip((column, f"{column}_se"), pair, strict=True))
    return gains


def usable(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``comparison_table`` of any subjects that count: converged, with a score."""
    return comparisons.filter("converged").drop_nulls("heldout_bits_per_trial")


def cohort_comparison(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Means over subjects of every model, as ``COHORT_SCHEMA``, in the order of the models.

    Parameters
    ----------
    comparisons
        ``comparison_table`` of the subjects, one below the other.
    """
    everyone = comparisons["subject"].n_unique()
    models = comparisons.select(_KEY).unique(maintain_order=True)

    def error(column: str) -> pl.Expr:
        known = pl.col(column).count()
        return pl.when(known > 1).then(pl.col(column).std() / known.sqrt()).alias(f"{column}_se")

    means = (
        usable(comparisons)
        .group_by(_KEY)
        .agg(
            pl.len().alias("subjects"),
            pl.col("heldout_bits_per_trial", "prospective_bits_per_trial", *GAINS.values()).mean(),
            *map(error, GAINS.values()),
        )
    )
    table = models.join(means, on=_KEY, how="left", maintain_order="left")
    table = table.with_columns(pl.col("subjects").fill_null(0).cast(pl.Int64))
    table = table.with_columns(left_out=everyone - pl.col("subjects"))
    return table.select(pl.col(name).cast(kind) for name, kind in COHORT_SCHEMA.items())


def conclude_cohort(comparisons: pl.DataFrame) -> str:
    """What the held-out scores of the subjects together say; gains are paired by subject."""
    counted = usable(comparisons)
    table = cohort_comparison(comparisons)
    scored = table.filter(pl.col("subjects") > 0)
    scores_of = {
        (row["model"], row["num_states"]): row["heldout_bits_per_trial"]
        for row in scored.iter_rows(named=True)
    }

    def gain(
        kind: str, own: tuple[str, int], other: tuple[str, int]
    ) -> tuple[float | None, float | None]:
        column = GAINS[kind]
        mine, theirs = (
            counted.filter(model=model, num_states=k).select(
                "subject", pl.col(column).fill_null(0.0) if model == "glm" else pl.col(column)
            )
            for model, k in (own, other)
        )
        both = mine.join(theirs, on="subject", suffix="_other").drop_nulls()
        change = both[column] - both[f"{column}_other"]
        if change.is_empty():
            return None, None
        value, spread = change.mean(), change.std()
        error = None if spread is None else float(spread) / len(change) ** 0.5  # type: ignore[arg-type]
        return float(value), error  # type: ignore[arg-type]

    said = sentences(scores_of, gain)
    out = table.filter(pl.col("left_out") > 0)
    if not out.is_empty():
        parts = [
            f"{row['left_out']} of {row['model']}"
            + (f" K={row['num_states']}" if row["num_states"] > 1 else "")
            for row in out.iter_rows(named=True)
        ]
        said.append(f"Subjects left out (not converged, or without a score): {', '.join(parts)}.")
    return " ".join(said)
