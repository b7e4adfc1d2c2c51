"""Folds of held-out sessions."""

import numpy as np


def assign_folds(num_sessions: int, num_folds: int, seed: int) -> np.ndarray:
    """Fold of each session, in chronological order.

    Sessions are taken in blocks of as many as there are folds, and each block is dealt out by a
    permutation keyed by (seed, block): an appended session moves no other, fold sizes differ by
    at most one, and every fold spans the whole recording.

    Returns
    -------
    int (num_sessions,)
        Fold index, from 0.
    """
    blocks = -(-num_sessions // num_folds)
    dealt = [np.random.default_rng([seed, b]).permutation(num_folds) for b in range(blocks)]
    return np.concatenate([*dealt, np.empty(0, np.int64)])[:num_sessions].astype(np.int64)
