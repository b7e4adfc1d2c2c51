"""From cleaned trials to a design: regressors on whole sessions, then the chain cut out."""

import numpy as np
import polars as pl

from glmhmm_core.design.design import Design
from glmhmm_core.design.history import history_columns
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Regressor, Task


def build_design(cleaned: pl.DataFrame, task: Task) -> Design:
    """Build the design of one subject.

    Parameters
    ----------
    cleaned
        All trials of the sessions kept, as ``trials.cleaning.clean`` gives them.
    task
        Its regressors, in the order of the design's columns.

    Raises
    ------
    InputError
        No trial is left, or the sessions or subjects are mixed up.
    """
    subject = _one_subject(cleaned)
    sessions = cleaned["session"].to_numpy()
    check_together(sessions, f"subject {subject}")
    choices = cleaned["choice"].cast(pl.Int64).fill_null(-1).to_numpy()
    feedback = cleaned["feedback"].cast(pl.Float64).fill_null(0.0).to_numpy()
    columns = [_columns(r, cleaned, choices, feedback, sessions, task) for r in task.regressors]
    chain = cleaned["in_chain"].to_numpy()
    mask = (choices >= 0) & ~cleaned["masked"].to_numpy()
    return Design(
        subject=subject,
        keys=cleaned.select("session", "trial").filter(chain),
        X=np.ascontiguousarray(np.hstack(columns)[chain]),
        y=np.where(mask, choices, -1)[chain],
        mask=mask[chain],
        feature_names=task.feature_names,
        choice_names=task.choices,
        baseline_class_idx=task.baseline_class_idx,
        prior_scales=task.prior_scales,
    )


def _columns(
    regressor: Regressor,
    cleaned: pl.DataFrame,
    choices: np.ndarray,
    feedback: np.ndarray,
    sessions: np.ndarray,
    task: Task,
) -> np.ndarray:
    """Columns of one regressor on all recorded trials, (T, 1) or more."""
    if regressor.kind == "bias":
        return np.ones((len(cleaned), 1))
    if regressor.column is not None:
        # cleaning has masked the trials whose stimulus is unknown
        values = cleaned[regressor.column].fill_null(0.0).to_numpy()
        return values[:, None] * regressor.scale
    return history_columns(
        regressor.kind, choices, feedback, sessions, task.num_classes, task.baseline_class_idx
    )


def _one_subject(cleaned: pl.DataFrame) -> str:
    subjects = cleaned["subject"].unique().to_list()
    if len(subjects) > 1:
        raise InputError(
            f"{len(subjects)} subjects in one table",
            where="build_design",
            remedy="Build one design per subject.",
        )
    if not subjects or not cleaned["in_chain"].any():
        raise InputError(
            "no trial is left after cleaning",
            where=f"subject {subjects[0]}" if subjects else "build_design",
            remedy="The cleaning report says why; change the task's rules or leave it out.",
        )
    return str(subjects[0])


def check_together(sessions: np.ndarray, where: str) -> None:
    """Refuse sessions whose trials do not stand together."""
    starts = np.flatnonzero(np.concatenate([[True], sessions[1:] != sessions[:-1]]))
    names, counts = np.unique(sessions[starts].astype(str), return_counts=True)
    if np.any(counts > 1):
        raise InputError(
            f"the trials of session {names[counts > 1][0]} do not stand together",
            where=where,
            remedy="Sort the rows by session, or give each part a session id of its own.",
        )
