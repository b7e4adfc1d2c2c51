"""From the columns of one session, as a reader found them, to rows of the canonical table.

What every format shares belongs here: which columns a session cannot do without, what a column
of another length or with impossible values does, and how quantities are computed. Opening files
does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from glmhmm_core.tasks.task import Code, Direction, Stimulus, Task
from glmhmm_core.trials.dates import FORMS
from glmhmm_core.trials.order import OrderFault, order_rows
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.response_times import from_event_times
from glmhmm_core.trials.schema import ORDER_SCHEMA, TRIAL_SCHEMA
from glmhmm_core.trials.values import Converted, to_classes, to_numbers, to_text

#: Values of one column: one per trial, the same for all, or none known.
Column = np.ndarray | pl.Series | str | datetime | None


@dataclass(frozen=True)
class RawSession:
    """One session as it stands in its files.

    Attributes
    ----------
    subject, session
        Its keys.
    place
        Where it stands, for messages.
    columns
        Source columns by name, of one entry per trial (or of another length, if it is ragged).
    defects
        What is wrong with source columns that could not be read, by name.
    hints
        Columns that the task does not read, whose names say that they may tell an order.
    rows
        Row of its file that each trial stands in, from 1 below the header; None for formats
        with one file per column.
    files
        Places of its files: one, or that of each row where it was put together from several.
    runs
        Runs of consecutive rows that it stands in.
    fault
        What makes the whole session unusable, or None.
    """

    subject: str
    session: str
    place: str
    columns: Mapping[str, pl.Series]
    defects: Mapping[str, str]
    hints: Mapping[str, pl.Series] = field(default_factory=dict)
    rows: Sequence[int] | None = None
    files: Sequence[str] = ()
    runs: int = 1
    fault: str | None = None


class Canonical(NamedTuple):
    """A session as rows of ``trial_schema``; ``is_as_read`` is whether they stood in order."""

    trials: pl.DataFrame
    is_as_read: bool


def trial_schema(task: Task) -> dict[str, pl.DataType]:
    """Columns of a task's trial table: the canonical ones, order, stimuli, extras."""
    named = {"session_date": task.date_column, "session_order": task.session_order_column}
    order = {name: dtype for name, dtype in ORDER_SCHEMA.items() if named[name] is not None}
    order |= dict.fromkeys(task.native_columns.values(), pl.Float64())
    stimuli = {stimulus.name: pl.Float64() for stimulus in task.stimuli}
    extras = {e.name: pl.String() if e.is_text else pl.Float64() for e in task.extras}
    return {**TRIAL_SCHEMA, **order, **stimuli, **extras}


def to_trials(
    raw: RawSession, task: Task, dates: Mapping[str, datetime | None]
) -> tuple[Canonical | None, list[ReportRow]]:
    """Make a session canonical, or say why it cannot be used.

    Parameters
    ----------
    raw
        The session.
    task
        Its columns.
    dates
        What the texts in its date column mean, if the task names one; None for those that mean
        nothing.

    Returns
    -------
    trials : Canonical or None
        None if choice, stimulus, feedback, block or order make the session unusable.
    report
        Rows of level session: why it was dropped, or which columns were set to null.
    """
    try:
        return _Session(raw, task, dates).convert()
    except _Unusable as found:
        reason = f"{found.reason} ({raw.place}): the session is left out"
        return None, [
            ReportRow(
                "session",
                found.rule,
                reason,
                raw.subject,
                raw.session,
                n_trials=n_rows(raw),
                dropped=True,
            )
        ]


def n_rows(raw: RawSession) -> int | None:
    """Trials of a session as far as its files tell; None if they do not."""
    if raw.rows is not None:
        return len(raw.rows)
    return max((len(column) for column in raw.columns.values()), default=None)


class _Unusable(Exception):
    def __init__(self, rule: str, reason: str) -> None:
        self.rule, self.reason = rule, reason


class _Session:
    """The conversion of one session: what was noticed so far, and the number of its trials."""

    def __init__(self, raw: RawSession, task: Task, dates: Mapping[str, datetime | None]) -> None:
        self.raw, self.task, self.dates = raw, task, dates
        self.notes: list[ReportRow] = []
        self.absent: list[str] = []
        self.n_trials = len(raw.columns.get(task.choice_column, ()))
        self.order = np.arange(self.n_trials)

    def convert(self) -> tuple[Canonical, list[ReportRow]]:
        """All columns of the table, essential ones first."""
        if self.raw.fault is not None:
            raise _Unusable("unreadable", self.raw.fault)
        native = self._put_in_order() if self.n_trials else {}
        raw, task = self.raw, self.task
        choice = self._choice()
        stimuli = {stimulus.name: self._stimulus(stimulus) for stimulus in task.stimuli}
        feedback = self._feedback(choice, stimuli)
        block = self._block()
        extras = {e.name: self._extra(e.source, e.name, e.is_text) for e in task.extras}
        columns: dict[str, Column] = {
            "subject": raw.subject,
            "session": raw.session,
            "trial": np.arange(self.n_trials),
            "source_row": self.order + 1 if raw.rows is None else np.array(raw.rows)[self.order],
            "choice": choice,
            "feedback": feedback,
            "response_time": self._response_time(choice),
            "block": block,
            "session_date": self._date(),
            "session_order": self._session_order(),
            **native,
            **stimuli,
            **extras,
        }
        if self.absent:
            self._note("missing_column", f"no column {', '.join(self.absent)}: left empty")
        is_as_read = bool(np.all(np.diff(self.order) > 0))
        return Canonical(self._table(columns), is_as_read), self.notes

    def _table(self, columns: Mapping[str, Column]) -> pl.DataFrame:
        """Put the columns in the types of the schema, NaN as null."""
        exprs = []
        for name, dtype in trial_schema(self.task).items():
            column = columns[name]
            if isinstance(column, str | datetime | None):
                value = pl.lit(column)
            else:
                value = pl.lit(pl.Series(column, nan_to_null=isinstance(column, np.ndarray)))
            exprs.append(value.cast(dtype).alias(name))
        return pl.select(*exprs)

    # -- when trials and sessions were ----------------------------------------------------------

    def _put_in_order(self) -> dict[str, np.ndarray]:
        """Sort the columns by those that order the trials; give the values of these."""
        sources = self.task.native_columns
        if not sources:
            return {}
        keys = [self._essential(source, "the order of the trials") for source in sources]
        try:
            self.order, values = order_rows(keys)
        except OrderFault as fault:
            raise _Unusable("trial_order", self._order_fault(fault, keys)) from None
        rows = self.order.tolist()
        columns = {
            name: column[rows] if len(column) == self.n_trials else column
            for name, column in self.raw.columns.items()
        }
        self.raw = replace(self.raw, columns=columns)
        return dict(zip(sources.values(), values, strict=True))

    def _order_fault(self, fault: OrderFault, keys: Sequence[pl.Series]) -> str:
        sources = list(self.task.native_columns)
        if fault.other is not None:
            said = " and ".join(
                f"{source!r} is {key[fault.row]}" for source, key in zip(sources, keys, strict=True)
            )
            return (
                f"{said} at {self._at(fault.row)} and at {self._at(fault.other)}, so that their "
                "order is open; give each trial of a session its own number, or name the columns "
                "that order them together, as in columns.trial = ['block', 'trial']"
            )
        assert fault.key is not None  # else two rows say the same
        source, value = sources[fault.key], keys[fault.key][fault.row]
        if value is None or not to_text(pl.Series([value]))[0]:
            return f"{source!r} is empty at {self._at(fault.row)}; fill it in, it orders the trials"
        return self._bad_value(source, value, fault.row, TRIAL)

    def _date(self) -> datetime | None:
        """Earliest date in the session's rows; None in a format that has no such column."""
        source = self.task.date_column
        if source is None or source not in self.raw.columns:
            return None
        texts = to_text(self.raw.columns[source])
        found = [(self.dates.get(text), text) for text in texts.unique().drop_nulls().to_list()]
        if not found:
            raise _Unusable("session_date", f"{source!r} is empty; fill it in, it orders sessions")
        for date, text in found:
            if date is None:
                row = int(self.order[(texts == text).arg_max() or 0])
                raise _Unusable("session_date", self._bad_value(source, text, row, DATE))
        return min(date for date, _ in found if date is not None)

    def _session_order(self) -> np.ndarray | None:
        """Lowest of the session's own numbers; None in a format that has no such column."""
        source = self.task.session_order_column
        if source is None or source not in self.raw.columns:
            return None
        numbers = self._numbers(source, "the order of the sessions")
        if np.isnan(numbers).all():
            raise _Unusable("session_order", f"{source!r} is empty; fill it in, it orders sessions")
        return np.full(self.n_trials, np.nanmin(numbers))

    # -- what was done --------------------------------------------------------------------------

    def _choice(self) -> np.ndarray:
        task, source = self.task, self.task.choice_column
        column = self._essential(source, "choices")
        if not self.n_trials:
            raise _Unusable("empty_session", "it has no trials")
        classes: dict[Code, int | None] = dict.fromkeys(task.no_choice_codes)
        for index, codes in enumerate(task.choice_codes):
            classes.update(dict.fromkeys(codes, index))
        found, remedy = to_classes(column, classes), _codes_there(column, CHOICES)
        return self._checked(source, column, found, "choice_codes", remedy)

    def _stimulus(self, stimulus: Stimulus) -> np.ndarray | None:
        there = [self._there(source, "the stimulus") for source in stimulus.sources]
        if not all(there):
            return None
        if stimulus.direction is not None:
            strength = self._numbers(stimulus.plus, "the strength of the stimulus")
            return (strength - stimulus.center) * self._sign(stimulus.direction, strength)
        sides = [self._numbers(source, "the stimulus") for source in stimulus.sources]
        if stimulus.missing is not None:
            unknown = np.all(np.isnan(sides), axis=0)
            sides = [np.where(np.isnan(s) & ~unknown, stimulus.missing, s) for s in sides]
        if len(sides) == 2:
            return np.subtract(*sides) - stimulus.center
        return stimulus.center - sides[0] if stimulus.turned else sides[0] - stimulus.center

    def _sign(self, direction: Direction, strength: np.ndarray) -> np.ndarray:
        """-1 and +1 by the code of each trial, NaN where it is missing; 0 without a strength."""
        source = direction.column
        column = self._essential(source, "the direction of the stimulus")
        classes: dict[Code, int | None] = dict.fromkeys(direction.negative, -1)
        classes |= dict.fromkeys(direction.positive, 1)
        found = to_classes(column, classes)
        sign = self._checked(source, column, found, "direction_codes", DIRECTION)
        return np.where(np.isnan(sign) & (strength == 0), 0.0, sign)

    def _feedback(
        self, choice: np.ndarray, stimuli: Mapping[str, np.ndarray | None]
    ) -> np.ndarray | None:
        task, source = self.task, self.task.feedback_column
        if task.feedback_sign_of is not None:
            side = stimuli[task.feedback_sign_of]
            assert side is not None  # a session cannot do without it
            outcome = (2 * choice - 1) * np.sign(side)
            return np.where(outcome == 0, np.nan, outcome)
        if source is None or not self._there(source, "outcomes"):
            return None
        column = self._essential(source, "outcomes")
        classes: dict[Code, int | None] = dict.fromkeys(task.unrewarded_codes, -1)
        classes |= dict.fromkeys(task.rewarded_codes, 1)
        found, remedy = to_classes(column, classes), _codes_there(column, OUTCOME)
        return self._checked(source, column, found, "feedback_codes", remedy)

    def _block(self) -> np.ndarray | None:
        source = self.task.block_column
        if source is None or not self._there(source, "blocks"):
            return None
        return self._numbers(source, "blocks")

    def _extra(self, source: str, name: str, is_text: bool) -> np.ndarray | pl.Series | None:
        if source in self.task.needed_columns:
            return self._numbers(source, f"the regressor {name}")
        column = self._optional(source)
        if column is None or is_text:
            return None if column is None else to_text(column)
        return self._numbers_or_none(source, column)

    def _response_time(self, choice: np.ndarray) -> np.ndarray | None:
        wanted = self.task.response_time
        if wanted is None:
            return None
        if wanted.column is not None:
            column = self._optional(wanted.column)
            return None if column is None else self._numbers_or_none(wanted.column, column)
        starts, ends = (
            [
                numbers
                for source in sources
                if (column := self._optional(source, note=False)) is not None
                and (numbers := self._numbers_or_none(source, column)) is not None
            ]
            for sources in (wanted.start, wanted.end)
        )
        if not starts or not ends:
            needed = wanted.end if starts else wanted.start
            self._note("response_time", f"none of {', '.join(needed)}: response times are unknown")
            return None
        times = from_event_times(starts, ends)
        if times.problem is not None:
            self._note("response_time", f"response times are unknown: {times.problem}")
        elif times.ends_before_start.any():
            trials = np.flatnonzero(times.ends_before_start)
            some = ", ".join(map(str, trials[:5])) + (", ..." if len(trials) > 5 else "")
            self._note(
                "response_time",
                f"response times of trials that end before their start are unknown: {some}",
            )
        return np.where(np.isnan(choice), np.nan, times.seconds)

    # -- how a source column is taken -----------------------------------------------------------

    def _there(self, source: str, what: str) -> bool:
        """Whether a column is there or has to be; note the absence of one that has not."""
        raw = self.raw
        if source in raw.columns or source in raw.defects or source in self.task.needed_columns:
            return True
        self.absent.append(f"{source} ({what})")
        return False

    def _essential(self, source: str, what: str) -> pl.Series:
        """Take a column that the session cannot do without."""
        if source in self.raw.defects:
            raise _Unusable("unreadable", self.raw.defects[source])
        if source not in self.raw.columns:
            raise _Unusable(
                "missing_column",
                f"there is no {source!r}, which holds {what}; add it, or correct its name "
                f"in {self.task.tables_of([source])} of the task",
            )
        column = self.raw.columns[source]
        if len(column) != self.n_trials:
            raise _Unusable(
                "ragged",
                f"{source!r} has {len(column)} values, {self.task.choice_column!r} has "
                f"{self.n_trials}; extract them again, one value per trial",
            )
        return column

    def _numbers(self, source: str, what: str) -> np.ndarray:
        column = self._essential(source, what)
        return self._checked(source, column, to_numbers(column), "not_numeric", NUMBER)

    def _checked(
        self, source: str, column: pl.Series, converted: Converted, rule: str, remedy: str
    ) -> np.ndarray:
        """Give up the session if a value of the column could not be converted."""
        if converted.first_bad is not None:
            row = converted.first_bad
            said = self._bad_value(source, column[row], int(self.order[row]), remedy)
            raise _Unusable(rule, said)
        return converted.values

    def _bad_value(self, source: str, value: object, row: int, remedy: str) -> str:
        text = repr(value)
        shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
        return f"{source!r} is {shown} at {self._at(row)}; {remedy}"

    def _at(self, row: int) -> str:
        """Say where a row stands that is counted as it was read."""
        raw = self.raw
        if raw.rows is None:
            return f"trial {row}"
        return f"row {raw.rows[row]}" + (f" of {raw.files[row]}" if len(raw.files) > 1 else "")

    def _optional(self, source: str, note: bool = True) -> pl.Series | None:
        """Take a column that may be null for a session, with a note that says why."""
        if source in self.raw.defects:
            self._note("unreadable", f"{self.raw.defects[source]}: {source!r} is left empty")
            return None
        column = self.raw.columns.get(source)
        if column is None:
            self.absent.extend([source] if note else [])
        elif len(column) != self.n_trials:
            self._note(
                "ragged",
                f"{source!r} has {len(column)} values for {self.n_trials} trials: it is not used; "
                "extract it again",
            )
            return None
        return column

    def _numbers_or_none(self, source: str, column: pl.Series) -> np.ndarray | None:
        converted = to_numbers(column)
        if converted.first_bad is None:
            return converted.values
        row = converted.first_bad
        problem = self._bad_value(source, column[row], int(self.order[row]), NUMBER)
        self._note("not_numeric", f"{problem}; the column is left empty for this session")
        return None

    def _note(self, rule: str, reason: str) -> None:
        raw = self.raw
        self.notes.append(
            ReportRow(
                "session",
                rule,
                f"{reason} ({raw.place})",
                raw.subject,
                raw.session,
                n_trials=self.n_trials,
            )
        )


#: Characters of a value that a message repeats.
LONGEST_SHOWN = 60

#: What to do about a value that cannot be.
NUMBER = "write a number, or nothing"
TRIAL = "write a number or a time there, it orders the trials"
DATE_FORMAT = "give their format, as in columns.date = { column = 'date', format = '%d/%m/%Y' }"
DATE = f"write it as one of {FORMS}; or {DATE_FORMAT}"
CHOICES = "the task knows no such code: correct it, or say in [choices] what it means"
DIRECTION = (
    "the task knows no such direction: give its codes in [[stimuli]], "
    "sign_of = { column = ..., negative = ..., positive = ... }"
)
OUTCOME = "the task knows no such code: correct it, or say in [feedback] what it means"
#: Codes of a column that a message names.
NAMED = 6


def _codes_there(column: pl.Series, remedy: str) -> str:
    """Add to a remedy the codes of the column, where they are few enough to be codes."""
    values = column.drop_nulls().unique().sort().to_list()
    return (
        f"{remedy} (the column has {', '.join(map(str, values))})"
        if len(values) <= NAMED
        else remedy
    )
