"""Whether a subject's states are those of the population: matches, and what they cast doubt on."""

from dataclasses import replace

import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.labels import Roles, StateLabels, order_and_label
from glmhmm_core.states.matching import MATCH_SCHEMA, StateMatch, match_states

STATE_MATCH_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_label": pl.String(),
    "reference_label": pl.String(),  # of the population's state; null: matched to none
    **MATCH_SCHEMA,
    "state_ambiguous": pl.Boolean(),  # of this state alone
}


def match_table(
    fits: SubjectFits, population: SubjectFits, roles: Roles | None = None
) -> pl.DataFrame:
    """Which of the population's states each state of a subject is, as ``STATE_MATCH_SCHEMA``.

    Models of more than one state that the population has too, one row per state.
    """
    parts = [pl.DataFrame(schema=STATE_MATCH_SCHEMA)]
    for fit in fits.fits:
        reference = population.find(fit.num_states)
        match = _match(fit, reference)
        if match is None or reference is None:
            continue
        labels = order_and_label(fit, fits.choice_names, roles)
        theirs = order_and_label(reference, population.choice_names, roles)
        found = match.reference.tolist()
        parts.append(
            match.table().select(
                pl.lit(fits.subject).alias("subject"),
                pl.lit(fit.num_states, pl.Int64).alias("num_states"),
                pl.Series("state_label", labels.labels),
                pl.Series("reference_label", [theirs.labels[j] if j >= 0 else None for j in found]),
                *MATCH_SCHEMA,
                pl.Series("state_ambiguous", match.doubtful),
            )
        )
    return pl.concat(parts)


def labels_beside(
    fit: FitResult,
    choice_names: tuple[str, ...],
    roles: Roles | None,
    population: SubjectFits | None,
) -> StateLabels:
    """Names of a fit's states, ambiguous too where they match the population's ambiguously."""
    labels = order_and_label(fit, choice_names, roles)
    match = _match(fit, population.find(fit.num_states) if population else None)
    if match is None or not match.ambiguous:
        return labels
    reason = f"{labels.reason} Beside the population: {match.reason}".strip()
    return replace(labels, ambiguous=True, reason=reason)


def _match(fit: FitResult, reference: FitResult | None) -> StateMatch | None:
    """The match, if there is something to match."""
    if reference is None or fit.num_states == 1:
        return None
    try:
        return match_states(fit, reference)
    except InputError:  # the population is of another design; its next version is of this one
        return None
