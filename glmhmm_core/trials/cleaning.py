"""Cleaning: the exclusions of the study, then the rules of the task, with a report of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from glmhmm_core.tasks.task import PRESENT_KINDS, Task
from glmhmm_core.trials.copies import copies
from glmhmm_core.trials.ids import find_id
from glmhmm_core.trials.plausible import implausible
from glmhmm_core.trials.report import ReportRow, report_frame
from glmhmm_core.trials.rules import Ruled, apply_rule, drop_sessions, drop_subject, mask


@dataclass(frozen=True)
class Exclusion:
    """A session, or a whole subject (``session`` None), left out by hand with its reason."""

    subject: str
    session: str | None
    reason: str


def clean(
    trials: pl.DataFrame, task: Task, exclusions: Sequence[Exclusion] = ()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Apply the exclusions by hand, then the task's rules in their order, to one subject.

    Parameters
    ----------
    trials
        One subject's trials as ``read_subject`` gives them.
    task
        Its rules and regressors.
    exclusions
        Of any subjects; those of other subjects are passed over.

    Returns
    -------
    cleaned : DataFrame
        All trials of the sessions kept, as recorded, with ``CLEANING_SCHEMA`` added. Empty if
        the subject is dropped.
    report : DataFrame
        ``REPORT_SCHEMA``: one row per subject, session or run of trials dropped or masked.

    Notes
    -----
    A chain trial whose stimulus, or another column that a regressor takes the present value of,
    is unknown is masked: its regressors cannot be computed, but its choice is still the history
    of the next trials.
    """
    table = trials.with_columns(in_chain=pl.lit(True), masked=pl.lit(False))
    report: list[ReportRow] = []
    if trials.is_empty():
        return table, report_frame(report)
    subject = trials["subject"][0]
    own = [exclusion for exclusion in exclusions if find_id(exclusion.subject, [subject])]
    steps: list[Callable[[pl.DataFrame], Ruled]] = [
        partial(_exclude, exclusions=own),
        *(partial(apply_rule, rule=rule) for rule in task.rules),
        _drop_chainless,
        partial(_mask_unknown_stimuli, task=task),
        _drop_choiceless,
    ]
    for step in steps:
        if table.is_empty():
            break
        table, rows = step(table)
        report += rows
    if table.is_empty() and not any(row.level == "subject" and not row.warning for row in report):
        reason = f"none of its {trials['session'].n_unique()} sessions is left"
        row = ReportRow("subject", "no_sessions", reason, subject, n_trials=0, dropped=True)
        report.append(row)
    # If nothing is left, a wrong sign or code may be the reason.
    looked_at = table if table.height else _not_excluded(trials, own)
    report += [*implausible(looked_at, task), *copies(looked_at, task)]
    return table, report_frame(report)


def _not_excluded(trials: pl.DataFrame, exclusions: Sequence[Exclusion]) -> pl.DataFrame:
    """All trials of the sessions that nobody left out by hand."""
    table = trials.with_columns(in_chain=pl.lit(True), masked=pl.lit(False))
    return _exclude(table, exclusions)[0]


def _exclude(trials: pl.DataFrame, exclusions: Sequence[Exclusion]) -> Ruled:
    rows: list[ReportRow] = []
    there = set(trials["session"])
    reasons: dict[str, str] = {}
    for exclusion in exclusions:
        if exclusion.session is None:
            return drop_subject(trials, f"excluded by hand: {exclusion.reason}", "excluded")
        session = find_id(exclusion.session, there)
        if session is not None:
            reasons[session] = f"excluded by hand: {exclusion.reason}"
        else:
            reason = "the study excludes it, but no such session was read: correct its name there"
            keys = (exclusion.subject, exclusion.session)
            rows.append(ReportRow("session", "excluded", reason, *keys, warning=True))
    table, dropped = drop_sessions(trials, reasons, "excluded")
    return table, dropped + rows


def _drop_chainless(trials: pl.DataFrame) -> Ruled:
    counts = trials.group_by("session", maintain_order=True).agg(pl.col("in_chain").any()).rows()
    reasons = {session: "no trial of it is left" for session, some in counts if not some}
    return drop_sessions(trials, reasons, "empty_session")


def _drop_choiceless(trials: pl.DataFrame) -> Ruled:
    """Drop a subject without a single choice that counts: no model can be fitted to it."""
    chain = trials.filter("in_chain")
    if chain.filter(~pl.col("masked"))["choice"].count():
        return trials, []
    made, total = chain["choice"].count(), chain.height
    why = f"{made} of {total} trials have a choice"
    if made:
        why += ", and all of these are masked (an unknown stimulus, or a rule of the task)"
    return drop_subject(trials, f"no choice is left to fit: {why}", "no_choices")


def _mask_unknown_stimuli(trials: pl.DataFrame, task: Task) -> Ruled:
    rows: list[ReportRow] = []
    present = [r.column for r in task.all_regressors if r.kind in PRESENT_KINDS]
    for column in dict.fromkeys(column for column in present if column is not None):
        where = pl.col(column).is_null()
        trials, more = mask(trials, where, f"{column} is unknown", "unknown_stimulus")
        rows += more
    return trials, rows
