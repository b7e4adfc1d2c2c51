"""Splits of a subject's sessions into training and test sessions."""

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.folds import Splits, split_sessions
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.validation import check_folds


def fold_splits(problem: Problem, num_folds: int, seed: int, where: str) -> Splits:
    """Hold each fold of sessions out once: the folds of a GLM-HMM of the same problem and seed.

    Raises
    ------
    InputError
        One fold, or more of them than sessions with a choice.
    """
    if num_folds < 0 or num_folds == 1:
        raise InputError(
            f"cv_folds is {num_folds}", where=where, remedy="It must be 0 or at least 2."
        )
    check_folds(num_folds, problem, where)
    return split_sessions(len(problem.sessions), num_folds, "interleaved", seed)


def check_splits(splits: Splits, problem: Problem, where: str) -> Splits:
    """Splits as boolean arrays.

    Raises
    ------
    InputError
        Of another shape than the sessions, a session on both sides, or a side without a choice
        to train on.
    """
    train, test = np.asarray(splits.train, bool), np.asarray(splits.test, bool)
    sessions = len(problem.sessions)
    if train.shape != test.shape or train.ndim != 2 or train.shape[1] != sessions:
        raise InputError(
            f"splits have shapes {train.shape} and {test.shape} for {sessions} sessions",
            where=where,
            remedy="Give a row per split and a column per session, in order of appearance.",
        )
    choices = np.bincount(problem.session_index[problem.mask], minlength=sessions)
    for i in range(len(train)):
        both = np.flatnonzero(train[i] & test[i])
        if len(both):
            raise InputError(
                f"session {problem.sessions[both[0]]!r} of split {i} is trained and tested on",
                where=where,
                remedy="Put each session on one side, or on none.",
            )
        if not choices[train[i]].sum():
            raise InputError(
                f"split {i} has no choice to train on",
                where=where,
                remedy="Train every split on at least one session with a choice.",
            )
    return Splits(train, test)
