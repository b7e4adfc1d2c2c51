"""The door for session files: one call for every format, one canonical table out of it."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from upath import UPath

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.report import ReportRow, report_frame
from glmhmm_core.trials.sessions import RawSession, to_trials, trial_schema
from glmhmm_core.trials.sources import SourceFormat, open_source, usable_subjects


def read_subject(
    root: str | Path | UPath, source_format: SourceFormat, task: Task, subject: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read all sessions of one subject.

    Returns
    -------
    trials : DataFrame
        ``TRIAL_SCHEMA`` and the task's stimulus and extra columns; sessions in chronological
        order. Empty if no session could be used.
    report : DataFrame
        ``REPORT_SCHEMA``: sessions that could not be used, and columns that were set to null.

    Raises
    ------
    InputError
        The root is missing, or there is no such subject in it.
    """
    source = open_source(root, source_format, task)
    usable, refused = usable_subjects(source)
    if subject not in usable:
        why = next((row.reason for row in refused if row.subject == subject), "not found there")
        near = difflib.get_close_matches(subject, usable, n=1)
        raise InputError(
            f"the subject {subject!r} cannot be read ({why})",
            where=str(root),
            remedy=f"Did you mean {near[0]!r}?" if near else f"{len(usable)} others are there.",
        )
    try:
        sessions, rows = source.read(subject)
    except OSError as error:
        raise InputError(
            f"the files of {subject!r} cannot be opened ({error.strerror})",
            where=str(error.filename),
            remedy="Make it readable.",
        ) from error
    tables = [pl.DataFrame(schema=trial_schema(task))]
    notes: list[ReportRow] = []
    for raw in _without_twins(sessions, rows):
        table, noted = to_trials(raw, task)
        tables += [] if table is None else [table]
        notes += noted
    trials = pl.concat(tables)
    rows += _summed_up(notes, trials["session"].n_unique())
    if trials.is_empty():
        rows.append(ReportRow("subject", "no_sessions", "no session could be used", subject))
    return trials, report_frame(rows)


def _without_twins(sessions: Sequence[RawSession], rows: list[ReportRow]) -> list[RawSession]:
    """Leave out sessions that are there twice; of equal ones the first is kept."""
    by_id: dict[str, list[RawSession]] = {}
    for raw in sessions:
        by_id.setdefault(raw.session, []).append(raw)
    kept = []
    for name, same in by_id.items():
        first, *others = same
        equal = all(_is_copy(first, other) for other in others)
        if equal:
            kept.append(first)
        for raw in others if equal else same:
            places = " and ".join(other.place for other in same if other is not raw)
            what = f"a copy of {places}" if equal else f"another session of this id is in {places}"
            remedy = "remove one" if equal else "keep one, or give each an id of its own"
            reason = f"{raw.place}: not used, {what}: {remedy}"
            rows.append(ReportRow("session", "duplicate_session", reason, raw.subject, name))
    return kept


def _is_copy(one: RawSession, other: RawSession) -> bool:
    return one.columns.keys() == other.columns.keys() and all(
        one.columns[name].equals(other.columns[name], null_equal=True) for name in one.columns
    )


def _summed_up(notes: Sequence[ReportRow], n_sessions: int) -> list[ReportRow]:
    """Say what concerns all sessions alike once: a column that none of them has."""
    missing = [note for note in notes if note.rule == "missing_column"]
    reasons = {note.reason.rpartition(" (")[0] for note in missing}
    if n_sessions < 2 or len(missing) != n_sessions or len(reasons) > 1:
        return list(notes)
    first = missing[0]
    reason = f"{reasons.pop()} in all {n_sessions} sessions"
    whole = ReportRow("subject", first.rule, reason, first.subject)
    return [whole, *(note for note in notes if note.rule != "missing_column")]
