"""What many earlier trials say about the next: lags, and exponentially weighted traces.

Both are computed on whole recorded sessions and start at 0 in each. A trial on which there is
nothing to remember (no choice was made, or the value is unknown) leaves both as they are. The
value at a trial depends on earlier trials of its session alone.
"""

import numpy as np
from scipy.signal import lfilter

from glmhmm_core.design.history import last_choice_rows
from glmhmm_core.tasks.task import CountedOutcome


def counted(outcome: CountedOutcome, feedback: np.ndarray) -> np.ndarray:
    """Factor of each trial's choice by its outcome, (T,) from feedback +1, -1 or 0 for unknown."""
    if outcome == "any":
        return np.ones(len(feedback))
    if outcome == "signed":
        return feedback
    return (feedback == (1.0 if outcome == "rewarded" else -1.0)).astype(np.float64)


def lagged(
    signal: np.ndarray, known: np.ndarray, session_ids: np.ndarray, count: int
) -> np.ndarray:
    """Values of the last ``count`` known trials before each trial, 0 where there were fewer.

    Parameters
    ----------
    signal : float64 (T, W)
    known : bool (T,)
        True where the trial has a value.
    session_ids : (T,)
        Session of each trial; the trials of a session stand together.

    Returns
    -------
    float64 (T, count W)
        The last known trial's values first.
    """
    before = last_choice_rows(np.where(known, 0, -1), session_ids)
    rows, lags = before, []
    for _ in range(count):
        lags.append(np.where((rows >= 0)[:, None], signal[rows], 0.0))
        rows = np.where(rows >= 0, before[rows], -1)
    return np.hstack(lags)


def traced(
    signal: np.ndarray, known: np.ndarray, session_ids: np.ndarray, decay: float
) -> np.ndarray:
    """Exponentially weighted trace of the known trials before each trial.

    The trace is 0 at a session's start and becomes ``decay * trace + (1 - decay) * signal``
    after every known trial: a value repeated for ever is its limit.

    Parameters
    ----------
    signal, known, session_ids
        As in :func:`lagged`.
    decay
        Share of the trace that a trial leaves, 0 < decay < 1.

    Returns
    -------
    float64 (T, W)
    """
    traces = np.zeros(signal.shape)
    starts = np.flatnonzero(np.concatenate([[True], session_ids[1:] != session_ids[:-1]]))
    for rows in np.split(np.arange(len(signal)), starts[1:]):
        rows = rows[known[rows]]
        if len(rows):
            traces[rows] = lfilter([1 - decay], [1, -decay], signal[rows], axis=0)
    return lagged(traces, known, session_ids, 1)
