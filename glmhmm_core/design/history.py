"""History regressors: what the last trial with a choice says about the next one.

They are computed on whole recorded sessions. History is 0 on a session's first trial and until
a first choice was made, and carries over trials without a choice. The value at a trial depends
on earlier trials of its session alone.
"""

import numpy as np

from glmhmm_core.tasks.task import RegressorKind


def last_choice_rows(choices: np.ndarray, session_ids: np.ndarray) -> np.ndarray:
    """Row of the last trial with a choice before each trial, within its session.

    Parameters
    ----------
    choices : int (T,)
        Classes 0..C-1, negative where no choice was made.
    session_ids : (T,)
        Session of each trial; the trials of a session stand together.

    Returns
    -------
    int64 (T,)
        Row, or -1 where there is none.
    """
    rows = np.arange(len(choices))
    starts = np.ones(len(choices), dtype=bool)
    starts[1:] = session_ids[1:] != session_ids[:-1]
    session_start = np.maximum.accumulate(np.where(starts, rows, 0))
    last = np.maximum.accumulate(np.where(choices >= 0, rows, -1))
    before = np.concatenate([[-1], last[:-1]]).astype(np.int64)
    return np.where(before >= session_start, before, -1)


def choice_codes(num_classes: int, baseline_class_idx: int) -> np.ndarray:
    """Code each class for the regressor ``previous_choice``.

    Two classes are -1 and +1 in one column. More have one column per class but the baseline:
    +1 for that class, -1 for the baseline, 0 for the others, so that 0 everywhere (no history)
    is none of them.

    Returns
    -------
    float64 (C, 1) for C = 2, else (C, C-1)
    """
    if num_classes == 2:
        return np.array([[-1.0], [1.0]])
    codes = np.delete(np.eye(num_classes), baseline_class_idx, axis=1)
    codes[baseline_class_idx] = -1.0
    return codes


def history_columns(
    kind: RegressorKind,
    choices: np.ndarray,
    feedback: np.ndarray,
    session_ids: np.ndarray,
    num_classes: int,
    baseline_class_idx: int,
) -> np.ndarray:
    """Columns of one history regressor.

    Parameters
    ----------
    kind
        ``previous_choice``; ``wsls`` and ``previous_choice_outcome``, which are the previous
        choice's code times its outcome (0 where the outcome is unknown); or
        ``previous_outcome``, the outcome alone.
    choices : int (T,)
        Classes 0..C-1, negative where no choice was made.
    feedback : float64 (T,)
        +1 rewarded, -1 not, 0 unknown.
    session_ids : (T,)
        Session of each trial.

    Returns
    -------
    float64 (T, 1), or (T, C-1) for kinds of choices with C > 2
    """
    previous = last_choice_rows(choices, session_ids)
    if kind == "previous_outcome":
        return np.where(previous >= 0, feedback[previous], 0.0)[:, None]
    values = choice_codes(num_classes, baseline_class_idx)[choices[previous]]
    if kind != "previous_choice":
        values = values * feedback[previous][:, None]
    return np.where((previous >= 0)[:, None], values, 0.0)
