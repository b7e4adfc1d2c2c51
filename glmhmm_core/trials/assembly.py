"""One subject's sessions from what its files hold: each once, with all its rows, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.dates import Ambiguous, read_dates
from glmhmm_core.trials.files import natural_key
from glmhmm_core.trials.order_hints import sessions_out_of_order, some_of, trials_out_of_order
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.schema import ORDER_SCHEMA
from glmhmm_core.trials.sessions import DATE_FORMAT, Canonical, RawSession, n_rows
from glmhmm_core.trials.values import to_text


def one_of_each(
    sessions: Sequence[RawSession], task: Task
) -> tuple[list[RawSession], list[ReportRow]]:
    """Give every session once.

    Of equal ones the first is kept. Parts in several files are put together where the task names
    the columns that order their trials; else they may be two sessions, and none is used.
    """
    by_id: dict[str, list[RawSession]] = {}
    for raw in sessions:
        by_id.setdefault(raw.session, []).append(raw)
    kept: list[RawSession] = []
    rows: list[ReportRow] = []
    for name, same in by_id.items():
        different = _different(same)
        in_rows = all(raw.rows is not None for raw in same)
        together = len(different) == 1 or (task.trial_columns and in_rows)
        kept += [_put_together(different)] if together else []
        used = different if together else []
        for raw in same:
            if not any(raw is other for other in used):
                others = used or [other for other in same if other is not raw]
                rows.append(_not_used(raw, name, others, is_copy=bool(used)))
    return kept, rows


def session_dates(
    sessions: Sequence[RawSession], task: Task
) -> tuple[Mapping[str, datetime | None], list[ReportRow]]:
    """Read the dates of all sessions together, or say why they cannot be told."""
    source = task.date_column or ""
    columns = [raw.columns[source] for raw in sessions if source in raw.columns]
    texts = [text for column in columns for text in to_text(column).unique().drop_nulls()]
    try:
        return read_dates(texts, task.date_format), []
    except Ambiguous as ambiguous:
        reason = f"the dates in {source!r} can be read in two ways, {ambiguous}; {DATE_FORMAT}"
        n_trials = sum(n_rows(raw) or 0 for raw in sessions)
        subject = sessions[0].subject
        return {}, [
            ReportRow("subject", "session_date", reason, subject, n_trials=n_trials, dropped=True)
        ]


def in_order(
    found: Sequence[tuple[RawSession, Canonical]], task: Task
) -> tuple[list[pl.DataFrame], list[ReportRow]]:
    """Put a subject's sessions in order, and say what was moved to get there."""
    ordered = sorted(found, key=lambda one: _place_in_order(*one))
    rows = _told_of_rows(found, task)
    rows += sessions_out_of_order([raw for raw, _ in ordered], task)
    moved = [new[0].session for old, new in zip(found, ordered, strict=True) if old is not new]
    if moved:
        names = [task.date_column, task.session_order_column]
        by = " and ".join(repr(name) for name in names if name is not None)
        reason = (
            f"its {len(found)} sessions are put in the order of "
            f"{by or 'their ids (s2 before s10), for the task names no date or session_order'}; "
            f"in the files {_first_out_of_order(found, ordered)}"
        )
        rows.append(ReportRow("subject", "session_order", reason, found[0][0].subject))
    return [made.trials for _, made in ordered], rows


def _different(same: Sequence[RawSession]) -> list[RawSession]:
    """Leave out what equals an earlier one."""
    kept: list[RawSession] = []
    for raw in same:
        if not any(_is_copy(raw, other) for other in kept):
            kept.append(raw)
    return kept


def _is_copy(one: RawSession, other: RawSession) -> bool:
    return one.columns.keys() == other.columns.keys() and all(
        one.columns[name].equals(other.columns[name], null_equal=True) for name in one.columns
    )


def _not_used(raw: RawSession, name: str, others: Sequence[RawSession], is_copy: bool) -> ReportRow:
    places = " and ".join(other.place for other in others)
    if is_copy:
        what = f"a copy of {places}: remove one"
    else:
        what = (
            f"a session of the same id is in {places}: keep one of them, give each its own id, "
            "or, if they are parts of one session, give the column of the trial numbers as "
            "columns.trial of the task"
        )
    reason = f"{raw.place}: not used, {what}"
    return ReportRow(
        "session",
        "duplicate_session",
        reason,
        raw.subject,
        name,
        n_trials=n_rows(raw),
        dropped=True,
    )


def _put_together(parts: Sequence[RawSession]) -> RawSession:
    """Join the rows of one session in several files."""
    first = parts[0]
    if len(parts) == 1:
        return first
    table = pl.concat([pl.DataFrame(dict(part.columns)) for part in parts], how="diagonal_relaxed")
    faults = [f"{part.fault} ({part.place})" for part in parts if part.fault is not None]
    return replace(
        first,
        place=" and ".join(part.place for part in parts),
        columns={name: table[name] for name in table.columns},
        rows=[row for part in parts for row in part.rows or ()],
        files=[part.files[0] for part in parts for _ in part.rows or ()],
        runs=sum(part.runs for part in parts),
        fault=faults[0] if faults else None,
    )


def _place_in_order(raw: RawSession, made: Canonical) -> tuple[object, ...]:
    """Sort key of a session: its date, its number, its id; one without a date or number is last."""
    known = [made.trials[name][0] for name in ORDER_SCHEMA if name in made.trials.columns]
    return (*((value is None, value) for value in known), natural_key(raw.session))


def _first_out_of_order(
    found: Sequence[tuple[RawSession, Canonical]], ordered: Sequence[tuple[RawSession, Canonical]]
) -> str:
    place = {raw.session: i for i, (raw, _) in enumerate(ordered)}
    names = pairwise(raw.session for raw, _ in found)
    before, after = next(pair for pair in names if place[pair[0]] > place[pair[1]])
    return f"{before} stands before {after}"


def _told_of_rows(found: Sequence[tuple[RawSession, Canonical]], task: Task) -> list[ReportRow]:
    """Say of which sessions the rows were sorted, or were put together though they stood apart."""
    rows = []
    sorted_ones = [raw for raw, made in found if not made.is_as_read]
    if sorted_ones:
        by = " and ".join(map(repr, task.trial_columns))
        reason = f"the rows of {some_of(sorted_ones, found)} are put in the order of {by}"
        rows.append(ReportRow("subject", "trial_order", reason, sorted_ones[0].subject))
    disagree = trials_out_of_order([raw for raw, _ in found], task)
    rows += disagree
    apart = [raw for raw, _ in found if raw.runs > 1]
    if apart and not task.trial_columns and not disagree:
        reason = (
            f"rows of other sessions stand between the rows of {some_of(apart, found)}, which "
            f"are in {apart[0].runs} parts ({apart[0].place}). The parts are joined in the order "
            "of the file. Give the column of the trial numbers as columns.trial of the task; if "
            "the parts are several sessions, give each of them an id of its own"
        )
        rows.append(ReportRow("subject", "interleaved", reason, apart[0].subject, warning=True))
    return rows
