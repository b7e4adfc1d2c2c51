"""Arrays as users give them, to one problem; what is no number is refused."""

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.problem import Problem


def as_problem(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    mask: np.ndarray | None,
    num_classes: int,
    baseline_class_idx: int,
    where: str,
    U: np.ndarray | None = None,
) -> Problem:
    """The problem of arrays as a user gives them; ``y`` is -1 outside the mask.

    Parameters
    ----------
    y, X, session_ids, mask, U
        (T,) choices, (T, M) regressors, (T,) session of each trial, (T,) true where a choice was
        made or None for all, (T, D) transition regressors or None for a constant chain.
    num_classes, baseline_class_idx
        C, and the class whose logit is fixed at zero.
    where
        What an error names as its place.

    Raises
    ------
    InputError
        What is given is no number, or no whole number where a choice counts.
    """
    y, X = numbers("y", y, where), numbers("X", X, where)
    counted = np.ones(y.shape, bool) if mask is None else np.asarray(mask, bool)
    if counted.shape != y.shape:
        raise InputError(
            f"mask has shape {counted.shape} for {y.shape} choices",
            where=where,
            remedy="Give one entry per trial.",
        )
    if np.any(y[counted] != np.round(y[counted])):  # NaN included
        raise InputError(
            "a choice is not a whole number",
            where=where,
            remedy="Code the classes as 0..C-1, and mark a missing choice in the mask.",
        )
    return Problem(
        X=X,
        U=np.empty((len(y), 0)) if U is None else numbers("U", U, where),
        y=np.where(counted, np.nan_to_num(y), -1).astype(np.int64),
        mask=counted,
        session_ids=np.asarray(session_ids),
        num_classes=num_classes,
        baseline_class_idx=baseline_class_idx,
    )


def numbers(name: str, values: np.ndarray, where: str) -> np.ndarray:
    """Values as float64.

    Raises
    ------
    InputError
    """
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds what is no number ({error})",
            where=where,
            remedy="Give an array of numbers, choices as 0..C-1.",
        ) from error
