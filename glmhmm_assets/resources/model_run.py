"""What an MLflow run says about one fitted model: parameters, metrics, tags and its description.

Plain functions of a fit and of where it came from; nothing here imports MLflow or opens a store.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import FitResult, SubjectFits
    from glmhmm_core.fitting.specification import Specification

PACKAGES = ("glmhmm_core", "glmhmm_assets")


@dataclass(frozen=True)
class Origin:
    """Where a fit came from.

    Attributes
    ----------
    study, task
        Names of the study and of its task.
    dagster_url
        Address of the Dagster pages.
    dagster_run_id
        The Dagster run that logs the fit.
    """

    study: str
    task: str
    dagster_url: str
    dagster_run_id: str

    @property
    def run_url(self) -> str:
        """The Dagster run."""
        return f"{self.dagster_url}/runs/{self.dagster_run_id}"

    def fit_url(self, subject: str) -> str:
        """Give the page of the subject's fit among the partitions of its asset."""
        return (
            f"{self.dagster_url}/assets/{self.study}/subject_fits"
            f"?view=partitions&partition={quote(subject)}"
        )


def run_params(fits: SubjectFits, fit: FitResult, origin: Origin) -> dict[str, str]:
    """Everything that was decided before the fit: data, model, priors, search.

    Hashes are tags alone: MLflow's comparisons plot parameters, and hashes say nothing there.
    """
    settings = fit.settings
    return {
        "study": origin.study,
        "task": origin.task,
        "subject": fits.subject,
        "num_states": str(fit.num_states),
        "choices": ", ".join(fits.choice_names),
        "baseline_choice": fits.choice_names[fit.baseline_class_idx],
        "regressors": ", ".join(fit.emission_names),
        "emission_prior_scale": _scales(fit.specification),
        "transition_concentration": f"{settings.transition_concentration:g}",
        "stickiness": f"{settings.stickiness:g}",
        "initial_prior": "flat",
        "n_restarts": str(settings.n_restarts),
        "max_iters": str(settings.max_iters),
        "tol": f"{settings.tol:g}",
        "seed": str(settings.seed),
        "cv_folds": str(settings.cv_folds),
    }


def run_metrics(fit: FitResult) -> dict[str, float]:
    """Where the fit ended; log-likelihoods in nats, bits over the choices' own frequencies.

    Held-out values weight folds by their trials; they are absent when no folds were asked for.
    Those of the subject's own optimum are beside the one reached from the population's fit.
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
    return {name: float(value) for name, value in values.items() if value is not None}


def run_tags(
    fits: SubjectFits, fit: FitResult, origin: Origin, code: CodeVersion
) -> dict[str, str]:
    """Name what runs are found and filtered by, and the way back to Dagster."""
    return {
        "study": origin.study,
        "subject": fits.subject,
        "num_states": str(fit.num_states),
        "fingerprint": fits.fingerprint,
        "data_hash": data_hash(fit),
        "population_fingerprint": fits.population or "none",
        "superseded": "false",
        "git_commit": code.commit,
        "git_dirty": code.dirty,
        "dagster_run_id": origin.dagster_run_id,
        "dagster_run_url": origin.run_url,
        "dagster_fit_url": origin.fit_url(fits.subject),
        "mlflow.source.name": "glmhmm",
        "mlflow.source.git.commit": code.commit,
        "mlflow.note.content": _note(fits, fit, origin),
    }


def _note(fits: SubjectFits, fit: FitResult, origin: Origin) -> str:
    """Return the run's description; MLflow shows links in it, but not in tags."""
    sessions = len(np.unique(fit.session_ids))
    outcome = "converged" if fit.converged else "**not converged**"
    return (
        f"GLM-HMM with {fit.num_states} state{'s'[: fit.num_states > 1]} of **{fits.subject}** "
        f"in study **{origin.study}**: {fit.num_choices} choices in {sessions} sessions, "
        f"{outcome} after {fit.num_iterations} iterations.\n\n"
        f"In Dagster: [this subject's fit]({origin.fit_url(fits.subject)}), "
        f"[the run that logged it]({origin.run_url})."
    )


def data_hash(fit: FitResult) -> str:
    """SHA-256 of what the model saw: choices, masks, regressors with names, sessions."""
    digest = hashlib.sha256()
    sessions = "\0".join(map(str, fit.session_ids.tolist()))
    for text in (",".join(fit.emission_names), sessions):
        digest.update(text.encode())
    for array, dtype in ((fit.y, "<i8"), (fit.mask, "|b1"), (fit.X, "<f8")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()


def _scales(model: Specification) -> str:
    """Return the prior scales with their regressors' names; ``inf`` is an improper, flat prior."""
    scales = zip(model.emission_names, model.emission_scale, strict=True)
    return ", ".join(f"{name} {scale:g}" for name, scale in scales)


def _heldout_log_likelihood(fit: FitResult) -> float | None:
    """Nats per held-out trial over all folds together; None without folds."""
    trials = sum(fold.test_trial_count for fold in fit.cv_metrics)
    if not trials:
        return None
    folds = fit.cv_metrics
    return sum(f.test_log_likelihood_per_trial * f.test_trial_count for f in folds) / trials


@dataclass(frozen=True)
class CodeVersion:
    """Commit of the code that runs and whether its files differ from it, or ``unknown``."""

    commit: str = "unknown"
    dirty: str = "unknown"


def code_version(root: Path = Path(__file__).parents[2]) -> CodeVersion:
    """Ask git about the packages' own files; a copy installed outside a clone is ``unknown``.

    Only the packages count as dirty: study files and results beside them change all the time.
    """

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        # An environment inside somebody else's repository must not claim that one's commit.
        git("ls-files", "--error-unmatch", f"{PACKAGES[0]}/__init__.py")
        changes = git("status", "--porcelain", "--", *PACKAGES)
        return CodeVersion(git("rev-parse", "HEAD"), "true" if changes else "false")
    except (OSError, subprocess.SubprocessError):
        return CodeVersion()
