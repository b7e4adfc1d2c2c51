"""Columns and ids that tell an order of trials or sessions which the task does not name.

Without ``trial`` in [columns] rows are taken in the order of the file, without ``date`` and
``session_order`` sessions in that of their ids. Nothing here changes that: it looks for columns
that say otherwise, by their names and values, and says so.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.dates import Ambiguous, read_dates
from glmhmm_core.trials.order import to_order
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession, n_rows
from glmhmm_core.trials.values import to_text

# Names of columns, the most telling first. Case counts for nothing, and any separator, or none,
# may stand where a space is; so may a plural "s" and a unit at the end.
_TRIAL_NUMBERS = (
    *("trial number", "trial num", "trial no", "trial nr", "trial n", "n trial", "nth trial"),
    *("trial idx", "trial index", "trial count", "trial counter", "trials this n"),
    *("trial in session", "trial within session", "trial"),
)
_TRIAL_TIMES = (
    *("trial start time", "trial start", "trial onset time", "trial onset", "trial time"),
    *("start time", "time elapsed", "go cue time", "go cue", "stim on time", "stim on"),
    *("stim onset time", "stim onset", "stimulus onset time", "stimulus onset", "onset time"),
    *("onset", "timestamp", "time stamp", "datetime", "time"),
)
_TRIAL_IDS = ("trial id",)
_BLOCKS = ("block number", "block num", "block no", "block nr", "block idx", "block index", "block")
_DATES = (
    *("session date", "date", "session datetime", "datetime", "date time", "session start time"),
    *("session start", "start datetime", "recording date", "experiment date", "test date"),
    *("acquisition date", "training date", "day"),
)
_SESSION_NUMBERS = (
    *("session number", "session num", "session no", "session nr", "session n", "nth session"),
    *("session idx", "session index", "session count", "session order", "session"),
    *("training day", "day number", "day num", "day nr", "day"),
)
_ALL = (*_TRIAL_NUMBERS, *_TRIAL_TIMES, *_TRIAL_IDS, *_BLOCKS, *_DATES, *_SESSION_NUMBERS)

#: Share of the values that have to be known, and of the sessions that have to have them.
_MOSTLY, _MOST_SESSIONS = 0.9, 0.5
#: Numbers that count are not further apart than this, on average.
_WIDEST = 20
#: Times of trials are spaced like trials. Of times that start anew in each trial, put in order,
#: a share of 1 - exp(-0.25 ln 2) = 16% of the gaps is shorter than a quarter of the median one.
_SHORT_GAP, _SHORT_GAPS, _ENOUGH_GAPS = 0.25, 0.04, 19
#: Two times of one session are at most this far apart, in seconds.
_LONGEST_SESSION = 86_400.0
#: Sessions that a message names.
_NAMED = 5

_DATE_IN_ID = re.compile(
    r"(?<!\d)(?:(?:19|20)\d{2}([-_./]?)\d{2}\1\d{2}|\d{2}([-_./])\d{2}\2(?:19|20)\d{2})(?!\d)"
)


@lru_cache(maxsize=256)
def _pattern(names: tuple[str, ...]) -> str:
    any_of = "|".join(r"[\W_]*".join(map(re.escape, name.split())) for name in names)
    return rf"(?i)[\W_]*(?:{any_of})s?(?:[\W_]+(?:s|ms|sec|secs|seconds))?[\W_]*"


#: Names of all columns that are looked at, as a regular expression for the whole name.
HINTS = _pattern(_ALL)


def date_columns(names: Iterable[str]) -> list[str]:
    """Those of some columns whose names say that they hold dates."""
    return [name for name in names if re.fullmatch(_pattern(_DATES), name)]


class _Told(NamedTuple):
    """The order within sessions by columns, and the sessions whose rows disagree."""

    sources: tuple[str, ...]
    are_times: bool
    wrong: list[RawSession]


class _Hint(NamedTuple):
    """A possible order of sessions: its name, the remedy, and the value of each session."""

    what: str
    remedy: str
    values: Mapping[str, float]


def trials_out_of_order(sessions: Sequence[RawSession], task: Task) -> list[ReportRow]:
    """Say of one subject's rows that they do not stand in the order that a column tells.

    Parameters
    ----------
    sessions
        All that are used, with their rows in the order of the file.
    task
        If it names what orders the trials, there is nothing to say.

    Returns
    -------
    rows
        One warning at most, by the most telling of the columns.
    """
    if task.trial_columns:
        return []
    told = _tell_trials(sessions, task)
    first = next(told, None)
    if first is None or not first.wrong:
        return []
    agrees = next((other for other in told if not other.wrong), None)
    names = " and ".join(map(repr, first.sources))
    which, n_trials = some_of(first.wrong, sessions), sum(n_rows(raw) or 0 for raw in first.wrong)
    seen = (
        f"the times in {names} run backwards in {which}"
        if first.are_times
        else f"the rows of {which} do not stand in the order of {names}"
    )
    other = f" (though in that of {' and '.join(map(repr, agrees.sources))})" if agrees else ""
    is_one = len(first.sources) == 1
    key, verb = (first.sources[0], "says") if is_one else (list(first.sources), "say")
    reason = (
        f"{seen}{other}, and the {n_trials} trials are taken in the order of the file. If {names} "
        f"{verb} in which order they were done, write trial = {_toml(key)} in [columns] of the task"
    )
    subject = first.wrong[0].subject
    return [
        ReportRow("subject", "trials_disagree", reason, subject, n_trials=n_trials, warning=True)
    ]


def sessions_out_of_order(ordered: Sequence[RawSession], task: Task) -> list[ReportRow]:
    """Say of one subject's sessions that dates or numbers tell another order than their ids.

    Parameters
    ----------
    ordered
        All that are used, in the order of their ids.
    task
        If it names what orders the sessions, there is nothing to say.

    Returns
    -------
    rows
        One warning at most, by the most telling of the columns, or by the dates in the ids.
    """
    if task.date_column is not None or task.session_order_column is not None or len(ordered) < 2:
        return []
    enough = max(2, _MOSTLY * len(ordered))
    hints = (hint for hint in _tell_sessions(ordered, task) if len(hint.values) >= enough)
    first = next(hints, None)
    if first is None:
        return []
    known = [raw for raw in ordered if raw.session in first.values]
    by_value = sorted(known, key=lambda raw: first.values[raw.session])
    moved = [i for i, (a, b) in enumerate(zip(known, by_value, strict=True)) if a is not b]
    if not moved:
        return []
    names = [
        ", ".join(raw.session for raw in some[moved[0] : moved[0] + _NAMED])
        + (", ..." if len(some) > moved[0] + _NAMED else "")
        for some in (known, by_value)
    ]
    reason = (
        f"its sessions are taken in the order of their ids ({names[0]}), which is not that of "
        f"{first.what} ({names[1]}): {len(moved)} of {len(ordered)} sessions stand elsewhere. "
        f"{first.remedy}"
    )
    n_trials = sum(n_rows(known[i]) or 0 for i in moved)
    subject = ordered[0].subject
    return [
        ReportRow("subject", "sessions_disagree", reason, subject, n_trials=n_trials, warning=True)
    ]


def some_of(some: Sequence[RawSession], sessions: Sequence[object]) -> str:
    """Name some of a subject's sessions, in few words."""
    if len(some) == 1:
        return f"session {some[0].session}"
    return f"{len(some)} of {len(sessions)} sessions ({some[0].session} is the first)"


# -- trials ------------------------------------------------------------------------------------


def _tell_trials(sessions: Sequence[RawSession], task: Task) -> Iterator[_Told]:
    """Each column that can order trials, with its order, the most telling first."""
    meant = {task.choice_column, task.feedback_column}
    meant |= {source for stimulus in task.stimuli for source in stimulus.sources}
    meant |= {task.response_time.column} if task.response_time else set()
    columns = [name for name in _columns_of(sessions) if name not in meant]
    blocks = _named(columns, _BLOCKS)
    events = _events(sessions, task)
    tried: list[tuple[tuple[str, ...], bool]] = []
    for names, are_times in ((_TRIAL_NUMBERS, False), (_TRIAL_TIMES, True), (_TRIAL_IDS, False)):
        for name in _named(columns, names):
            tried.append(((name,), are_times))
            tried += [((block, name), False) for block in blocks if not are_times]
    tried += [((name,), True) for name in events if ((name,), True) not in tried]
    for sources, are_times in tried:
        told = _compare(sources, sessions, are_times=are_times)
        if told is not None:
            yield told


def _events(sessions: Sequence[RawSession], task: Task) -> Sequence[str]:
    """Names of events in formats whose times count from the start of the session."""
    wanted = task.response_time
    if wanted is None or any(raw.rows is not None for raw in sessions):
        return ()
    return (*wanted.start, *wanted.end)


def _compare(
    sources: tuple[str, ...], sessions: Sequence[RawSession], *, are_times: bool
) -> _Told | None:
    """Compare columns with the order of the rows; None if they cannot order the trials."""
    usable, wrong = 0, []
    gaps: list[np.ndarray] = []
    for raw in sessions:
        values = _numbers(raw, sources)
        if values is None or not _can_order(values, are_times=are_times):
            continue
        usable += 1
        if raw.rows is not None and are_times:
            between = np.diff(np.sort(values[-1]))
            gaps.append(between < _SHORT_GAP * np.median(between))
        steps = np.diff(values, axis=1)
        if np.any((steps[-1] < 0) & np.all(steps[:-1] == 0, axis=0)):
            wrong.append(raw)
    if usable <= _MOST_SESSIONS * len(sessions):
        return None
    if gaps:
        short = np.concatenate(gaps)
        if len(short) < _ENOUGH_GAPS or short.mean() > _SHORT_GAPS:
            return None
    return _Told(sources, are_times, wrong)


def _numbers(raw: RawSession, sources: Sequence[str]) -> np.ndarray | None:
    """Values (K, T) of a session's columns on trials where all are known, if most are."""
    columns = [_column(raw, source) for source in sources]
    n_trials = n_rows(raw)
    if any(column is None or len(column) != n_trials for column in columns):
        return None
    values = np.stack([to_order(column) for column in columns if column is not None])
    known = np.isfinite(values).all(axis=0)
    return values[:, known] if known.sum() > 1 and known.mean() >= _MOSTLY else None


def _can_order(values: np.ndarray, *, are_times: bool) -> bool:
    """True if numbers (K, T) differ on all trials, and count if they are no times."""
    if np.unique(values, axis=1).shape[1] < values.shape[1]:
        return False
    number = values[-1]
    count = np.ptp(number) <= _WIDEST * len(number) and np.array_equal(values, np.round(values))
    return are_times or bool(count)


# -- sessions ----------------------------------------------------------------------------------


def _tell_sessions(sessions: Sequence[RawSession], task: Task) -> Iterator[_Hint]:
    """The order of sessions by each column and by the ids, the most telling first."""
    columns = _columns_of(sessions)
    for name in _named(columns, _DATES):
        yield _Hint(repr(name), _remedy("date", name), _dates(sessions, name))
    yield _Hint("the dates in them", _remedy_for_ids(sessions, task), _dates_in_ids(sessions))
    for name in _named(columns, _SESSION_NUMBERS):
        yield _Hint(repr(name), _remedy("session_order", name), _counts(sessions, name))


def _remedy(key: str, name: str) -> str:
    return f"If {name!r} says when they were, write {key} = {_toml(name)} in [columns] of the task"


def _dates(sessions: Sequence[RawSession], name: str) -> dict[str, float]:
    """Earliest date of each session, in seconds; none of those that tell no single day."""
    texts = {
        raw.session: to_text(column).unique().drop_nulls().to_list()
        for raw in sessions
        if (column := _column(raw, name)) is not None
    }
    read = _read_dates(text for some in texts.values() for text in some)
    seconds = {session: [read.get(text) for text in some] for session, some in texts.items()}
    return {
        session: min(known)
        for session, some in seconds.items()
        if (known := [one for one in some if one is not None])
        and len(known) == len(some)
        and max(known) - min(known) <= _LONGEST_SESSION
    }


def _counts(sessions: Sequence[RawSession], name: str) -> dict[str, float]:
    """Number of each session; none at all if one is not of whole sessions, or comes twice."""
    found = {}
    for raw in sessions:
        column = _column(raw, name)
        values = np.unique(to_order(column)) if column is not None else np.zeros(0)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            return {}
        if len(values):
            found[raw.session] = float(values[0])
    numbers = list(found.values())
    of_month = re.fullmatch(_pattern(("day",)), name) and _ends_months(numbers)
    return {} if len(set(numbers)) < len(numbers) or of_month else found


def _ends_months(days: Sequence[float]) -> bool:
    """True if numbers decrease only as days of a month do, from its end to the next's begin."""
    before, after = np.array(days[:-1]), np.array(days[1:])
    back = after < before
    return bool(np.all(before[back] > 20) and np.all(after[back] < 11) and np.all(before <= 31))


def _dates_in_ids(sessions: Sequence[RawSession]) -> dict[str, float]:
    texts = {
        raw.session: match[0]
        for raw in sessions
        if (match := _DATE_IN_ID.search(raw.session)) is not None
    }
    written = {session: text.replace("_", "-") for session, text in texts.items()}
    read = _read_dates(written.values())
    found = {session: read.get(text) for session, text in written.items()}
    return {session: date for session, date in found.items() if date is not None}


def _remedy_for_ids(sessions: Sequence[RawSession], task: Task) -> str:
    whole = all(_DATE_IN_ID.fullmatch(raw.session) for raw in sessions)
    if whole and len(task.session_columns) == 1 and sessions[0].rows is not None:
        return f"Write date = {_toml(task.session_columns[0])} in [columns] of the task"
    return (
        "Write the dates into a column of their own and name it as date in [columns] of the task, "
        "or begin the ids with them as in 2024-05-06"
    )


def _read_dates(texts: Iterable[str]) -> dict[str, float | None]:
    """Read dates as seconds; none if day and month could be exchanged."""
    try:
        read = read_dates(texts)
    except Ambiguous:
        return {}
    return {
        text: None if date is None else date.replace(tzinfo=UTC).timestamp()
        for text, date in read.items()
    }


# -- columns -----------------------------------------------------------------------------------


def _columns_of(sessions: Sequence[RawSession]) -> list[str]:
    return list(dict.fromkeys(name for raw in sessions for name in (*raw.columns, *raw.hints)))


def _column(raw: RawSession, name: str) -> pl.Series | None:
    return raw.columns.get(name, raw.hints.get(name))


def _named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Columns that have one of some names, in the order of these."""
    found = [c for name in names for c in columns if re.fullmatch(_pattern((name,)), c)]
    return list(dict.fromkeys(found))


def _toml(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)
