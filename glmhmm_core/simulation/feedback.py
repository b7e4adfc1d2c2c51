"""History regressors of simulated sessions, brought up to date choice by choice."""

from collections.abc import Mapping, Sequence

import numpy as np

from glmhmm_core.design.history import choice_codes
from glmhmm_core.design.traces import counted
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import (
    CHOICE_KINDS,
    HISTORY_KINDS,
    OUTCOME_KINDS,
    Regressor,
    RegressorKind,
    Task,
)

#: Columns that hold each history regressor; a kind alone is a regressor of it without options.
History = Mapping[RegressorKind | Regressor, Sequence[int]]

#: Kinds that have no options.
_PLAIN: tuple[RegressorKind, ...] = (
    "previous_choice",
    "wsls",
    "previous_choice_outcome",
    "previous_outcome",
)


class Memory:
    """What one history regressor remembers in each of S sessions.

    Parameters
    ----------
    regressor
        The regressor, or its kind.
    num_sessions, num_classes, baseline_class_idx
        S, C, and the class whose logit is fixed at zero.

    Raises
    ------
    InputError
        If the regressor is not made of earlier choices and outcomes.
    """

    def __init__(
        self,
        regressor: RegressorKind | Regressor,
        num_sessions: int,
        num_classes: int,
        baseline_class_idx: int,
    ) -> None:
        one = as_regressor(regressor)
        if one.kind not in HISTORY_KINDS:
            raise InputError(
                f"{one.name!r} is no history that choices feed back",
                where="simulate",
                remedy=f"Leave it out of the history; that is of {', '.join(HISTORY_KINDS)}.",
            )
        self._regressor = one
        self._codes = choice_codes(num_classes, baseline_class_idx)
        coded = one.kind in CHOICE_KINDS or one.kind == "wsls"
        width = self._codes.shape[1] if coded else 1
        self._coded = coded
        self._memory = np.zeros((num_sessions, one.count, width))

    @property
    def width(self) -> int:
        """Number of its columns."""
        return self._memory[0].size

    def values(self, sessions: np.ndarray) -> np.ndarray:
        """Its columns on the next trial of these sessions, (s, width)."""
        return self._memory[sessions].reshape(len(sessions), -1)

    def update(self, sessions: np.ndarray, choices: np.ndarray, outcomes: np.ndarray) -> None:
        """Remember the choices that these sessions made, and their outcomes +1, -1 or 0."""
        one = self._regressor
        signal = outcomes[:, None].astype(np.float64)
        if self._coded:
            factor = outcomes if one.kind in OUTCOME_KINDS else counted(one.outcome, outcomes)
            signal = self._codes[choices] * factor[:, None]
        memory = self._memory
        if one.decay is not None:
            memory[sessions, 0] = one.decay * memory[sessions, 0] + (1 - one.decay) * signal
        else:
            memory[sessions, 1:] = memory[sessions, :-1]
            memory[sessions, 0] = signal


def as_regressor(given: RegressorKind | Regressor) -> Regressor:
    """The regressor itself, or that of a kind without options."""
    return given if isinstance(given, Regressor) else Regressor(given, given, np.inf)


def history_of(task: Task) -> dict[RegressorKind | Regressor, list[int]]:
    """Columns of a task's design that hold each history regressor."""
    return _columns(task, task.regressors, task.feature_names)


def transition_history_of(
    task: Task, names: Sequence[str]
) -> dict[RegressorKind | Regressor, list[int]]:
    """The same among the transition regressors ``names`` that a model is driven by.

    Raises
    ------
    InputError
        If ``names`` has some columns of a history regressor and not all.
    """
    return _columns(task, task.transition_regressors, names)


def _columns(
    task: Task, regressors: Sequence[Regressor], names: Sequence[str]
) -> dict[RegressorKind | Regressor, list[int]]:
    found: dict[RegressorKind | Regressor, list[int]] = {}
    for regressor in regressors:
        columns = task.columns_of(regressor)
        there = [name in names for name in columns]
        if regressor.kind not in HISTORY_KINDS or not any(there):
            continue
        if not all(there):
            raise InputError(
                f"of the columns of {regressor.name!r} only some are there",
                where=f"task {task.name!r}",
                remedy=f"Use all of {', '.join(columns)}, or none.",
            )
        key = regressor.kind if regressor.kind in _PLAIN else regressor
        found[key] = [list(names).index(name) for name in columns]
    return found
