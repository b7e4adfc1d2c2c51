"""The history of a subject's fits: what each refit was tested on, and which of them stood."""

from datetime import datetime

import polars as pl

from glmhmm_core.comparison.succession import reason_to_hold
from glmhmm_core.fitting.result import SubjectFits

#: What became of a refit; one that is held says why behind it.
PROMOTED, BY_HAND, HELD = "promoted", "promoted by hand", "held: "

REFIT_SCHEMA: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),  # when it was decided
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "fingerprint": pl.String(),
    "inputs": pl.String(),  # under which the fits are kept
    "earlier": pl.String(),  # fingerprint of the fits before; null for a first fit
    "promotion": pl.String(),  # of all numbers of states together
    "doubt": pl.String(),  # why this model alone would be held; null if it would not
    "converged": pl.Boolean(),
    "states_ambiguous": pl.Boolean(),  # null for a first fit, as all that follows
    "match_cost": pl.Float64(),
    "match_margin": pl.Float64(),  # null too where there is no other assignment
    "new_sessions": pl.Int64(),
    "changed_sessions": pl.Int64(),  # corrected or removed
    "new_choices": pl.Int64(),
    # Of the earlier model on the new sessions, which it never saw; null without new choices.
    "prospective_log_likelihood": pl.Float64(),  # nats
    "prospective_bits_per_trial": pl.Float64(),
    "prospective_gain_over_glm": pl.Float64(),  # bits per trial; null too without that model
}


def refit_table(fits: SubjectFits, inputs: str, promotion: str, time: datetime) -> pl.DataFrame:
    """One row per number of states, as ``REFIT_SCHEMA``.

    Parameters
    ----------
    fits
        As :func:`~glmhmm_core.comparison.succession.succeed` gives them.
    inputs, promotion, time
        What they are kept under, what became of them and when.
    """
    rows: list[tuple] = []
    for fit in fits.fits:
        first = (time, fits.subject, fit.num_states, fits.fingerprint, inputs, fits.earlier)
        decided = (promotion, reason_to_hold(fit), fit.converged)
        s = fit.succession
        if s is None:
            rows.append((*first, *decided, *[None] * 9))
            continue
        match = (s.ambiguous, s.match_cost, s.match_margin)
        sessions = (len(s.new_sessions), len(s.changed_sessions), s.new_choices)
        rows.append(
            (
                *first,
                *decided,
                *match,
                *sessions,
                s.log_likelihood,
                s.bits_per_trial,
                s.gain_over_glm,
            )
        )
    return pl.DataFrame(rows, schema=REFIT_SCHEMA, orient="row")
