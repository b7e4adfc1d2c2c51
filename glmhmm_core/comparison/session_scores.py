"""Held-out log-likelihood of every session, from the fold in which it was held out."""

import polars as pl

from glmhmm_core.fitting.result import SubjectFits

SESSION_SCORE_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "session": pl.String(),
    "num_choices": pl.Int64(),
    "heldout_log_likelihood": pl.Float64(),  # nats, summed over the session's choices
}


def session_scores(fits: SubjectFits) -> pl.DataFrame:
    """One row per number of states and held-out session, as ``SESSION_SCORE_SCHEMA``.

    Empty without folds. A model of which some fold did not converge is left out.
    """
    rows = [
        (fits.subject, fit.num_states, session, choices, score)
        for fit in fits.fits
        if all(fold.converged for fold in fit.cv_metrics)
        for fold in fit.cv_metrics
        for session, choices, score in zip(
            fold.test_session_ids,
            fold.test_session_trial_counts,
            fold.test_session_log_likelihoods,
            strict=True,
        )
    ]
    return pl.DataFrame(rows, schema=SESSION_SCORE_SCHEMA, orient="row")
