"""Where in its session a trial stands, as regressors: a line, or raised cosines."""

import numpy as np


def trials_before(session_ids: np.ndarray) -> np.ndarray:
    """Recorded trials before each trial in its session, int (T,).

    ``session_ids`` (T,) has the trials of a session together.
    """
    rows = np.arange(len(session_ids))
    starts = np.concatenate([[True], session_ids[1:] != session_ids[:-1]])
    return rows - np.maximum.accumulate(np.where(starts, rows, 0))


def raised_cosines(position: np.ndarray, trials: float, count: int) -> np.ndarray:
    """Smooth bumps over the beginning of a session; all are 0 from ``trials`` on.

    Bump j has its top, 1, at ``j * trials / count`` and falls to 0 one such step to either side,
    so that the bumps sum to 1 from the session's start to the last top. What is left at 0, the
    rest of the session, is the law that they are deviations from.

    Parameters
    ----------
    position : (T,)
        Trials before each trial in its session.
    trials
        Length of what they cover.
    count
        Number of bumps.

    Returns
    -------
    float64 (T, count)
    """
    step = trials / count
    distance = np.abs(np.asarray(position)[:, None] - step * np.arange(count)) / step
    return 0.5 * (1 + np.cos(np.pi * np.minimum(distance, 1.0)))
