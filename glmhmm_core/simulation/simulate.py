"""Closed-loop simulation: choices of a softmax GLM-HMM that feed the history regressors back.

NumPy alone, so that simulating compiles nothing and does not import Dynamax. ``sample`` of
:class:`~glmhmm_core.model.softmax_glmhmm.SoftmaxGLMHMM` is the open-loop counterpart: there
the regressors are taken as given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.errors import InputError
from glmhmm_core.simulation.feedback import History, Memory, as_regressor


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
    U : float64 (T, D)
        The same of the transitions; no columns where the chain is constant.
    feedback : int8 (T,)
        +1 where the rewarded class was chosen, -1 elsewhere; 0 when it was not given.
    """

    states: np.ndarray
    y: np.ndarray
    X: np.ndarray
    U: np.ndarray
    feedback: np.ndarray


def simulate(
    params: Parameters,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    history: History,
    rewarded: np.ndarray | None = None,
    U: np.ndarray | None = None,
    transition_history: History | None = None,
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
        Columns of ``X`` that hold each history regressor, or kind of one, as the design codes
        it. :func:`~glmhmm_core.simulation.feedback.history_of` finds them for a task; an empty
        mapping takes all regressors as given.
    rewarded : (T,) int, optional
        Class whose choice is rewarded on each trial; needed for history that depends on
        outcomes.
    U : (T, D), optional
        Transition regressors; needed where the parameters have weights for them.
    transition_history
        The same as ``history`` of the columns of ``U``. Default: all are as given.
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
    U = np.empty((len(X), 0)) if U is None else np.array(U, dtype=np.float64)
    _check(params, X, session_ids, history, rewarded, U, transition_history, baseline_class_idx)
    weights = np.asarray(params.emission_weights, dtype=np.float64)
    num_states, num_classes = weights.shape[0], weights.shape[1] + 1
    no_choice = np.broadcast_to(np.asarray(no_choice_prob, dtype=np.float64), (num_states,))
    if not ((no_choice >= 0) & (no_choice <= 1)).all():
        raise InputError(
            f"no_choice_prob is {no_choice_prob}",
            where="simulate",
            remedy="Give probabilities between 0 and 1.",
        )

    rows = _rows_by_session(np.asarray(session_ids))
    draws = _uniforms(seed, rows)
    initial_cdf = np.cumsum(np.asarray(params.initial_probs, dtype=np.float64))
    states = np.zeros(len(X), dtype=np.int64)
    y = np.full(len(X), -1, dtype=np.int64)
    lengths = np.array([len(session) for session in rows])
    feedback = np.zeros(len(X), dtype=np.int8)
    memories = [
        (Memory(regressor, len(rows), num_classes, baseline_class_idx), columns, into)
        for into, fed_back in ((X, history), (U, transition_history or {}))
        for regressor, columns in fed_back.items()
    ]
    chained, begins = np.concatenate(rows), np.cumsum(lengths) - lengths
    for t in range(lengths.max(initial=0)):
        alive = np.flatnonzero(lengths > t)
        now, before = chained[begins[alive] + t], chained[begins[alive] + max(t - 1, 0)]
        for memory, columns, into in memories:
            into[now[:, None], columns] = memory.values(alive)
        if t == 0:
            states[now] = _invert(initial_cdf, draws[now, 0])
        else:
            law = _leaving(params, states[before], U[now])
            states[now] = _invert(np.cumsum(law, axis=1), draws[now, 0])
        logits = np.insert(
            np.einsum("scm,sm->sc", weights[states[now]], X[now]), baseline_class_idx, 0.0, axis=1
        )
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        choice = _invert(np.cumsum(probs / probs.sum(axis=1, keepdims=True), axis=1), draws[now, 1])
        made = draws[now, 2] >= no_choice[states[now]]
        y[now] = np.where(made, choice, -1)
        if rewarded is not None:
            feedback[now] = np.where(made & (choice == np.asarray(rewarded)[now]), 1, -1)
        for memory, _, _ in memories:
            memory.update(alive[made], choice[made], feedback[now[made]])
    return Simulation(states=states, y=y, X=X, U=U, feedback=feedback)


def _leaving(params: Parameters, states: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Law of the next state after each of S states, (S, K), given its regressors (S, D)."""
    law = np.asarray(params.transition_matrix, dtype=np.float64)[states]
    if params.transition_weights is None:
        return law
    odds = np.zeros(law.shape)
    weights = np.asarray(params.transition_weights)[states]
    driven = np.einsum("sjd,sd->sj", weights, u)
    np.put_along_axis(odds, others(law.shape[1])[states], driven, axis=1)
    law = law * np.exp(odds - odds.max(axis=1, keepdims=True))
    return law / law.sum(axis=1, keepdims=True)


def _check(
    params: Parameters,
    X: np.ndarray,
    session_ids: np.ndarray,
    history: History,
    rewarded: np.ndarray | None,
    U: np.ndarray,
    transition_history: History | None,
    baseline_class_idx: int,
) -> None:
    """Refuse shapes that do not belong together, and regressors that are no numbers."""
    num_states, rows, num_features = np.shape(params.emission_weights)
    if not 0 <= baseline_class_idx <= rows:
        raise InputError(
            f"baseline_class_idx is {baseline_class_idx}",
            where="simulate",
            remedy=f"Give a class between 0 and {rows}.",
        )
    driven = params.transition_weights
    shapes: dict[str, tuple[object, object]] = {
        "initial_probs": (np.shape(params.initial_probs), (num_states,)),
        "transition_matrix": (np.shape(params.transition_matrix), (num_states, num_states)),
        "X": (X.shape, (len(session_ids), num_features)),
    }
    if driven is not None:
        shapes["U"] = (U.shape, (len(session_ids), np.shape(driven)[-1]))
    for what, fed_back in (("history", history), ("transition_history", transition_history or {})):
        for regressor, columns in fed_back.items():
            name = as_regressor(regressor).name
            width = Memory(regressor, 1, rows + 1, baseline_class_idx).width
            shapes[f"{what}[{name!r}]"] = (len(columns), width)
            if as_regressor(regressor).needs_outcome and rewarded is None:
                shapes["rewarded"] = (None, (len(X),))
    if rewarded is not None:
        shapes["rewarded"] = (np.shape(rewarded), (len(X),))
    for name, (given, wanted_shape) in shapes.items():
        if given != wanted_shape:
            raise InputError(
                f"{name} is of size {given} where {wanted_shape} belongs",
                where="simulate",
                remedy="Give parameters, regressors and sessions of one model.",
            )
    for values, fed_back in ((X, history), (U, transition_history or {})):
        made = [column for columns in fed_back.values() for column in columns]
        if not np.isfinite(np.delete(values, made, axis=1)).all():
            raise InputError(
                "regressors that are taken as given are not all finite",
                where="simulate",
                remedy="Remove or fill what is NaN or infinite.",
            )


def _rows_by_session(session_ids: np.ndarray) -> list[np.ndarray]:
    """Rows of each session, sessions in order of first appearance."""
    _, first, code = np.unique(session_ids, return_index=True, return_inverse=True)
    by_session = np.split(np.argsort(code, kind="stable"), np.cumsum(np.bincount(code))[:-1])
    return [by_session[session] for session in np.argsort(first)]


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
