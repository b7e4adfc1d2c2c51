"""A subject's refit beside its earlier fit: a prospective test, states carried over, a verdict.

New sessions are a test that nobody had to set aside: the earlier model never saw them. The refit
that follows may take its place only if the states are still the same ones.
"""

import hashlib
import math
from dataclasses import replace

import numpy as np

from glmhmm_core.comparison.scores import SAME_OPTIMUM
from glmhmm_core.design.design import Design
from glmhmm_core.fitting.free_parameters import interchangeable
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult, SubjectFits, Succession
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.states.matching import match_parameters, renumbered


def is_of_same_model(fits: SubjectFits, design: Design, settings: FitSettings) -> bool:
    """Whether these fits are of the same regressors and choices as new ones, their refits."""
    fit = fits.fits[0]
    theirs = (fit.emission_names, fits.choice_names, fit.baseline_class_idx)
    ours = (design.feature_names, design.choice_names, design.baseline_class_idx)
    return theirs == ours and fit.transition_names == settings.transition_regressors


def succeed(fits: SubjectFits, earlier: SubjectFits) -> SubjectFits:
    """Refits in the earlier fits' order of states, with what came of the earlier ones.

    Parameters
    ----------
    fits
        Fitted to the subject's sessions as they are now.
    earlier
        The subject's fits before, of the same regressors and choices.

    Returns
    -------
    SubjectFits
        ``fits`` with ``succession`` wherever ``earlier`` has as many states.
    """
    new, changed = compare_sessions(fits, earlier)
    problem = problem_of(fits.fits[0])
    counts = np.isin(fits.keys_session, new) & problem.mask
    scores = {fit.num_states: _score(fit, problem, counts) for fit in earlier.fits}
    _, glm_bits = scores.get(1, (None, None))
    told = []
    for fit in fits.fits:
        before = earlier.find(fit.num_states)
        if before is None:
            told.append(fit)
            continue
        match = match_parameters(
            fit.fitted_params, before.fitted_params, problem, interchangeable(fit)
        )
        log_likelihood, bits = scores[fit.num_states]
        succession = Succession(
            earlier=earlier.fingerprint,
            new_sessions=new,
            changed_sessions=changed,
            new_choices=int(counts.sum()),
            log_likelihood=log_likelihood,
            bits_per_trial=bits,
            glm_bits_per_trial=glm_bits,
            match_cost=match.total / fit.num_states,
            match_margin=match.margin if math.isfinite(match.margin) else None,
            ambiguous=match.ambiguous,
            reason=match.reason,
        )
        told.append(replace(renumbered(fit, match.order), succession=succession))
    return replace(fits, fits=tuple(told))


def compare_sessions(
    fits: SubjectFits, earlier: SubjectFits
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sessions that the earlier fits never saw, and those that are no more what they saw.

    A session under another name is not new, and one whose trials were corrected is not either.
    """
    first, before = fits.fits[0], earlier.fits[0]
    now = _contents(fits.keys_session, fits.keys_trial, first.X, first.y, first.mask)
    then = _contents(earlier.keys_session, earlier.keys_trial, before.X, before.y, before.mask)
    seen = set(then.values())
    new = tuple(s for s, content in now.items() if s not in then and content not in seen)
    return new, tuple(s for s, content in then.items() if now.get(s) != content)


def still_holds(fits: SubjectFits, design: Design) -> bool:
    """Whether every trial that these fits were made on is in the design as it was."""
    fit = fits.fits[0]
    then = _contents(fits.keys_session, fits.keys_trial, fit.X, fit.y, fit.mask)
    trials = design.keys["trial"].to_numpy()
    now = _contents(design.session_ids, trials, design.X, design.y, design.mask)
    return all(now.get(session) == content for session, content in then.items())


def reason_to_hold(fit: FitResult) -> str | None:
    """Why this refit must not take its predecessor's place before a person looked; None if it may.

    It may if it converged, is the best of its starts, and its states are the earlier ones beyond
    doubt. A first fit has no predecessor and only needs to have converged.
    """
    if not fit.converged:
        return f"it did not converge in {fit.num_iterations} iterations"
    if fit.succession is None:
        return None
    if not _is_best_of_starts(fit):
        return "another of its starts ended at a higher objective with other states"
    if fit.succession.ambiguous:
        return f"its states are not the earlier ones beyond doubt. {fit.succession.reason}"
    return None


def _is_best_of_starts(fit: FitResult) -> bool:
    """Whether no own restart was left for the population's optimum without held-out scores.

    Of several optima the rule takes that of the population unless held-out choices speak for
    another; where there are no folds, nothing has judged between them.
    """
    own = fit.own_optimum
    if own is None or own.chosen or own.heldout_gain is not None:
        return True
    margin = SAME_OPTIMUM * max(fit.num_choices, 1000) / 1000
    return own.objective_gain <= margin or own.state_agreement >= 0.9


def _score(
    fit: FitResult, problem: Problem, counts: np.ndarray
) -> tuple[float | None, float | None]:
    """Log-likelihood (nats) and bits per choice of the choices at ``counts`` (T,), if any.

    They are those of whole sessions, which are independent of the others. Bits are over the
    frequencies of the choices that the fit saw.
    """
    if not counts.any():
        return None, None
    log_likelihood = float(problem.posteriors(fit.fitted_params).log_likelihood[counts].sum())
    seen = np.bincount(fit.y[fit.mask], minlength=fit.num_classes) + 0.5
    base = float(np.log(seen / seen.sum())[problem.y[counts]].sum())
    return log_likelihood, (log_likelihood - base) / (math.log(2) * int(counts.sum()))


def _contents(
    sessions: np.ndarray, trials: np.ndarray, X: np.ndarray, y: np.ndarray, mask: np.ndarray
) -> dict[str, str]:
    """Hash of each session's trials, in order of first appearance."""
    contents = {}
    for session in dict.fromkeys(sessions.tolist()):
        rows = sessions == session
        parts = (trials.astype(np.int64), X, y.astype(np.int64), mask)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(np.ascontiguousarray(part[rows]).tobytes())
        contents[str(session)] = digest.hexdigest()
    return contents
