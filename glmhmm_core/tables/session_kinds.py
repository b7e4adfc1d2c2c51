"""Sessions of several kinds as a table: which kind each is, how often it switches, and gains."""

import jax
import numpy as np
import polars as pl

from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.engine.session_kinds import SessionKinds, as_one_chain
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult


def session_table(subject: str, fit: FitResult, kinds: BaselineFit[SessionKinds]) -> pl.DataFrame:
    """One row per session: how probable each kind is, and what that gains held out.

    ``num_choices``; ``num_switches`` between the most probable states of its trials;
    ``p_kind_<g>`` given all of its choices; the ``heldout_gain`` over the plain fit in nats (null
    without folds). Kinds in the order of the parameters.

    Parameters
    ----------
    fit
        The plain fit.
    kinds
        Sessions of several kinds around it.
    """
    problem, params = problem_of(fit), kinds.fitted_params
    count, states = params.initial_probs.shape
    said = problem.posteriors(jax.tree.map(np.asarray, as_one_chain(params)))
    both = said.smoothed.reshape(-1, count, states)
    first = np.unique(problem.session_index, return_index=True)[1]
    choices = np.bincount(problem.session_index[problem.mask], minlength=len(first))
    pairs = zip(kinds.cv_metrics, fit.cv_metrics, strict=True)
    gains = {
        session: with_kinds - plain
        for mine, theirs in pairs
        for session, with_kinds, plain in zip(
            mine.test_session_ids,
            mine.test_session_log_likelihoods,
            theirs.test_session_log_likelihoods,
            strict=True,
        )
    }
    return pl.DataFrame(
        {
            "subject": [subject] * len(first),
            "model": [kinds.model] * len(first),
            "num_states": [fit.num_states] * len(first),
            "session": problem.sessions,
            "num_choices": choices,
            "num_switches": _switches(both.sum(1).argmax(1), problem.session_index),
            **{f"p_kind_{g}": both.sum(2)[first, g] for g in range(count)},
            "heldout_gain": pl.Series([gains.get(s) for s in problem.sessions], dtype=pl.Float64),
        }
    )


def _switches(state: np.ndarray, session: np.ndarray) -> np.ndarray:
    """How often a path (T,) changes its state within each session, int (S,)."""
    order = np.argsort(session, kind="stable")
    state, session = state[order], session[order]
    changed = (state[1:] != state[:-1]) & (session[1:] == session[:-1])
    return np.bincount(session[1:][changed], minlength=session.max() + 1)
