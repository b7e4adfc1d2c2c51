"""The door for session files: one call for every format, one canonical table out of it."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from upath import UPath

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.assembly import in_order, one_of_each, session_dates
from glmhmm_core.trials.report import ReportRow, report_frame
from glmhmm_core.trials.sessions import Canonical, RawSession, to_trials, trial_schema
from glmhmm_core.trials.sources import SourceFormat, open_source, usable_subjects


def read_subject(
    root: str | Path | UPath, source_format: SourceFormat, task: Task, subject: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read all sessions of one subject.

    Returns
    -------
    trials : DataFrame
        ``trial_schema``; trials and sessions in the order of the task's columns for it. Trials
        without one stand as in the files, sessions by their ids (``s2`` before ``s10``). Empty if
        no session could be used.
    report : DataFrame
        ``REPORT_SCHEMA``: sessions that could not be used, columns that were set to null, and
        what was moved.

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
    kept, twins = one_of_each(sessions, task)
    dates, undated = session_dates(kept, task)
    rows += [*twins, *undated]
    found: list[tuple[RawSession, Canonical]] = []
    notes: list[ReportRow] = []
    for raw in () if undated else kept:
        made, noted = to_trials(raw, task, dates)
        found += [] if made is None else [(raw, made)]
        notes += noted
    tables, moved = in_order(found, task)
    trials = pl.concat([pl.DataFrame(schema=trial_schema(task)), *tables])
    rows += [*moved, *_summed_up(notes, trials["session"].n_unique())]
    if trials.is_empty() and not undated:
        reason = "no session could be used"
        rows.append(ReportRow("subject", "no_sessions", reason, subject, n_trials=0, dropped=True))
    return trials, report_frame(rows)


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
