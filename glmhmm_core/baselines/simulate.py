"""Choices drawn from a GLM with lapses, trial by trial, history fed back."""

from collections.abc import Mapping, Sequence

import numpy as np

from glmhmm_core.baselines.lapse_glm import LapseGLM, predict_lapse_glm
from glmhmm_core.design.arrays import labels, numbers
from glmhmm_core.design.history import choice_codes
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import RegressorKind


def simulate_lapse_glm(
    params: LapseGLM,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    history: Mapping[RegressorKind, Sequence[int]] | None = None,
    rewarded: np.ndarray | None = None,
    baseline_class_idx: int = 0,
    seed: int | Sequence[int] = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a choice on every trial.

    History lapses follow the simulated previous choice of the session, and so do the history
    columns of ``X``: fitting what is given back is fitting the model that made it.

    Parameters
    ----------
    X : float (T, M)
        Regressors; what stands in the history columns is replaced.
    session_ids : (T,)
        Session of each trial; trials of a session in order, sessions may interleave.
    history
        Columns of ``X`` that hold each kind of history regressor, as the design codes it. None
        or empty takes all regressors as given.
    rewarded : int (T,), optional
        Class whose choice is rewarded; needed for regressors of the previous outcome.
    seed
        Root of the random numbers: a stream for each session, in order of first appearance.

    Returns
    -------
    y : int64 (T,)
        Choices 0..C-1.
    X : float64 (T, M)
        The regressors that made them.

    Raises
    ------
    InputError
        Shapes disagree, or a history regressor cannot be computed.
    """
    X = numbers("X", X, "simulate_lapse_glm").copy()
    sessions = labels("session_ids", session_ids, "simulate_lapse_glm")
    columns = history or {}
    num_classes = len(params.weights) + 1
    outcomes = [kind for kind in columns if kind != "previous_choice"]
    if X.ndim != 2 or X.shape != (len(sessions), params.weights.shape[1]):
        raise InputError(
            f"X has shape {X.shape} for {len(sessions)} trials and {params.weights.shape[1]} "
            "weights",
            where="simulate_lapse_glm",
            remedy="Give one row per trial and one column per weight.",
        )
    if outcomes and rewarded is None:
        raise InputError(
            f"{outcomes[0]} depends on the rewarded choice",
            where="simulate_lapse_glm",
            remedy="Give rewarded.",
        )
    codes = choice_codes(num_classes, baseline_class_idx)
    _, first, code = np.unique(sessions, return_index=True, return_inverse=True)
    rows = [np.flatnonzero(code == session) for session in np.argsort(first)]
    root = tuple(np.atleast_1d(seed).tolist())
    uniform = np.empty(len(X))
    for ordinal, session in enumerate(rows):
        uniform[session] = np.random.default_rng((*root, ordinal)).random(len(session))

    y = np.full(len(X), -1, np.int64)
    for t in range(max(map(len, rows), default=0)):
        alive = [session for session in rows if len(session) > t]
        now = np.array([session[t] for session in alive])
        before = np.array([session[t - 1] if t else -1 for session in alive])
        previous = np.where(before >= 0, y[before], -1)
        for kind, places in columns.items():
            value = np.where((previous >= 0)[:, None], codes[previous], 0.0)
            if kind != "previous_choice" and rewarded is not None:
                value = (
                    value * np.where(previous == np.asarray(rewarded)[before], 1.0, -1.0)[:, None]
                )
            X[now[:, None], list(places)] = value
        probs = predict_lapse_glm(
            params, X[now], previous=previous, baseline_class_idx=baseline_class_idx
        )
        drawn = (uniform[now][:, None] >= np.cumsum(probs, axis=1)).sum(axis=1)
        y[now] = np.minimum(drawn, num_classes - 1)
    return y, X
