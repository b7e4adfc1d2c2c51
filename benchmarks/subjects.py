"""What the benchmarks fit: simulated mice as plain arrays, and as the engine takes them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.starts import generator, starting_point
from glmhmm_core.simulation.ibl_cohort import (
    ASHWOOD_SESSIONS,
    CHOICE_NAMES,
    simulate_ibl_cohort,
)
from glmhmm_core.simulation.population import ASHWOOD_MICE, FEATURE_NAMES

if TYPE_CHECKING:
    from glmhmm_core.design.design import Design

#: Trials of every session of the reference analysis (Ashwood et al. 2022).
REFERENCE_TRIALS = 90
#: Its cohort.
REFERENCE_MICE = 37


@dataclass(frozen=True)
class Subject:
    """Choices of one mouse, trials in order, sessions together.

    Attributes
    ----------
    name
        Of the mouse.
    X : float64 (T, M)
        Regressors stimulus, bias, previous_choice, wsls.
    y : int64 (T,)
        0 left, 1 right, -1 no choice.
    session_ids : str (T,)
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    session_ids: np.ndarray

    @property
    def bounds(self) -> np.ndarray:
        """First trial of every session, and the end: int64 (S + 1,)."""
        new = np.flatnonzero(self.session_ids[1:] != self.session_ids[:-1]) + 1
        return np.concatenate([[0], new, [len(self.y)]])

    def first_sessions(self, number: int) -> "Subject":
        """The same mouse, only its first sessions."""
        end = self.bounds[number]
        return Subject(self.name, self.X[:end], self.y[:end], self.session_ids[:end])

    def problem(self) -> Problem:
        """As the engine takes it."""
        return Problem(
            X=self.X,
            U=np.empty((len(self.y), 0)),
            y=self.y,
            mask=self.y >= 0,
            session_ids=self.session_ids,
            num_classes=2,
            baseline_class_idx=0,
        )

    def design(self) -> "Design":
        """As ``fit_subjects`` takes it."""
        import polars as pl

        from glmhmm_core.design.design import Design

        keys = pl.DataFrame({"session": self.session_ids}).with_columns(
            trial=pl.int_range(pl.len()).over("session")
        )
        return Design(
            subject=self.name,
            keys=keys,
            X=self.X,
            y=self.y,
            mask=self.y >= 0,
            feature_names=FEATURE_NAMES,
            choice_names=CHOICE_NAMES,
            baseline_class_idx=0,
            prior_scales=np.array([10.0, 3.0, 2.0, 2.0]),
        )


def one_mouse(sessions: int = 50, trials: int = 100, seed: int = 0) -> Subject:
    """One textbook mouse that always chooses."""
    (mouse,) = simulate_ibl_cohort(
        1, seed=seed, sessions=[sessions], trials=trials, no_choice_prob=0.0
    )
    return Subject(mouse.subject, mouse.X, mouse.y, mouse.session_ids)


def cohort(num_mice: int = REFERENCE_MICE, seed: int = 0) -> list[Subject]:
    """Mice with the spread, sessions and trials of the reference analysis."""
    mice = simulate_ibl_cohort(
        num_mice,
        seed=seed,
        population=ASHWOOD_MICE,
        sessions=ASHWOOD_SESSIONS,
        trials=REFERENCE_TRIALS,
    )
    return [Subject(mouse.subject, mouse.X, mouse.y, mouse.session_ids) for mouse in mice]


def pooled(mice: list[Subject]) -> Subject:
    """All mice as one."""
    ids = np.concatenate([np.char.add(f"{m.name}/", m.session_ids) for m in mice])
    return Subject(
        "pooled", np.concatenate([m.X for m in mice]), np.concatenate([m.y for m in mice]), ids
    )


def starts(glm: np.ndarray, subject: str, num_states: int, number: int) -> list[Parameters]:
    """The starting points that fits with seed 0 begin at.

    Parameters
    ----------
    glm : float64 (C-1, M)
        Weights of the model with one state.
    """
    units = np.ones(glm.shape[1])
    return [
        starting_point(glm, units, num_states, r, generator(0, subject, num_states, r))
        for r in range(number)
    ]
