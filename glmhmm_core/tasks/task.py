"""What an experiment is, as values: columns, choices, inclusion rules and regressors.

Reading these from TOML is ``tasks/load.py``; nothing here opens a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

RegressorKind = Literal[
    "stimulus",
    "bias",
    "previous_choice",
    "wsls",
    "previous_choice_outcome",
    "previous_outcome",
    "choice_lags",
    "outcome_lags",
    "choice_trace",
    "outcome_trace",
    "stimulus_trace",
    "column",
    "previous_value",
    "session_time",
    "session_cosines",
]
#: Which choices a lag or a trace of choices counts, by their outcome: any, those rewarded, those
#: not rewarded, or all with the sign of their outcome (of two choices: the side that was correct).
CountedOutcome = Literal["any", "rewarded", "unrewarded", "signed"]
#: A code as it stands in the data: text, or a number (a truth value is 0 or 1).
Code = str | float

#: Standard deviation of a weight's Gaussian prior where the task names none, by kind: wide for
#: the stimulus, whose weight a narrow prior shrinks, narrow for history.
PRIOR_SCALES: dict[RegressorKind, float] = {"stimulus": 10.0, "bias": 3.0}
#: The same for all other kinds, and for every weight of a transition regressor.
PRIOR_SCALE = 2.0

#: Regressors whose value is the outcome of earlier trials, or has its sign.
OUTCOME_KINDS: tuple[RegressorKind, ...] = (
    "wsls",
    "previous_choice_outcome",
    "previous_outcome",
    "outcome_lags",
    "outcome_trace",
)
#: Regressors whose value is the code of earlier choices: one column per non-baseline choice.
CHOICE_KINDS: tuple[RegressorKind, ...] = (
    "previous_choice",
    "previous_choice_outcome",
    "choice_lags",
    "choice_trace",
)
#: Regressors made of earlier choices and outcomes: a simulation has to feed them back.
HISTORY_KINDS: tuple[RegressorKind, ...] = tuple(dict.fromkeys((*CHOICE_KINDS, *OUTCOME_KINDS)))
#: Regressors that are a column's value on the trial itself.
PRESENT_KINDS: tuple[RegressorKind, ...] = ("stimulus", "column")
#: Columns of every trial table that regressors may be of, beside stimuli and extras.
COMMON_COLUMNS: dict[RegressorKind, tuple[str, ...]] = {
    "column": ("block",),
    "previous_value": ("block", "response_time"),
}


@dataclass(frozen=True)
class Direction:
    """The side that a stimulus calls for, where it stands in a column of its own.

    Attributes
    ----------
    column
        Source column.
    negative, positive
        Codes of evidence for the first choice, and for the last.
    """

    column: str
    negative: tuple[Code, ...]
    positive: tuple[Code, ...]


@dataclass(frozen=True)
class Stimulus:
    """One stimulus column of the trial table, made of one or two source columns.

    Attributes
    ----------
    name, label
        Name of the column in the trial table, and what an axis calls it.
    plus, minus
        Source columns; the value is ``plus - minus - center`` (``minus`` may be absent).
    turned
        Without ``minus``: the column is evidence for the first choice where it is positive, and
        the value is ``center - plus``.
    direction
        Column whose code gives the value its sign: ``plus`` is a strength then. None where the
        value has its own sign.
    center
        Value of the source that counts as zero evidence.
    missing
        What stands for one missing side of a difference; None leaves the difference unknown.
    range
        Lowest and highest value that make sense, for checks; None where there is no bound.
    """

    name: str
    label: str
    plus: str
    minus: str | None = None
    turned: bool = False
    direction: Direction | None = None
    center: float = 0.0
    missing: float | None = None
    range: tuple[float, float] | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Source columns it is made of."""
        second = self.direction.column if self.direction else self.minus
        return (self.plus,) if second is None else (self.plus, second)


@dataclass(frozen=True)
class ResponseTime:
    """How the response time comes about: a column of its own, or last time minus first time.

    With ``start`` and ``end`` (Ashwood et al. 2022): the earliest of the ``end`` times minus
    the earliest of the ``start`` times of a trial, over the columns that a session has.
    """

    column: str | None = None
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Source columns it is made of."""
        return (self.column,) if self.column is not None else self.start + self.end


@dataclass(frozen=True)
class Regressor:
    """One regressor of the design; some kinds are several columns, such as lags.

    Attributes
    ----------
    kind, name, prior_scale
        What it is, what it is called, and the standard deviation of its weight's prior.
    column, scale
        Of a stimulus or another column: its value is ``column * scale``, fixed numbers, never
        statistics of the data.
    decay
        Of a trace: the share that a trial leaves of it, between 0 and 1.
    count
        Number of lags or of cosines.
    trials
        Of session time: trials that are one unit; of session cosines: trials that they cover.
    outcome
        Of lags and traces of choices: which choices count.
    """

    kind: RegressorKind
    name: str
    prior_scale: float
    column: str | None = None
    scale: float = 1.0
    decay: float | None = None
    count: int = 1
    trials: float = 1.0
    outcome: CountedOutcome = "any"

    @property
    def needs_outcome(self) -> bool:
        """Whether its value depends on the outcome of earlier trials."""
        return self.kind in OUTCOME_KINDS or self.outcome != "any"


@dataclass(frozen=True)
class SessionBlocks:
    """A session counts only if the blocks that occur in it are exactly these."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class MinSessions:
    """A subject counts only with at least this many sessions left at this point."""

    count: int


@dataclass(frozen=True)
class KeepBlocks:
    """Only trials of these blocks are part of the chain."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class FewNoChoice:
    """A session counts only with fewer than this many chain trials without a choice."""

    fewer_than: int


@dataclass(frozen=True)
class MaskUnless:
    """A chain trial's choice is masked unless the column lies in range, or is one of the values.

    An unknown value is masked too. ``column`` is any column of the trial table.
    """

    column: str
    min: float | None = None
    max: float | None = None
    values: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Extra:
    """A further column of the trial table: numbers, or text (``is_text``)."""

    name: str
    source: str
    is_text: bool = False


Rule = SessionBlocks | MinSessions | KeepBlocks | FewNoChoice | MaskUnless


@dataclass(frozen=True)
class Task:
    """An experiment: how its files read, what counts, and which regressors its design has.

    Attributes
    ----------
    name, title
        Short name, and one line for people.
    choices
        Names of the classes 0..C-1, in class order.
    baseline_class_idx
        Class whose logit is fixed at zero.
    subject_column, session_columns, choice_column
        Source columns; several session columns are joined by ``_``. ALF folders name subject
        and session by themselves.
    choice_codes, no_choice_codes
        Codes of each class, and those that say that no choice was made (an empty value always
        does).
    feedback_column, rewarded_codes, unrewarded_codes
        Where the outcome stands and how it is coded; column None where there is none.
    feedback_sign_of
        Stimulus whose sign is the correct side (positive: class 1), for two choices without an
        outcome column; at zero the outcome is unknown.
    response_time, block_column
        Sources of response time and block; None where there is none.
    stimuli
        Stimulus columns; the first is the main one, the x axis of psychometric curves. Empty for
        a task without a stimulus, such as a bandit.
    extras
        Further columns of the trial table.
    rules
        Inclusion rules, applied in this order.
    regressors, transition_regressors
        Regressors of the choice in the order of the design's columns, and those that a study
        may let the transitions between states depend on.
    trial_columns
        Source columns whose values, the first's first, order the trials of a session: numbers or
        times. Empty where the rows of the files stand in order.
    date_column, date_format
        Source column of the sessions' dates, and how they are written (as ``strptime`` has it)
        where that is not found out. Sessions are ordered by it, then by the next.
    session_order_column
        Source column of a number that orders the sessions of a subject.
    source
        The file it came from, for messages.
    """

    name: str
    title: str
    choices: tuple[str, ...]
    baseline_class_idx: int
    subject_column: str
    session_columns: tuple[str, ...]
    choice_column: str
    choice_codes: tuple[tuple[Code, ...], ...]
    no_choice_codes: tuple[Code, ...]
    feedback_column: str | None
    rewarded_codes: tuple[Code, ...]
    unrewarded_codes: tuple[Code, ...]
    feedback_sign_of: str | None
    response_time: ResponseTime | None
    block_column: str | None
    stimuli: tuple[Stimulus, ...]
    extras: tuple[Extra, ...]
    rules: tuple[Rule, ...]
    regressors: tuple[Regressor, ...]
    transition_regressors: tuple[Regressor, ...] = ()
    trial_columns: tuple[str, ...] = ()
    date_column: str | None = None
    date_format: str | None = None
    session_order_column: str | None = None
    source: str = field(default="", repr=False, compare=False)

    @property
    def num_classes(self) -> int:
        """C, the number of choices."""
        return len(self.choices)

    @property
    def has_feedback(self) -> bool:
        """Whether the task says where outcomes come from."""
        return self.feedback_column is not None or self.feedback_sign_of is not None

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Columns of the files that it reads, but for subject and session."""
        names = [self.choice_column, self.feedback_column, self.block_column]
        names += [source for stimulus in self.stimuli for source in stimulus.sources]
        names += self.response_time.sources if self.response_time else ()
        names += [extra.source for extra in self.extras]
        names += self.order_columns
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def tables_of(self, sources: Sequence[str]) -> str:
        """Tables of the task file that say what source columns are called, for messages."""
        in_stimuli = {source for stimulus in self.stimuli for source in stimulus.sources}
        in_extras = {
            extra.source: "[labels]" if extra.is_text else "[extras]" for extra in self.extras
        }
        tables = [
            "[[stimuli]]" if source in in_stimuli else in_extras.get(source, "[columns]")
            for source in sources
        ]
        return " and ".join(dict.fromkeys(tables))

    @property
    def order_columns(self) -> tuple[str, ...]:
        """Columns of the files that order trials and sessions."""
        names = (*self.trial_columns, self.date_column, self.session_order_column)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def native_columns(self) -> dict[str, str]:
        """Columns of the trial table that hold the files' own trial numbers, by source column."""
        return {source: f"native_{source}" for source in self.trial_columns}

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Those of ``source_columns`` that a session cannot do without."""
        used = {regressor.column for regressor in self.all_regressors}
        used |= {rule.column for rule in self.rules if isinstance(rule, MaskUnless)}
        used |= {self.feedback_sign_of}
        names = [self.choice_column]
        names += [source for s in self.stimuli if s.name in used for source in s.sources]
        names += [self.feedback_column] if self.feedback_column and self.needs_feedback else []
        names += [self.block_column] if self.block_column and self.needs_block else []
        names += [extra.source for extra in self.extras if extra.name in used]
        names += self.trial_columns
        return tuple(dict.fromkeys(names))

    @property
    def needs_feedback(self) -> bool:
        """Whether something is computed from the recorded outcomes."""
        asked = any(isinstance(r, MaskUnless) and r.column == "feedback" for r in self.rules)
        return asked or any(r.needs_outcome for r in self.all_regressors)

    @property
    def needs_block(self) -> bool:
        """Whether a rule or a regressor is about blocks."""
        ruled = any(isinstance(r, SessionBlocks | KeepBlocks) for r in self.rules)
        return ruled or any(r.column == "block" for r in self.all_regressors)

    @property
    def all_regressors(self) -> tuple[Regressor, ...]:
        """Regressors of the choice and of the transitions."""
        return self.regressors + self.transition_regressors

    @property
    def main_stimulus(self) -> Stimulus | None:
        """The stimulus that psychometric curves are drawn against; None if the task has none."""
        return self.stimuli[0] if self.stimuli else None

    def columns_of(self, regressor: Regressor) -> tuple[str, ...]:
        """Names of the design columns of one regressor.

        Kinds of choices have one per non-baseline choice where there are more than two; lags
        and cosines one, or one such group, per lag or cosine, counted from 1.
        """
        names = [regressor.name]
        if regressor.kind in ("choice_lags", "outcome_lags", "session_cosines"):
            names = [f"{regressor.name}_{i + 1}" for i in range(regressor.count)]
        if regressor.kind in CHOICE_KINDS and self.num_classes > 2:
            others = [n for c, n in enumerate(self.choices) if c != self.baseline_class_idx]
            names = [f"{name}_{other}" for name in names for other in others]
        return tuple(names)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the M design columns, in order."""
        return tuple(name for r in self.regressors for name in self.columns_of(r))

    @property
    def transition_names(self) -> tuple[str, ...]:
        """Names of the D columns of the transition regressors, in order."""
        return tuple(name for r in self.transition_regressors for name in self.columns_of(r))

    @property
    def stimulus_features(self) -> tuple[str, ...]:
        """Names of the design columns that carry a stimulus."""
        return tuple(r.name for r in self.regressors if r.kind == "stimulus")

    @property
    def prior_scales(self) -> np.ndarray:
        """Prior standard deviation of each design column's weights, float64 (M,)."""
        return np.array([r.prior_scale for r in self.regressors for _ in self.columns_of(r)])

    @property
    def transition_scales(self) -> np.ndarray:
        """Prior standard deviation of each transition regressor's weights, float64 (D,)."""
        return np.array(
            [r.prior_scale for r in self.transition_regressors for _ in self.columns_of(r)]
        )
