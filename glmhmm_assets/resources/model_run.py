"""What the MLflow run of a GLM-HMM says: parameters, metrics, tags and its description.

Plain functions of a fit; nothing here imports MLflow or opens a store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_assets.resources.logged_model import Findings, LoggedModel, known

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import FitResult, SubjectFits
    from glmhmm_core.fitting.specification import Specification

#: As many remarks as surely fit into MLflow's note.
REMARKS = 8


def logged_fit(
    fits: SubjectFits,
    fit: FitResult,
    findings: Findings,
    asset: str = "subject_fits",
    status: Mapping[str, str] | None = None,
    pooled: str = "",
) -> LoggedModel:
    """One of a subject's models, for its run.

    Parameters
    ----------
    fits, fit
        The subject's models, and the one.
    findings
        What was made of it.
    asset
        Asset of the graph that made it.
    status
        What became of it: whether it is the subject's champion, and why it is or is not.
    pooled
        Whom the pooled fit was made of that it started from.
    """
    from glmhmm_core.comparison.scores import model_name
    from glmhmm_core.fitting.store import save_fits

    return LoggedModel(
        subject=fits.subject,
        model=model_name(fit),
        num_states=fit.num_states,
        fingerprint=fits.fingerprint,
        about=_about(fits, fit),
        asset=asset,
        params=run_params(fits, fit),
        metrics=run_metrics(fit),
        tags={
            "data_hash": data_hash(fit),
            "population_fingerprint": fits.population or "none",
            **({"pooled_fit_of": pooled} if pooled else {}),
            "earlier_fingerprint": fits.earlier or "none",
            "remarks": str(len(fit.remarks)),
        },
        status=status or {},
        traces={"em_objective": fit.log_probability.tolist()},
        files={"fit.npz": partial(save_fits, fits=replace(fits, fits=(fit,)))},
        findings=findings,
    )


def run_params(fits: SubjectFits, fit: FitResult) -> dict[str, str]:
    """Everything that was decided before the fit: model, priors, search.

    Hashes are tags alone: MLflow's comparisons plot parameters, and hashes say nothing there.
    """
    settings = fit.settings
    learned = fit.specification.population is not None
    told = {"population_priors": "learned from all subjects"} if learned else {}
    return {
        **told,
        "choices": ", ".join(fits.choice_names),
        "baseline_choice": fits.choice_names[fit.baseline_class_idx],
        "regressors": ", ".join(fit.emission_names),
        "emission_prior_scale": _scales(fit.specification),
        "transition_concentration": f"{settings.transition_concentration:g}",
        "stickiness": f"{settings.stickiness:g}",
        "initial_prior": "learned" if learned else "flat",
        "n_restarts": str(settings.n_restarts),
        "max_iters": str(settings.max_iters),
        "tol": f"{settings.tol:g}",
        "seed": str(settings.seed),
        "cv_folds": str(settings.cv_folds),
        **_chain(fit.specification),
    }


def _chain(model: Specification) -> dict[str, str]:
    """Return what drives the transitions and what is frozen, of models that have such."""
    said = {}
    if model.transition_names:
        said["transition_regressors"] = ", ".join(model.transition_names)
        pairs = zip(model.transition_names, model.transition_scale, strict=True)
        said["transition_prior_scale"] = ", ".join(f"{name} {scale:g}" for name, scale in pairs)
    for what, frozen in (
        ("frozen_weights", model.frozen_emissions),
        ("frozen_transition_weights", model.frozen_transitions),
    ):
        weights = [
            f"state {state}: {name} {value:g}"
            for state, held in sorted(frozen.items())
            for name, value in held.items()
        ]
        if weights:
            said[what] = ", ".join(weights)
    return said


def run_metrics(fit: FitResult) -> dict[str, float]:
    """Where the fit ended; log-likelihoods in nats, bits over the choices' own frequencies.

    Held-out values weight folds by their trials; they are absent when no folds were asked for.
    Those of the subject's own optimum are beside the one reached from the population's fit.
    Prospective ones are of the earlier model, on the sessions that this fit has and it had not.
    """
    from glmhmm_core.comparison import scores

    values: dict[str, float | None] = {
        "train_log_likelihood": fit.raw_log_likelihood,
        "train_log_likelihood_per_trial": fit.log_likelihood_per_trial,
        "train_bits_per_trial": scores.bits_per_trial(fit),
        "train_accuracy": fit.accuracy,
        "heldout_log_likelihood_per_trial": _heldout_log_likelihood(fit),
        "heldout_bits_per_trial": scores.heldout_bits_per_trial(fit),
        "heldout_accuracy": scores.heldout_accuracy(fit),
        "objective": fit.objective_log_probability,
        "bic": scores.bic(fit),
        "aic": scores.aic(fit),
        "num_parameters": scores.num_parameters(fit),
        "num_iterations": fit.num_iterations,
        "converged": fit.converged,
        "restarts_converged": fit.restart_converged.sum(),
        "restarts_at_best": scores.restarts_at_best(fit),
        "num_sessions": len(np.unique(fit.session_ids)),
        "num_trials": len(fit.y),
        "num_choices": fit.num_choices,
    }
    if own := fit.own_optimum:
        values |= {
            "own_objective_gain": own.objective_gain,
            "own_heldout_gain": own.heldout_gain,
            "own_state_agreement": own.state_agreement,
            "own_optimum_chosen": own.chosen,
            "ambiguous_optimum": own.ambiguous,
        }
    if test := fit.succession:
        values |= {
            "states_ambiguous": test.ambiguous,
            "match_cost": test.match_cost,
            "match_margin": test.match_margin,
            "new_sessions": len(test.new_sessions),
            "changed_sessions": len(test.changed_sessions),
            "prospective_log_likelihood": test.log_likelihood,
            "prospective_bits_per_trial": test.bits_per_trial,
            "prospective_gain_over_glm": test.gain_over_glm,
        }
    return known(values)


def _about(fits: SubjectFits, fit: FitResult) -> str:
    sessions = len(np.unique(fit.session_ids))
    outcome = "converged" if fit.converged else "**not converged**"
    model = "GLM-HMM-T" if fit.transition_names else "GLM-HMM"
    states = f"{fit.num_states} state{'s'[: fit.num_states > 1]}"
    shrunken = fit.specification.population is not None
    under = " under the population's learned priors" if shrunken else ""
    return (
        f"{model} with {states} of **{fits.subject}**{under}: "
        f"{fit.num_choices} choices in {sessions} sessions, {outcome} after "
        f"{fit.num_iterations} iterations.{_remarks(fit)}"
    )


def _remarks(fit: FitResult) -> str:
    """Return what the fit should be read with, shortened to what MLflow's notes can hold."""
    more = len(fit.remarks) - REMARKS
    rest = [f"... and {more} more, on the page of subject_fits."] if more > 0 else []
    return "".join(f"\n\n{remark}" for remark in (*fit.remarks[:REMARKS], *rest))


def data_hash(fit: FitResult) -> str:
    """SHA-256 of what the model saw: choices, masks, regressors with names, sessions."""
    digest = hashlib.sha256()
    sessions = "\0".join(map(str, fit.session_ids.tolist()))
    driven = (",".join(fit.transition_names),) if fit.transition_names else ()
    for text in (",".join(fit.emission_names), sessions, *driven):
        digest.update(text.encode())
    for array, dtype in ((fit.y, "<i8"), (fit.mask, "|b1"), (fit.X, "<f8")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    digest.update(np.ascontiguousarray(fit.U, dtype="<f8").tobytes())
    return digest.hexdigest()


def _scales(model: Specification) -> str:
    """Return the prior scales with their regressors' names; ``inf`` is an improper, flat prior."""
    scales = zip(model.emission_names, model.emission_scale, strict=True)
    return ", ".join(f"{name} {scale:g}" for name, scale in scales)


def _heldout_log_likelihood(fit: FitResult) -> float | None:
    """Nats per held-out trial over all folds together; None without folds."""
    folds = [fold for fold in fit.cv_metrics if fold.test_trial_count]
    if not folds:
        return None
    trials = [fold.test_trial_count for fold in folds]
    return float(np.average([f.test_log_likelihood_per_trial for f in folds], weights=trials))
