"""Which choice would have been rewarded on each trial, for simulations that feed outcomes back."""

import numpy as np
import polars as pl

from glmhmm_core.tasks.task import Task


def rewarded_class(trials: pl.DataFrame, task: Task) -> np.ndarray:
    """Class whose choice is rewarded, int64 (T,), as far as choices and outcomes tell.

    A rewarded choice was it; of two choices an unrewarded one was the other. On all other trials
    (no choice, an unknown outcome, or more choices that might have been) it is the class that was
    rewarded most often at the same stimuli, or at any where that was never seen.

    Parameters
    ----------
    trials
        Rows of a cleaned trial table.
    task
        Its choices and stimuli.
    """
    choice = trials["choice"].cast(pl.Int64).fill_null(-1).to_numpy()
    feedback = trials["feedback"].cast(pl.Float64).fill_null(0.0).to_numpy()
    made = choice >= 0
    known = np.where(made & (feedback > 0), choice, -1)
    if task.num_classes == 2:
        known = np.where(made & (feedback < 0), 1 - choice, known)
    place = np.zeros(len(choice), np.int64)
    if task.stimuli:
        stimuli = trials.select(s.name for s in task.stimuli).fill_null(np.nan).to_numpy()
        _, place = np.unique(stimuli, axis=0, return_inverse=True)
    seen = known >= 0
    counts = np.zeros((int(place.max(initial=0)) + 1, task.num_classes))
    np.add.at(counts, (place.ravel()[seen], known[seen]), 1)
    # At stimuli of which nothing is known, all stimuli together decide.
    usual = counts + counts.sum(0) / max(counts.sum(), 1) * 1e-3
    return np.where(seen, known, usual.argmax(1)[place.ravel()])
