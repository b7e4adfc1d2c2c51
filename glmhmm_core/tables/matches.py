"""Matches of subjects' states to those of the pooled fit, with their names."""

import polars as pl

from glmhmm_core.fitting.result import SubjectFits
from glmhmm_core.states.matching import MATCH_SCHEMA
from glmhmm_core.states.naming import Naming

STATE_MATCH_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_label": pl.String(),
    "reference_label": pl.String(),  # of the pooled fit's state
    **MATCH_SCHEMA,
    "state_ambiguous": pl.Boolean(),  # of this state alone: it does not take the name
    "state_reason": pl.String(),  # why; null unless ambiguous
}


def match_table(fits: SubjectFits, naming: Naming) -> pl.DataFrame:
    """Match of each state of a subject to one of the pooled fit's, as ``STATE_MATCH_SCHEMA``.

    Models of more than one state that the pooled fit has too, one row per state.
    """
    parts = [pl.DataFrame(schema=STATE_MATCH_SCHEMA)]
    for fit in fits.fits:
        match, theirs = naming.match(fit), naming.reference(fit.num_states)
        if match is None or theirs is None:
            continue
        labels = naming(fit, fits.choice_names)
        doubts = naming.doubts(fit, match, theirs, fits.choice_names)
        parts.append(
            match.table().select(
                pl.lit(fits.subject).alias("subject"),
                pl.lit(fit.num_states, pl.Int64).alias("num_states"),
                pl.Series("state_label", labels.labels),
                pl.Series("reference_label", [theirs.labels[j] for j in match.reference]),
                *MATCH_SCHEMA,
                pl.Series("state_ambiguous", [doubt is not None for doubt in doubts]),
                pl.Series(
                    "state_reason", [doubt and f"It {doubt}." for doubt in doubts], pl.String
                ),
            )
        )
    return pl.concat(parts)
