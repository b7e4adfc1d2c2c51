"""Folds of held-out sessions: dealt over the whole recording, or each in the future of the rest."""

from typing import Literal, NamedTuple

import numpy as np

from glmhmm_core.errors import InputError

#: ``interleaved``: every session is held out once, among others before and after it.
#: ``prospective``: blocks of the later half are held out, and the past alone is trained on.
FoldKind = Literal["interleaved", "prospective"]


class Splits(NamedTuple):
    """Training and test sessions of F splits; sessions in chronological order.

    Attributes
    ----------
    train, test : bool (F, S)
        A session in neither takes no part.
    """

    train: np.ndarray
    test: np.ndarray


def split_sessions(
    num_sessions: int, num_folds: int, kind: FoldKind, seed: int = 0, where: str = "folds"
) -> Splits:
    """Split a subject's sessions into those to train on and those to score, ``num_folds`` times.

    Parameters
    ----------
    num_sessions, num_folds
        S and F; no folds give no splits.
    kind
        Interleaved folds interpolate, which favours whatever changes slowly; prospective ones
        forecast. Of the latter, fold by fold the first half of the sessions and all blocks
        before are trained on, and the next of F equal blocks is scored.
    seed
        Root of the deal of interleaved folds.
    where
        What an error is to name as its place.

    Raises
    ------
    InputError
        If there are fewer sessions than folds, or than twice as many for prospective ones.

    Examples
    --------
    >>> split_sessions(6, 3, "prospective").test.astype(int).tolist()
    [[0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]]
    """
    fewest = num_folds * (2 if kind == "prospective" else 1)
    if num_sessions < fewest:
        raise InputError(
            f"{num_folds} {kind} folds need {fewest} sessions, there are {num_sessions}",
            where=where,
            remedy="Ask for fewer folds, or 0 for none.",
        )
    index, fold = np.arange(num_sessions), np.arange(num_folds)[:, None]
    if kind == "interleaved":
        test = assign_folds(num_sessions, num_folds, seed) == fold if num_folds else index < fold
        return Splits(~test, test)
    first = -(-num_sessions // 2)
    edges = first + np.arange(num_folds + 1) * (num_sessions - first) // max(num_folds, 1)
    begin, end = edges[:-1, None], edges[1:, None]
    return Splits(index < begin, (index >= begin) & (index < end))


def assign_folds(num_sessions: int, num_folds: int, seed: int) -> np.ndarray:
    """Interleaved fold of each session, in chronological order.

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
