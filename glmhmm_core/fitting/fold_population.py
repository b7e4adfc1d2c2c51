"""The population of one fold, and which sessions it has seen: none that the fold holds out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.empirical_bayes import Level
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.wording import first_of

#: Clashing sessions that a message names.
NAMED = 3


@dataclass(frozen=True)
class FoldPopulation:
    """The populations of one fold.

    Attributes
    ----------
    levels
        By number of states, ascending.
    sessions
        Names of those that they were learned from, by subject; none where nothing was learned.
    """

    levels: tuple[Level, ...]
    sessions: Mapping[str, tuple[str, ...]]

    def level(self, num_states: int) -> Level:
        """The population of one model."""
        return next(level for level in self.levels if level.num_states == num_states)


def check_unseen(
    subject: str, problem: Problem, train: np.ndarray, folds: Sequence[FoldPopulation], where: str
) -> None:
    """Refuse folds whose population was learned from sessions that they do not train on.

    Folds go by the order of a subject's sessions: one that is dropped, or that comes before
    others, deals those anew, and a fold is no longer the one that its population was learned for.

    Parameters
    ----------
    problem
        The subject's data now.
    train : bool (F, S)
        The sessions that each fold trains on.
    folds
        Their populations.
    where
        What the folds are for.

    Raises
    ------
    InputError
    """
    names = np.array(problem.sessions)
    for index, (fold, trained) in enumerate(zip(folds, train, strict=True)):
        seen = sorted({*fold.sessions.get(subject, ())}.intersection(names[~trained].tolist()))
        if seen:
            raise InputError(
                f"the population of fold {index} was learned from {first_of(seen, NAMED)}, "
                "which the fold does not train on",
                where=where,
                remedy="If the subject has a refit that is held for review, promote it "
                "(glmhmm promote); else make the hierarchical fit again.",
            )
