"""From cleaned trials to a design: regressors on whole sessions, then the chain cut out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.design.design import Design
from glmhmm_core.design.history import choice_codes, history_columns
from glmhmm_core.design.session_time import raised_cosines, trials_before
from glmhmm_core.design.traces import counted, lagged, traced
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Regressor, Task


def build_design(cleaned: pl.DataFrame, task: Task) -> Design:
    """Build the design of one subject.

    Parameters
    ----------
    cleaned
        All trials of the sessions kept, as ``trials.cleaning.clean`` gives them.
    task
        Its regressors, and transition regressors, in the order of the design's columns.

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
    record = _Record(cleaned, choices, feedback, sessions, task)
    chain = cleaned["in_chain"].to_numpy()
    mask = (choices >= 0) & ~cleaned["masked"].to_numpy()
    return Design(
        subject=subject,
        keys=cleaned.select("session", "trial").filter(chain),
        X=_stacked(task.regressors, record)[chain],
        y=np.where(mask, choices, -1)[chain],
        mask=mask[chain],
        feature_names=task.feature_names,
        choice_names=task.choices,
        baseline_class_idx=task.baseline_class_idx,
        prior_scales=task.prior_scales,
        transition_names=task.transition_names,
        U=_stacked(task.transition_regressors, record)[chain],
        transition_scales=task.transition_scales,
    )


@dataclass(frozen=True)
class _Record:
    """All recorded trials of one subject, of which regressors are made."""

    table: pl.DataFrame
    choices: np.ndarray
    feedback: np.ndarray
    sessions: np.ndarray
    task: Task


def _stacked(regressors: Sequence[Regressor], record: _Record) -> np.ndarray:
    """Columns of several regressors side by side, on all recorded trials."""
    none = np.empty((len(record.choices), 0))
    return np.ascontiguousarray(np.hstack([none, *(_columns(r, record) for r in regressors)]))


def _columns(regressor: Regressor, record: _Record) -> np.ndarray:
    """Columns of one regressor on all recorded trials, (T, 1) or more."""
    sessions, task = record.sessions, record.task
    kind, made = regressor.kind, record.choices >= 0
    if kind == "bias":
        return np.ones((len(sessions), 1))
    if kind == "session_time":
        return trials_before(sessions)[:, None] / regressor.trials
    if kind == "session_cosines":
        return raised_cosines(trials_before(sessions), regressor.trials, regressor.count)
    if regressor.column is not None:
        values = record.table[regressor.column].cast(pl.Float64)
        known = values.is_not_null().to_numpy()
        # where the present value is unknown, cleaning has masked the trial
        signal = values.fill_null(0.0).to_numpy()[:, None] * regressor.scale
        if kind == "stimulus_trace":
            assert regressor.decay is not None  # the grammar asks for it
            return traced(signal, known, sessions, regressor.decay)
        return lagged(signal, known, sessions, 1) if kind == "previous_value" else signal
    if kind in ("outcome_lags", "outcome_trace"):
        signal = record.feedback[:, None]
    elif kind in ("choice_lags", "choice_trace"):
        codes = choice_codes(task.num_classes, task.baseline_class_idx)[record.choices]
        signal = codes * counted(regressor.outcome, record.feedback)[:, None]
    else:
        return history_columns(
            kind,
            record.choices,
            record.feedback,
            sessions,
            task.num_classes,
            task.baseline_class_idx,
        )
    if regressor.decay is not None:
        return traced(signal, made, sessions, regressor.decay)
    return lagged(signal, made, sessions, regressor.count)


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
