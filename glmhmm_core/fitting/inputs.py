"""Arrays as users give them, to one problem; what is no number is refused."""

from typing import Any

import numpy as np

from glmhmm_core.design.arrays import classes, labels, numbers, seen
from glmhmm_core.fitting.problem import Problem


def as_problem(
    y: Any,
    X: Any,
    session_ids: Any,
    mask: Any,
    num_classes: int,
    baseline_class_idx: int,
    where: str,
    U: Any = None,
) -> Problem:
    """The problem of arrays as a user gives them; ``y`` is -1 where no choice counts.

    Parameters
    ----------
    y, X, session_ids, mask, U
        (T,) choices, (T, M) regressors, (T,) session of each trial, (T,) true where a choice was
        made or None for all, (T, D) transition regressors or None for a constant chain. Lists
        and columns of data frames serve too; a choice that a NumPy masked array masks does not
        count. A regressor may be missing where no choice counts: nothing sees it, and it is 0.
    num_classes, baseline_class_idx
        C, and the class whose logit is fixed at zero.
    where
        What an error names as its place.

    Raises
    ------
    InputError
        What is given is no number, or no whole number where a choice counts.
    """
    choices, counted = classes("y", y, mask, where)
    return Problem(
        X=seen(numbers("X", X, where), counted),
        U=np.empty((len(choices), 0)) if U is None else numbers("U", U, where),
        y=choices,
        mask=counted,
        session_ids=labels("session_ids", session_ids, where),
        num_classes=num_classes,
        baseline_class_idx=baseline_class_idx,
    )
