"""The loop of a closed-loop simulation: all sessions side by side, one trial a turn.

Sessions do not know of each other, so that those of many subjects are one array of sessions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.simulation.feedback import History, Memory


class Subject(NamedTuple):
    """What one subject's choices are drawn from; see ``simulate``."""

    params: Parameters
    X: np.ndarray  # (T, M)
    session_ids: np.ndarray  # (T,)
    U: np.ndarray  # (T, D)
    rewarded: np.ndarray | None  # (T,)
    seed: int | Sequence[int]


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


def side_by_side(
    subjects: Sequence[Subject],
    history: History,
    transition_history: History,
    baseline_class_idx: int,
    no_choice_prob: float | Sequence[float],
) -> list[Simulation]:
    """Draw all sessions of subjects whose parameters have the same shapes; arguments are valid.

    The arrays of the subjects are left as they are.
    """
    weights = np.stack([np.asarray(s.params.emission_weights, np.float64) for s in subjects])
    num_states, num_classes = weights.shape[1], weights.shape[2] + 1
    no_choice = np.broadcast_to(np.asarray(no_choice_prob, dtype=np.float64), (num_states,))
    chain = _Chain.of([s.params for s in subjects])

    ends = np.cumsum([len(s.X) for s in subjects])
    own_rows = [_rows_by_session(s.session_ids) for s in subjects]
    draws = np.concatenate(
        [_uniforms(s.seed, rows) for s, rows in zip(subjects, own_rows, strict=True)]
    )
    rows = [
        session + end - len(s.X)
        for s, sessions, end in zip(subjects, own_rows, ends, strict=True)
        for session in sessions
    ]
    subject_of = np.repeat(np.arange(len(subjects)), [len(sessions) for sessions in own_rows])
    X, U = (np.concatenate(parts) for parts in ([s.X for s in subjects], [s.U for s in subjects]))
    right = [s.rewarded for s in subjects if s.rewarded is not None]
    rewarded = np.concatenate(right) if right else None
    states = np.zeros(len(X), dtype=np.int64)
    y = np.full(len(X), -1, dtype=np.int64)
    lengths = np.array([len(session) for session in rows], dtype=np.int64)
    feedback = np.zeros(len(X), dtype=np.int8)
    memories = [
        (Memory(regressor, len(rows), num_classes, baseline_class_idx), columns, into)
        for into, fed_back in ((X, history), (U, transition_history))
        for regressor, columns in fed_back.items()
    ]
    chained, begins = np.concatenate(rows), np.cumsum(lengths) - lengths
    for t in range(lengths.max(initial=0)):
        alive = np.flatnonzero(lengths > t)
        whose = subject_of[alive]
        now, before = chained[begins[alive] + t], chained[begins[alive] + max(t - 1, 0)]
        for memory, columns, into in memories:
            into[now[:, None], columns] = memory.values(alive)
        law = chain.first[whose] if t == 0 else chain.leaving(whose, states[before], U[now])
        states[now] = _invert(np.cumsum(law, axis=1), draws[now, 0])
        here = weights[whose, states[now]]
        logits = np.insert(np.einsum("scm,sm->sc", here, X[now]), baseline_class_idx, 0.0, axis=1)
        probs = np.exp(logits - logits.max(axis=1, keepdims=True))
        choice = _invert(np.cumsum(probs / probs.sum(axis=1, keepdims=True), axis=1), draws[now, 1])
        made = draws[now, 2] >= no_choice[states[now]]
        y[now] = np.where(made, choice, -1)
        if rewarded is not None:
            feedback[now] = np.where(made & (choice == rewarded[now]), 1, -1)
        for memory, _, _ in memories:
            memory.update(alive[made], choice[made], feedback[now[made]])
    parts = (np.split(a, ends[:-1]) for a in (states, y, X, U, feedback))
    return [Simulation(*each) for each in zip(*parts, strict=True)]


class _Chain(NamedTuple):
    """The chains of N subjects: laws of the first state (N, K), transitions (N, K, K)."""

    first: np.ndarray
    matrix: np.ndarray
    weights: np.ndarray | None  # (N, K, K-1, D)

    @classmethod
    def of(cls, params: Sequence[Parameters]) -> "_Chain":
        weights = [p.transition_weights for p in params if p.transition_weights is not None]
        return cls(
            np.stack([np.asarray(p.initial_probs, np.float64) for p in params]),
            np.stack([np.asarray(p.transition_matrix, np.float64) for p in params]),
            np.stack(weights) if weights else None,
        )

    def leaving(self, whose: np.ndarray, states: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Law of the next state (S, K) after each of S states, given its regressors (S, D)."""
        law = self.matrix[whose, states]
        if self.weights is None:
            return law
        odds = np.zeros(law.shape)
        driven = np.einsum("sjd,sd->sj", self.weights[whose, states], u)
        np.put_along_axis(odds, others(law.shape[1])[states], driven, axis=1)
        law = law * np.exp(odds - odds.max(axis=1, keepdims=True))
        return law / law.sum(axis=1, keepdims=True)


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
