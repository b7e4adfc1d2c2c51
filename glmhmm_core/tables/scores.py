"""Tables of how well models fit and how they were found: scores, folds and restarts."""

import numpy as np
import polars as pl

from glmhmm_core.comparison.scores import (
    SAME_OPTIMUM,
    aic,
    bic,
    bits_per_trial,
    heldout_accuracy,
    heldout_bits_per_trial,
    num_parameters,
    restarts_at_best,
)
from glmhmm_core.fitting.result import SubjectFits

SCORE_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "num_sessions": pl.Int64(),
    "num_trials": pl.Int64(),
    "num_choices": pl.Int64(),
    "num_parameters": pl.Int64(),
    "objective": pl.Float64(),  # log-likelihood plus log prior, nats
    "log_likelihood": pl.Float64(),  # nats
    "log_likelihood_per_trial": pl.Float64(),  # nats per choice
    "bits_per_trial": pl.Float64(),  # over the choices' own frequencies
    "accuracy": pl.Float64(),  # share of choices predicted one step ahead
    "aic": pl.Float64(),
    "bic": pl.Float64(),
    "heldout_bits_per_trial": pl.Float64(),  # trial-weighted over folds; null without folds
    "heldout_bits_se": pl.Float64(),  # standard error over folds of that
    "heldout_accuracy": pl.Float64(),
    "heldout_gain": pl.Float64(),  # bits per trial over one state, paired by fold
    "heldout_gain_se": pl.Float64(),  # standard error over folds of that
    "iterations": pl.Int64(),
    "converged": pl.Boolean(),
    "folds": pl.Int64(),
    "folds_converged": pl.Int64(),
    "restarts": pl.Int64(),
    "restarts_at_best": pl.Int64(),
    "restarts_converged": pl.Int64(),
    "remarks": pl.String(),  # what the fit should be read with; null if nothing
}
FOLD_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "fold_index": pl.Int64(),
    "test_trials": pl.Int64(),  # with a choice
    "heldout_log_likelihood_per_trial": pl.Float64(),  # nats
    "heldout_bits_per_trial": pl.Float64(),  # over the training choices' frequencies
    "heldout_gain": pl.Float64(),  # over one state on the same fold; null without such a model
    "heldout_accuracy": pl.Float64(),
    "converged": pl.Boolean(),
}
RESTART_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "restart": pl.Int64(),
    "iteration": pl.Int64(),
    "objective": pl.Float64(),  # nats
    "below_best": pl.Float64(),  # nats below the best restart's end
    "converged": pl.Boolean(),  # of the restart
    "reached_best": pl.Boolean(),  # of the restart: its end is within same_optimum of the best
    "same_optimum": pl.Float64(),  # nats
}
FOLD_MEAN_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "heldout_bits_per_trial": pl.Float64(),  # trial-weighted over folds
    "heldout_bits_se": pl.Float64(),  # standard error over folds; null for one fold
    "heldout_gain": pl.Float64(),
    "heldout_gain_se": pl.Float64(),
}


def score_table(fits: SubjectFits) -> pl.DataFrame:
    """One row per number of states, as ``SCORE_SCHEMA``."""
    spread = {row["num_states"]: row for row in fold_means(fold_table(fits)).iter_rows(named=True)}
    rows = []
    for fit in fits.fits:
        over_folds = spread.get(fit.num_states, {})
        rows.append(
            {
                "subject": fits.subject,
                "num_states": fit.num_states,
                "num_sessions": len(set(fit.session_ids.tolist())),
                "num_trials": len(fit.y),
                "num_choices": fit.num_choices,
                "num_parameters": num_parameters(fit),
                "objective": fit.objective_log_probability,
                "log_likelihood": fit.raw_log_likelihood,
                "log_likelihood_per_trial": fit.log_likelihood_per_trial,
                "bits_per_trial": bits_per_trial(fit),
                "accuracy": fit.accuracy,
                "aic": aic(fit),
                "bic": bic(fit),
                "heldout_bits_per_trial": heldout_bits_per_trial(fit),
                "heldout_bits_se": over_folds.get("heldout_bits_se"),
                "heldout_accuracy": heldout_accuracy(fit),
                "heldout_gain": over_folds.get("heldout_gain"),
                "heldout_gain_se": over_folds.get("heldout_gain_se"),
                "iterations": fit.num_iterations,
                "converged": fit.converged,
                "folds": len(fit.cv_metrics),
                "folds_converged": sum(fold.converged for fold in fit.cv_metrics),
                "restarts": len(fit.restart_objectives),
                "restarts_at_best": restarts_at_best(fit),
                "restarts_converged": int(fit.restart_converged.sum()),
                "remarks": " ".join(fit.remarks) or None,
            }
        )
    return pl.DataFrame(rows, schema=SCORE_SCHEMA)


def fold_table(fits: SubjectFits) -> pl.DataFrame:
    """One row per number of states and fold of held-out sessions, as ``FOLD_SCHEMA``.

    The gain over one state is taken on the same held-out sessions, found by their names. A fold
    without a choice is left out.
    """
    single = {
        fold.test_session_ids: fold.test_bits_per_trial
        for fit in fits.fits
        if fit.num_states == 1
        for fold in fit.cv_metrics
    }
    rows = []
    for fit in fits.fits:
        for fold in fit.cv_metrics:
            if not fold.test_trial_count:
                continue
            base = single.get(fold.test_session_ids)
            gain = None if base is None else fold.test_bits_per_trial - base
            rows.append(
                (
                    *(fits.subject, fit.num_states, fold.fold_index, fold.test_trial_count),
                    *(fold.test_log_likelihood_per_trial, fold.test_bits_per_trial, gain),
                    *(fold.test_accuracy, fold.converged),
                )
            )
    return pl.DataFrame(rows, schema=FOLD_SCHEMA, orient="row")


def fold_means(folds: pl.DataFrame) -> pl.DataFrame:
    """Means over folds with their standard errors, as ``FOLD_MEAN_SCHEMA``.

    Parameters
    ----------
    folds
        ``fold_table`` of any subjects.
    """
    weight = pl.col("test_trials") / pl.col("test_trials").sum()

    def mean(value: str) -> pl.Expr:
        # A sum over nulls would be 0.
        return pl.when(pl.col(value).null_count() == 0).then((pl.col(value) * weight).sum())

    def error(value: str) -> pl.Expr:
        return pl.col(value).std() / pl.col(value).count().sqrt()

    grouped = folds.group_by("subject", "num_states").agg(
        heldout_bits_per_trial=mean("heldout_bits_per_trial"),
        heldout_bits_se=error("heldout_bits_per_trial"),
        heldout_gain=mean("heldout_gain"),
        heldout_gain_se=error("heldout_gain"),
    )
    return grouped.sort("subject", "num_states")


def restart_table(fits: SubjectFits) -> pl.DataFrame:
    """One row per number of states, restart and iteration of EM, as ``RESTART_SCHEMA``."""
    parts = []
    for fit in fits.fits:
        traces = fit.restart_log_probability
        best = float(fit.restart_objectives.max())
        nats = SAME_OPTIMUM * max(fit.num_choices, 1000) / 1000
        restart, iteration = np.nonzero(np.isfinite(traces))
        objective = traces[restart, iteration]
        parts.append(
            pl.DataFrame(
                {
                    "subject": [fits.subject] * len(restart),
                    "num_states": [fit.num_states] * len(restart),
                    "restart": restart,
                    "iteration": iteration,
                    "objective": objective,
                    "below_best": best - objective,
                    "converged": fit.restart_converged[restart],
                    "reached_best": (fit.restart_objectives >= best - nats)[restart],
                    "same_optimum": [nats] * len(restart),
                },
                schema=RESTART_SCHEMA,
            )
        )
    return pl.concat(parts)
