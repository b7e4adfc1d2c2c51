"""The grammar of a task file: its tables, keys and the values that each may have.

What a task means once read is ``tasks/task.py``; how the two meet is ``tasks/load.py``.
"""

import math
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from glmhmm_core.tasks.task import CountedOutcome, RegressorKind
from glmhmm_core.toml_table import TomlTable

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, strict=False)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
OneOrMore = Annotated[
    Texts, BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]
Codes = Annotated[
    tuple[str | float, ...],
    BeforeValidator(lambda value: _codes(value)),
    Field(strict=False),
]


def _codes(value: Any) -> Any:
    """One code or several; a truth value is the number 0 or 1, as in the data."""
    several = value if isinstance(value, list) else [value]
    return tuple(float(code) if isinstance(code, bool | int) else code for code in several)


def _in_a_table(key: str) -> BeforeValidator:
    """Take ``"name"`` as short for ``{key = "name"}``."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


class FeedbackSource(TomlTable):
    """Where the outcome is from: a column, or the sign of a stimulus as the correct side."""

    column: Text | None = None
    sign_of: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> "FeedbackSource":
        if (self.column is None) == (self.sign_of is None):
            raise ValueError("give a column name, or { sign_of = <a stimulus> }")
        return self


class ResponseTimeSource(TomlTable):
    """Where the response time is from: a column, or times of its start and its end."""

    column: Text | None = None
    start: Texts | None = None
    end: Texts | None = None

    @model_validator(mode="after")
    def _one(self) -> "ResponseTimeSource":
        if (self.column is None) == (self.start is None) or (self.start is None) != (
            self.end is None
        ):
            raise ValueError("give a column name, or { start = [columns], end = [columns] }")
        return self


class DateSource(TomlTable):
    """Column of the sessions' dates, and their format if it cannot be found out."""

    column: Text
    format: Text | None = None

    @model_validator(mode="after")
    def _usable(self) -> "DateSource":
        if self.format is not None:
            try:
                datetime.strptime(datetime(2024, 3, 25).strftime(self.format), self.format)
            except ValueError as error:
                raise ValueError(f"{error}; write it as in format = '%d/%m/%Y'") from error
        return self


class ColumnsTable(TomlTable):
    """``[columns]``: the name that each quantity has in the files."""

    subject: Text = "subject"
    session: OneOrMore = ("session",)
    date: Annotated[DateSource | None, _in_a_table("column")] = None
    session_order: Text | None = None
    trial: OneOrMore | None = None
    choice: Text
    feedback: Annotated[FeedbackSource | None, _in_a_table("column")] = None
    response_time: Annotated[ResponseTimeSource | None, _in_a_table("column")] = None
    block: Text | None = None


def _refuse_twice(*meanings: Codes) -> None:
    """Refuse a code that has two meanings."""
    codes = [code for several in meanings for code in several]
    for code in codes:
        if codes.count(code) > 1:
            shown = repr(code) if isinstance(code, str) else f"{code:g}"
            raise ValueError(f"the code {shown} has two meanings")


class ChoicesTable(TomlTable):
    """``[choices]``: names of the classes in order, their codes, and the codes of no choice."""

    names: Annotated[tuple[Text, ...], Field(min_length=2, max_length=100, strict=False)]
    baseline: Text | None = None
    codes: dict[str, Codes]
    none: Codes = ()

    @model_validator(mode="after")
    def _complete(self) -> "ChoicesTable":
        if len(set(self.names)) < len(self.names):
            raise ValueError("two choices have the same name")
        if self.baseline is not None and self.baseline not in self.names:
            raise ValueError(f"baseline is {self.baseline!r}, and no choice has that name")
        if set(self.codes) != set(self.names):
            raise ValueError("'codes' has to give a code for each of the names, and no other")
        _refuse_twice(*self.codes.values(), self.none)
        return self


class FeedbackTable(TomlTable):
    """``[feedback]``: codes of the outcomes in the feedback column."""

    rewarded: Codes = (1.0,)
    unrewarded: Codes = (0.0, -1.0)

    @model_validator(mode="after")
    def _apart(self) -> "FeedbackTable":
        _refuse_twice(self.rewarded, self.unrewarded)
        return self


class DirectionTable(TomlTable):
    """``sign_of`` of a stimulus: the column of its direction, and the codes of both directions.

    The codes are those of the first and the last choice unless they are given.
    """

    column: Text
    negative: Codes = ()
    positive: Codes = ()

    @model_validator(mode="after")
    def _both(self) -> "DirectionTable":
        if bool(self.negative) != bool(self.positive):
            raise ValueError("give the codes of both directions, 'negative' and 'positive'")
        _refuse_twice(self.negative, self.positive)
        return self


class StimulusTable(TomlTable):
    """``[[stimuli]]``: ``column``, with ``sign_of`` or not, ``plus - minus``, or ``minus`` alone.

    The first stimulus is the main one; ``minus`` alone turns the sign of a column.
    """

    name: Text
    label: Text | None = None
    column: Text | None = None
    sign_of: Annotated[DirectionTable | None, _in_a_table("column")] = None
    plus: Text | None = None
    minus: Text | None = None
    center: Number = 0.0
    missing: Number | None = None
    range: Annotated[tuple[Number, Number] | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _one(self) -> "StimulusTable":
        if (self.column is None) == (self.minus is None) or (self.plus and not self.minus):
            raise ValueError(
                "give 'column', or 'plus' and 'minus', or 'minus' alone, which turns its sign"
            )
        if self.sign_of is not None and self.column is None:
            raise ValueError("'sign_of' gives a direction to 'column', its strength")
        if self.missing is not None and self.plus is None:
            raise ValueError("'missing' is for a difference of two columns")
        return self


#: Keys that each kind of regressor takes beside kind, name and prior_scale; "!" where it needs
#: them. A decay is half_life or tau.
_KEYS: dict[RegressorKind, tuple[str, ...]] = {
    "stimulus": ("column", "scale"),
    "column": ("column!", "scale"),
    "previous_value": ("column!", "scale"),
    "stimulus_trace": ("column", "scale", "decay!"),
    "choice_trace": ("decay!", "outcome"),
    "outcome_trace": ("decay!",),
    "choice_lags": ("count!", "outcome"),
    "outcome_lags": ("count!",),
    "session_time": ("trials!",),
    "session_cosines": ("trials!", "count!"),
}


class RegressorTable(TomlTable):
    """``[[regressors]]`` and ``[[transition_regressors]]``: kind, name, and what the kind takes.

    The memory of a trace is its ``half_life`` or its time constant ``tau``, in trials.
    """

    kind: RegressorKind
    name: Text | None = None
    column: Text | None = None
    scale: Number | None = None
    half_life: Positive | None = None
    tau: Positive | None = None
    count: Annotated[int | None, Field(ge=1, le=1000)] = None
    trials: Positive | None = None
    outcome: CountedOutcome | None = None
    prior_scale: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> "RegressorTable":
        takes = {key.rstrip("!") for key in _KEYS.get(self.kind, ())}
        given = {
            "decay" if key in ("half_life", "tau") else key: key
            for key in ("column", "scale", "half_life", "tau", "count", "trials", "outcome")
            if getattr(self, key) is not None
        }
        for what, key in given.items():
            if what not in takes:
                raise ValueError(f"{key!r} is not for the kind {self.kind}")
        for key in _KEYS.get(self.kind, ()):
            if key.endswith("!") and key[:-1] not in given:
                needed = "'half_life' or 'tau'" if key == "decay!" else repr(key[:-1])
                raise ValueError(f"the kind {self.kind} needs {needed}")
        if self.half_life is not None and self.tau is not None:
            raise ValueError("give 'half_life' or 'tau', not both")
        return self

    @property
    def decay(self) -> float | None:
        """Share that a trial leaves of the trace."""
        if self.tau is not None:
            return math.exp(-1 / self.tau)
        return None if self.half_life is None else 0.5 ** (1 / self.half_life)


class MaskTable(TomlTable):
    """``mask_unless``: a column of the trial table and what its values have to be."""

    column: Text
    min: Number | None = None
    max: Number | None = None
    values: Codes = ()

    @model_validator(mode="after")
    def _some(self) -> "MaskTable":
        if (self.min is None and self.max is None) == (not self.values):
            raise ValueError("give 'min' and/or 'max', or 'values'")
        return self


class RuleTable(TomlTable):
    """``[[rules]]``: one rule each; they run in the order of the file."""

    session_blocks: Numbers | None = None
    min_sessions: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    keep_blocks: Numbers | None = None
    no_choice_fewer_than: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    mask_unless: MaskTable | None = None

    @model_validator(mode="after")
    def _one(self) -> "RuleTable":
        if len(self.model_fields_set) != 1:
            raise ValueError("give one rule in each [[rules]]")
        return self


class TaskFile(TomlTable):
    """All that a task file may say, once what it extends is filled in."""

    title: Text
    columns: ColumnsTable
    choices: ChoicesTable
    feedback: FeedbackTable = FeedbackTable()
    extras: dict[Text, Text] = Field(default_factory=dict)
    labels: dict[Text, Text] = Field(default_factory=dict)
    stimuli: Annotated[tuple[StimulusTable, ...], Field(max_length=200, strict=False)]
    regressors: Annotated[tuple[RegressorTable, ...], Field(min_length=1, strict=False)]
    transition_regressors: Annotated[tuple[RegressorTable, ...], Field(strict=False)] = ()
    rules: Annotated[tuple[RuleTable, ...], Field(max_length=200, strict=False)] = ()
