"""All models of one subject side by side: GLM, lapses, GLM-HMMs, scored on the same folds."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.comparison import scores
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.optimum import heldout_gain
from glmhmm_core.fitting.result import FitResult, SubjectFits

COMPARISON_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "model": pl.String(),  # "glm", "glmhmm", "lapse_class" ...
    "num_states": pl.Int64(),  # 1 of models without states
    "num_parameters": pl.Int64(),
    "log_likelihood": pl.Float64(),  # nats
    "bits_per_trial": pl.Float64(),
    "accuracy": pl.Float64(),
    "aic": pl.Float64(),
    "bic": pl.Float64(),
    "heldout_bits_per_trial": pl.Float64(),  # trial-weighted over folds
    "heldout_accuracy": pl.Float64(),
    "gain_over_glm": pl.Float64(),  # held-out bits per trial, paired by fold
    "gain_over_glm_se": pl.Float64(),  # over folds
    "converged": pl.Boolean(),  # the fit, and all of its folds
}


def comparison_table(
    fits: SubjectFits, others: Sequence[FitResult | BaselineFit[Any]]
) -> pl.DataFrame:
    """One row per model, as ``COMPARISON_SCHEMA``.

    Gains are over the model of one state, if it was fitted.

    Parameters
    ----------
    fits
        The subject's GLM-HMMs.
    others
        Other models of the same choices with the same folds.

    Raises
    ------
    InputError
        If another model's folds hold out other sessions than the GLM-HMMs'.
    """
    return _table(fits, [*fits.fits, *others])


def baseline_row(fits: SubjectFits, baseline: BaselineFit[Any]) -> pl.DataFrame:
    """The row of another model alone, as :func:`comparison_table` has it."""
    return _table(fits, [baseline])


def _table(fits: SubjectFits, models: Sequence[FitResult | BaselineFit[Any]]) -> pl.DataFrame:
    glm = next((fit for fit in fits.fits if fit.num_states == 1), None)
    held_out = [fold.test_session_ids for fold in fits.fits[0].cv_metrics]
    rows = []
    for model in models:
        if [fold.test_session_ids for fold in model.cv_metrics] != held_out:
            raise InputError(
                f"{_name(model)} was scored on other sessions than the GLM-HMMs",
                where=f"subject {fits.subject!r}",
                remedy="Fit it with the same folds and seed.",
            )
        rows.append({"subject": fits.subject, **_row(model), **_gain(model, glm)})
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA)


def _name(model: FitResult | BaselineFit[Any]) -> str:
    if isinstance(model, BaselineFit):
        return model.model
    return scores.model_name(model)


def _row(model: FitResult | BaselineFit[Any]) -> dict[str, Any]:
    common: dict[str, Any] = {
        "model": _name(model),
        "log_likelihood": model.raw_log_likelihood,
        "accuracy": model.accuracy,
        "converged": model.converged and all(fold.converged for fold in model.cv_metrics),
    }
    if isinstance(model, BaselineFit):
        return {
            **common,
            "num_states": model.num_states,
            "num_parameters": model.num_parameters,
            "bits_per_trial": model.bits_per_trial,
            "aic": model.aic,
            "bic": model.bic,
            "heldout_bits_per_trial": model.heldout_bits_per_trial,
            "heldout_accuracy": model.heldout_accuracy,
        }
    return {
        **common,
        "num_states": model.num_states,
        "num_parameters": scores.num_parameters(model),
        "bits_per_trial": scores.bits_per_trial(model),
        "aic": scores.aic(model),
        "bic": scores.bic(model),
        "heldout_bits_per_trial": scores.heldout_bits_per_trial(model),
        "heldout_accuracy": scores.heldout_accuracy(model),
    }


def _gain(model: FitResult | BaselineFit[Any], glm: FitResult | None) -> dict[str, float | None]:
    """Held-out gain over the GLM: trial-weighted mean over folds and its standard error."""
    gain, error = None, None
    if glm is not None and model is not glm:
        gain, error = heldout_gain(model.cv_metrics, glm.cv_metrics)
    return {"gain_over_glm": gain, "gain_over_glm_se": error}
