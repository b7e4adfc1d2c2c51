"""Closed-loop simulation: choices of a softmax GLM-HMM that feed the history regressors back.

NumPy alone, so that simulating compiles nothing and does not import Dynamax. ``sample`` of
:class:`~glmhmm_core.model.softmax_glmhmm.SoftmaxGLMHMM` is the open-loop counterpart: there
the regressors are taken as given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.design.history import choice_codes
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import OUTCOME_KINDS, RegressorKind, Task

#: Kinds of regressors that depend on earlier choices.
HISTORY_KINDS: tuple[RegressorKind, ...] = ("previous_choice", *OUTCOME_KINDS)


@dataclass(frozen=True)
class Simulation:
    """One simulated subject, rows as in the call.

    Attributes
    ----------
    states : int64 (T,)
        State on each trial, 0..K-1.
    y : int64 (T,)
        Choice 0..C-1, and -1 where none was made.
    X : float64 (T, M)
        The regressors that made the choices, with the history columns filled in.
    feedback : int8 (T,)
        +1 where the rewarded class was chosen, -1 elsewhere; 0 when it was not given.
    """

    states: np.ndarray
    y: np.ndarray
    X: np.ndarray
    feedback: np.ndarray


def simulate(
    params: Parameters,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    history: Mapping[RegressorKind, Sequence[int]],
    rewarded: np.ndarray | None = None,
    U: np.ndarray | None = None,
    baseline_class_idx: int = 0,
    no_choice_prob: float | Sequence[float] = 0.0,
    seed: int | Sequence[int] = 0,
) -> Simulation:
    """Draw states and choices of one subject, trial by trial.

    History is 0 on a session's first trial and carries over trials without a choice. The draws
    of a session depend on ``seed`` and on the session's place in order of first appearance, so
    that a longer session begins with the trials of a shorter one and an appended session
    changes no other.

    Parameters
    ----------
    params
        Parameters of the model.
    X : (T, M)
        Regressors; what stands in the history columns is replaced.
    session_ids : (T,)
        Session of each trial; trials of a session in order, sessions may interleave.
    history
        Columns of ``X`` that hold each kind of history regressor, as the design codes it: one
        for two choices, else one per class but the baseline. :func:`history_of` finds them for
        a task; an empty mapping takes all regressors as given.
    rewarded : (T,) int, optional
        Class whose choice is rewarded on each trial; needed for ``wsls`` and
        ``previous_choice_outcome``.
    U : (T, D), optional
        Transition regressors, as given; needed where the parameters have weights for them.
    baseline_class_idx
        Class whose logit is fixed at zero.
    no_choice_prob
        Probability that no choice is made, one number or one per state.
    seed
        Root of the random numbers, one or several non-negative integers.

    Returns
    -------
    Simulation
        States, choices, regressors and feedback.

    Raises
    ------
    InputError
        If shapes disagree, a probability is outside 0..1, or a history regressor cannot be
        computed from what is given.

    Examples
    --------
    >>> params = Parameters(np.ones(1), np.ones((1, 1)), np.array([[[2.0, 0.5]]]))
    >>> X = np.column_stack([np.linspace(-1, 1, 4), np.zeros(4)])
    >>> session = simulate(params, X, np.zeros(4), history={"previous_choice": [1]})
    >>> session.X[1:, 1].tolist() == (2.0 * session.y[:-1] - 1).tolist()
    True
    """
    X = np.array(X, dtype=np.float64)
    _check(params, X, session_ids, history, rewarded, U, baseline_class_idx)
    weights = np.asarray(params.emission_weights, dtype=np.float64)
    num_states, num_classes = weights.shape[0], weights.shape[1] + 1
    no_choice = np.broadcast_to(np.asarray(no_choice_prob, dtype=np.float64), (num_states,))
    if not ((no_choice >= 0) & (no_choice <= 1)).all():
        raise InputError(
            f"no_choice_prob is {no_choice_prob}",
            where="simulate",
            remedy="Give probabilities between 0 and 1.",
        )
    codes = choice_codes(num_classes, baseline_class_idx)

    rows = _rows_by_session(np.asarray(session_ids))
    draws = _uniforms(seed, rows)
    initial_cdf = np.cumsum(np.asarray(params.initial_probs, dtype=np.float64))
    states = np.zeros(len(X), dtype=np.int64)
    y = np.full(len(X), -1, dtype=np.int64)
    lengths = np.array([len(session) for session in rows])
    feedback = np.zeros(len(X), dtype=np.int8)
    last_code = np.zeros((len(rows), codes.shape[1]))  # 0 before a session's first choice
    last_outcome = np.zeros((len(rows), 1))
    for t in range(lengths.max(initial=0)):
        alive = np.flatnonzero(lengths > t)
        now = np.array([rows[session][t] for session in alive])
        before = np.array([rows[session][t - 1] for session in alive])
        if t == 0:
            states[now] = _invert(initial_cdf, draws[now, 0])
        else:
            law = _leaving(params, states[before], None if U is None else U[now])
            states[now] = _invert(np.cumsum(law, axis=1), draws[now, 0])
        for kind, columns in history.items():
            outcome = last_outcome[alive] if kind in OUTCOME_KINDS else 1.0
            X[now[:, None], columns] = last_code[alive] * outcome
        logits = np.insert(
            np.einsum("scm,sm->sc", weights[states[now]], X[now]), baseline_class_idx, 0.0, axis=1
        )
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        choice = _invert(np.cumsum(probs / probs.sum(axis=1, keepdims=True), axis=1), draws[now, 1])
        made = draws[now, 2] >= no_choice[states[now]]
        y[now] = np.where(made, choice, -1)
        last_code[alive[made]] = codes[choice[made]]
        if rewarded is not None:
            feedback[now] = np.where(made & (choice == np.asarray(rewarded)[now]), 1, -1)
            last_outcome[alive[made], 0] = feedback[now[made]]
    return Simulation(states=states, y=y, X=X, feedback=feedback)


def history_of(task: Task) -> dict[RegressorKind, list[int]]:
    """Columns of a task's design that hold each kind of history regressor."""
    names = task.feature_names
    return {
        regressor.kind: [names.index(name) for name in task.columns_of(regressor)]
        for regressor in task.regressors
        if regressor.kind in HISTORY_KINDS
    }


def _leaving(params: Parameters, states: np.ndarray, u: np.ndarray | None) -> np.ndarray:
    """Law of the next state after each of S states, (S, K), given its regressors (S, D)."""
    law = np.asarray(params.transition_matrix, dtype=np.float64)[states]
    if params.transition_weights is None:
        return law
    odds = np.zeros(law.shape)
    weights = np.asarray(params.transition_weights)[states]
    driven = np.einsum("sjd,sd->sj", weights, np.asarray(u))
    np.put_along_axis(odds, others(law.shape[1])[states], driven, axis=1)
    law = law * np.exp(odds - odds.max(axis=1, keepdims=True))
    return law / law.sum(axis=1, keepdims=True)


def _check(
    params: Parameters,
    X: np.ndarray,
    session_ids: np.ndarray,
    history: Mapping[RegressorKind, Sequence[int]],
    rewarded: np.ndarray | None,
    U: np.ndarray | None,
    baseline_class_idx: int,
) -> None:
    """Refuse shapes that do not belong together, and regressors that are no numbers."""
    num_states, rows, num_features = np.shape(params.emission_weights)
    shapes: dict[str, tuple[object, object]] = {
        "initial_probs": (np.shape(params.initial_probs), (num_states,)),
        "transition_matrix": (np.shape(params.transition_matrix), (num_states, num_states)),
        "X": (X.shape, (len(session_ids), num_features)),
    }
    for kind, columns in history.items():
        shapes[f"history[{kind!r}]"] = (len(columns), rows)
    if rewarded is not None or any(kind in OUTCOME_KINDS for kind in history):
        shapes["rewarded"] = (None if rewarded is None else np.shape(rewarded), (len(X),))
    if params.transition_weights is not None:
        wanted = (len(session_ids), np.shape(params.transition_weights)[-1])
        shapes["U"] = (None if U is None else np.shape(U), wanted)
    for name, (given, wanted_shape) in shapes.items():
        if given != wanted_shape:
            raise InputError(
                f"{name} is of size {given} where {wanted_shape} belongs",
                where="simulate",
                remedy="Give parameters, regressors and sessions of one model.",
            )
    fed_back = [column for columns in history.values() for column in columns]
    if not np.isfinite(np.delete(X, fed_back, axis=1)).all():
        raise InputError(
            "regressors that are taken as given are not all finite",
            where="simulate",
            remedy="Remove or fill what is NaN or infinite.",
        )
    if not 0 <= baseline_class_idx <= rows:
        raise InputError(
            f"baseline_class_idx is {baseline_class_idx}",
            where="simulate",
            remedy=f"Give a class between 0 and {rows}.",
        )


def _rows_by_session(session_ids: np.ndarray) -> list[np.ndarray]:
    """Rows of each session, sessions in order of first appearance."""
    _, first, code = np.unique(session_ids, return_index=True, return_inverse=True)
    return [np.flatnonzero(code == session) for session in np.argsort(first)]


def _uniforms(seed: int | Sequence[int], rows: list[np.ndarray]) -> np.ndarray:
    """Uniform numbers (T, 3) for state, choice and its absence, a stream for each session."""
    root = tuple(np.atleast_1d(seed).tolist())
    draws = np.empty((sum(map(len, rows)), 3))
    for ordinal, session in enumerate(rows):
        draws[session] = np.random.default_rng((*root, ordinal)).random((len(session), 3))
    return draws


def _invert(cdf: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Index drawn from each cumulative distribution (..., n) by a uniform number (S,)."""
    drawn = (u[:, None] >= cdf).sum(axis=1)
    return np.minimum(drawn, cdf.shape[-1] - 1)  # a sum of probabilities may end below 1
