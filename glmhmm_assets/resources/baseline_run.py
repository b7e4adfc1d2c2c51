"""What the MLflow run of a baseline says: parameters, metrics and its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_assets.resources.logged_model import Findings, LoggedModel, known

if TYPE_CHECKING:
    from glmhmm_core.baselines.result import BaselineFit, SubjectBaselines
    from glmhmm_core.fitting.result import FitResult


def logged_baseline(
    baselines: SubjectBaselines,
    fit: BaselineFit[Any],
    beside: FitResult,
    findings: Findings,
    asset: str = "baseline_fits",
) -> LoggedModel:
    """One of a subject's baselines, for its run.

    Parameters
    ----------
    baselines, fit
        The subject's baselines, and the one.
    beside
        A GLM-HMM with the same priors and folds.
    findings
        What was made of it.
    asset
        Asset of the graph that made it.
    """
    outcome = "converged" if fit.converged else "**not converged**"
    return LoggedModel(
        subject=baselines.subject,
        model=fit.model,
        num_states=fit.num_states,
        fingerprint=baselines.fingerprint,
        about=(
            f"{_what(fit)} of **{baselines.subject}**: {fit.num_choices} choices in "
            f"{len(np.unique(fit.session_ids))} sessions, {outcome}."
        ),
        asset=asset,
        params=_params(fit, beside),
        metrics=known({**_scores(fit), **_estimates(fit)}),
        findings=findings,
    )


def _what(fit: BaselineFit[Any]) -> str:
    """Name the model, as a sentence begins."""
    if fit.num_states == 1:
        return f"Baseline {fit.model}"
    kinds = len(fit.fitted_params.shares)
    return f"GLM-HMM with {fit.num_states} states and sessions of {kinds} kinds"


def _params(fit: BaselineFit[Any], beside: FitResult) -> dict[str, str]:
    """Everything that was decided before the fit."""
    scales = zip(beside.emission_names, beside.specification.emission_scale, strict=True)
    prior = ", ".join(f"{name} {scale:g}" for name, scale in scales)
    params = fit.fitted_params
    drifts = hasattr(params, "step_sizes")
    own: dict[str, str] = {}
    if hasattr(params, "lapse"):
        own["lapse"] = str(params.lapse)
    if hasattr(params, "shares"):
        own["session_kinds"] = str(len(params.shares))
    return {
        "regressors": ", ".join(fit.names),
        ("initial_prior_scale" if drifts else "emission_prior_scale"): prior,
        "n_starts": str(len(fit.start_objectives)),
        "seed": str(beside.settings.seed),
        "cv_folds": str(len(fit.cv_metrics)),
        "prospective_folds": str(len(fit.prospective)),
        **own,
    }


def _scores(fit: BaselineFit[Any]) -> dict[str, float | None]:
    """Where the fit ended, under the names that runs of GLM-HMMs have."""
    tested = [fold for fold in fit.cv_metrics if fold.test_trial_count]
    trials = sum(fold.test_trial_count for fold in tested)
    return {
        "train_log_likelihood": fit.raw_log_likelihood,
        "train_log_likelihood_per_trial": fit.log_likelihood_per_trial,
        "train_bits_per_trial": fit.bits_per_trial,
        "train_accuracy": fit.accuracy,
        "heldout_log_likelihood_per_trial": (
            sum(fold.test_log_likelihood for fold in tested) / trials if trials else None
        ),
        "heldout_bits_per_trial": fit.heldout_bits_per_trial,
        "heldout_accuracy": fit.heldout_accuracy,
        "objective": fit.objective_log_probability,
        "bic": fit.bic,
        "aic": fit.aic,
        "num_parameters": fit.num_parameters,
        "num_iterations": fit.iterations,
        "converged": fit.converged,
        "num_sessions": len(np.unique(fit.session_ids)),
        "num_trials": len(fit.y),
        "num_choices": fit.num_choices,
    }


def _estimates(fit: BaselineFit[Any]) -> dict[str, float | None]:
    """Lapse rates, shares and self-transitions of kinds, or learned step sizes, by name."""
    params = fit.fitted_params
    if hasattr(params, "shares"):
        stay = np.diagonal(params.transition_matrix, axis1=1, axis2=2).mean(1)
        told = enumerate(zip(params.shares.tolist(), stay.tolist(), strict=True))
        return {
            name: value
            for kind, (share, staying) in told
            for name, value in (
                (f"share_of_kind_{kind}", share),
                (f"self_transition_of_kind_{kind}", staying),
            )
        }
    if hasattr(params, "lapse_rates"):
        rates = zip(params.lapse_labels, params.lapse_rates.tolist(), strict=True)
        return {f"lapse_rate {name}": rate for name, rate in rates}
    sizes: dict[str, float | None] = {}
    for what in ("step_sizes", "session_step_sizes"):
        steps = zip(fit.names, getattr(params, what).tolist(), strict=True)
        sizes |= {f"{what.removesuffix('s')} {name}": step for name, step in steps}
    return sizes
