"""Subjects side by side: the cohort summary, and means over subjects of any other table."""

from collections.abc import Sequence

import polars as pl

from glmhmm_core.fitting.result import Excluded, SubjectFits
from glmhmm_core.states.naming import Naming
from glmhmm_core.tables.parameters import STATE_SCHEMA, state_table
from glmhmm_core.tables.scores import SCORE_SCHEMA, score_table

_MODEL = ["subject", "num_states"]
#: Why a subject is in no number over subjects, after "subjects".
NO_FITS, NOT_CONVERGED = "without fits", "whose fit did not converge"


def cohort_summary(
    fits: Sequence[SubjectFits],
    excluded: Sequence[Excluded] = (),
    naming: Naming | None = None,
) -> pl.DataFrame:
    """Scores and states of every model of every subject.

    Parameters
    ----------
    fits
        Models of the subjects; a subject may lack some numbers of states.
    excluded
        Subjects without models; each becomes one row with its reason in ``excluded`` and nulls.
    naming
        Names the states; by themselves if not given.

    Returns
    -------
    DataFrame, sorted by subject and number of states: ``SCORE_SCHEMA``;
    ``labels_ambiguous``, ``label_reason``; ``min_occupancy`` (smallest mean posterior of a
    state) and ``min_dwell`` (smallest expected dwell, trials); for every state that subjects
    share, ``occupancy_<name>`` (mean posterior) and ``dwell_<name>``, null where the model has no
    such state; ``notes`` on the subject, e.g. models that could not
    be fitted; ``excluded``, the reason a subject has no model.
    """
    scores = _stack([score_table(one) for one in fits], SCORE_SCHEMA)
    states = _stack([state_table(one, naming) for one in fits], STATE_SCHEMA)
    of_model = states.group_by(_MODEL).agg(
        pl.col("labels_ambiguous", "label_reason").first(),
        min_occupancy=pl.col("occupancy_soft").min(),
        min_dwell=pl.col("expected_dwell").min(),
    )
    summary = scores.join(of_model, on=_MODEL, how="left")
    for shared in shared_names(states.filter(pl.col("num_states") > 1)):
        name = shared.replace(" ", "_")
        one = states.filter(state_match=shared).select(
            *_MODEL,
            pl.col("occupancy_soft").alias(f"occupancy_{name}"),
            pl.col("expected_dwell").alias(f"dwell_{name}"),
        )
        summary = summary.join(one, on=_MODEL, how="left")
    notes = {one.subject: " ".join(one.notes) for one in fits if one.notes}
    summary = summary.with_columns(
        notes=pl.col("subject").replace_strict(notes, default=None, return_dtype=pl.String)
    )
    missing = pl.DataFrame(
        {
            "subject": [one.subject for one in excluded],
            "excluded": [one.reason for one in excluded],
        },
        schema={"subject": pl.String, "excluded": pl.String},
    )
    return pl.concat([summary, missing], how="diagonal").sort(_MODEL, nulls_last=True)


def members(
    fits: Sequence[SubjectFits], num_states: int, excluded: Sequence[str] = ()
) -> tuple[list[SubjectFits], dict[str, list[str]]]:
    """Subjects of whom a number over all may be made, and the others by what they lack.

    Parameters
    ----------
    fits
        Models of the subjects.
    num_states
        Which model the number is about.
    excluded
        Names of the subjects that have no models.

    Returns
    -------
    fits
        Of those who have the model, converged, with the regressors that most of them have.
    left_out
        Names of the others by reason, as it stands after "subjects"; no empty ones.
    """
    have, absent, unfinished = [], [], []
    for one in fits:
        fit = one.find(num_states)
        if fit is None:
            absent.append(one.subject)
        elif not fit.converged:
            unfinished.append(one.subject)
        else:
            have.append((one, fit.emission_names))
    designs = [names for _, names in have]
    usual = max(designs, key=designs.count, default=())
    others = [one.subject for one, names in have if names != usual]
    left_out = {
        NO_FITS: list(excluded),
        f"without a model of {num_states} state{'s'[: num_states > 1]}": absent,
        NOT_CONVERGED: unfinished,
        "with other regressors": others,
    }
    counted = [one for one, names in have if names == usual]
    return counted, {reason: names for reason, names in left_out.items() if names}


def shared_names(table: pl.DataFrame) -> list[str]:
    """Names of the states that subjects share, in display order.

    ``table`` has ``state_match`` and ``state_rank``.
    """
    ranked = table.drop_nulls("state_match").group_by("state_match")
    ranks = ranked.agg(pl.col("state_rank").mean())
    return ranks.sort("state_rank", "state_match")["state_match"].to_list()


def over_subjects(table: pl.DataFrame, by: Sequence[str], values: Sequence[str]) -> pl.DataFrame:
    """Each value's summary over subjects, sorted by the columns ``by``.

    Parameters
    ----------
    table
        Any table with one row per subject within each group of ``by``.
    by
        Columns that say what is averaged, e.g. state and feature.
    values
        Columns to average.

    Returns
    -------
    DataFrame with ``by``, ``subjects`` (how many) and for each value ``<value>_mean``, ``_se``
    (standard error over subjects, null for one), ``_q25``, ``_median`` and ``_q75``.
    """
    summaries = [
        expression
        for value in values
        for expression in (
            pl.col(value).mean().alias(f"{value}_mean"),
            (pl.col(value).std() / pl.col(value).count().sqrt()).alias(f"{value}_se"),
            pl.col(value).quantile(0.25, "linear").alias(f"{value}_q25"),
            pl.col(value).median().alias(f"{value}_median"),
            pl.col(value).quantile(0.75, "linear").alias(f"{value}_q75"),
        )
    ]
    grouped = table.group_by(by).agg(pl.col("subject").n_unique().alias("subjects"), *summaries)
    return grouped.sort(by)


def _stack(parts: Sequence[pl.DataFrame], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=schema), *parts])
