"""How a subject's states come and go: over sessions, within them, around changes, and how long.

All tables are made of the trial table and the state table of one subject, and hold all its
models. A position in a session counts the trials of the chain from 0. Changes and stays are of
the most probable path through each session (``state_viterbi``); it is smoother than the states
were, so that stays look longer than the transition probabilities say, and changes fewer.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

Z = 1.959964  # 95 %
#: Trials of one window of a trajectory.
WIDTH = 10
#: Trials before and after a change.
AROUND = 15

_STATE = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "state_idx": pl.Int64(),
    "state_rank": pl.Int64(),
    "state_label": pl.String(),
    "state_color": pl.String(),
}
OCCUPANCY_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "session_idx": pl.Int64(),  # place of the session, from 0
    "session": pl.String(),
    "n_trials": pl.Int64(),
    "occupancy": pl.Float64(),  # mean smoothed posterior
    "entries": pl.Int64(),  # changes into the state within the session
}
TRAJECTORY_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "first": pl.Int64(),  # the window's first position; it has WIDTH
    "probability": pl.Float64(),  # mean over sessions of their mean smoothed posterior
    "standard_error": pl.Float64(),  # over sessions; null of one
    "n_sessions": pl.Int64(),  # that are longer than ``first``
}
CHANGE_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "direction": pl.String(),  # "into" the state, or "out of" it
    "relative_trial": pl.Float64(),  # from the boundary, half-integers
    "probability": pl.Float64(),  # mean smoothed posterior of the state
    "standard_error": pl.Float64(),  # over changes; null of one
    "n_changes": pl.Int64(),  # that have such a trial in their session
}
STAY_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "trials": pl.Int64(),
    "lasting": pl.Float64(),  # share of stays of more than so many trials (Kaplan-Meier)
    "lower": pl.Float64(),  # 95 %, Greenwood on the scale log(-log)
    "upper": pl.Float64(),
    "predicted": pl.Float64(),  # by the probability of staying
    "at_risk": pl.Int64(),  # stays known to have lasted at least so many trials
}


def occupancy_table(trials: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Occupancy of each state and changes into it, by session, as ``OCCUPANCY_SCHEMA``.

    Parameters
    ----------
    trials, states
        ``trial_table`` and ``state_table`` of one subject.
    """
    rows = []
    for head, gamma, path, sessions in _states(trials, states):
        for i, (session, here) in enumerate(sessions):
            entered = np.diff((path[here] == head[2]).astype(int)) == 1
            n = here.stop - here.start
            rows.append((*head, i, session, n, gamma[here].mean(), int(entered.sum())))
    return pl.DataFrame(rows, schema=OCCUPANCY_SCHEMA, orient="row")


def trajectory_table(trials: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Probability of each state over the trials of a session, as ``TRAJECTORY_SCHEMA``.

    Every session counts the same in every window that it reaches.

    Parameters
    ----------
    trials, states
        As for ``occupancy_table``.
    """
    rows = []
    for head, gamma, _, sessions in _states(trials, states):
        parts = [gamma[here] for _, here in sessions]
        for first in range(0, max(len(part) for part in parts), WIDTH):
            means = [part[first : first + WIDTH].mean() for part in parts if len(part) > first]
            rows.append((*head, first, *_mean(means)))
    return pl.DataFrame(rows, schema=TRAJECTORY_SCHEMA, orient="row")


def change_table(trials: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """Posterior of each state around changes into and out of it, as ``CHANGE_SCHEMA``.

    Parameters
    ----------
    trials, states
        As for ``occupancy_table``.
    """
    rows = []
    for head, gamma, path, sessions in _states(trials, states):
        for direction, step in (("into", 1), ("out of", -1)):
            around: dict[float, list[float]] = {}
            for _, here in sessions:
                part = gamma[here]
                steps = np.diff((path[here] == head[2]).astype(int))
                for after in (np.flatnonzero(steps == step) + 1).tolist():
                    for t in range(max(0, after - AROUND), min(len(part), after + AROUND)):
                        around.setdefault(t - after + 0.5, []).append(part[t])
            rows += [(*head, direction, x, *_mean(around[x])) for x in sorted(around)]
    return pl.DataFrame(rows, schema=CHANGE_SCHEMA, orient="row")


def stay_table(trials: pl.DataFrame, states: pl.DataFrame) -> pl.DataFrame:
    """How long stays last, beside what the transition matrix predicts, as ``STAY_SCHEMA``.

    A stay that its session's end cuts off counts as known to have lasted till there, which
    counting it as complete would not. Rows up to the longest stay.

    Parameters
    ----------
    trials, states
        As for ``occupancy_table``.
    """
    known = states.select("num_states", "state_idx", "self_transition").rows()
    staying = {(k, state): p for k, state, p in known}
    rows = []
    for head, _, path, sessions in _states(trials, states):
        lengths, ended = _stays([path[here] == head[2] for _, here in sessions])
        p = staying[head[1], head[2]]
        lasting, variance = 1.0, 0.0
        for d in range(1, int(lengths.max(initial=0)) + 1):
            risk = int((lengths >= d).sum())
            events = int(((lengths == d) & ended).sum())
            lasting *= 1 - events / risk
            variance += events / (risk * (risk - events)) if events < risk else 0.0
            rows.append((*head, d, lasting, *_greenwood(lasting, variance), p**d, risk))
    return pl.DataFrame(rows, schema=STAY_SCHEMA, orient="row")


_Sessions = list[tuple[str, slice]]


def _states(
    trials: pl.DataFrame, states: pl.DataFrame
) -> Iterator[tuple[tuple[Any, ...], np.ndarray, np.ndarray, _Sessions]]:
    """Leading columns, posterior (T,), path (T,) and sessions of each state of each model."""
    for row in states.sort("num_states", "state_rank").iter_rows(named=True):
        table = trials.filter(pl.col("num_states") == row["num_states"])
        counts = table.group_by("session", maintain_order=True).len().rows()
        ends = np.cumsum([count for _, count in counts])
        sessions = [
            (session, slice(int(end) - count, int(end)))
            for (session, count), end in zip(counts, ends, strict=True)
        ]
        gamma = table[f"p_state_{row['state_idx']}"].to_numpy()
        yield (
            tuple(row[name] for name in _STATE),
            gamma,
            table["state_viterbi"].to_numpy(),
            sessions,
        )


def _stays(inside: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Length of every stay, and whether it ended before its session did."""
    lengths: list[int] = []
    ended: list[bool] = []
    for here in inside:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], here.astype(int), [0]])))
        for start, stop in edges.reshape(-1, 2):
            lengths.append(int(stop - start))
            ended.append(bool(stop < len(here)))
    return np.array(lengths, dtype=int), np.array(ended, dtype=bool)


def _mean(values: list[float]) -> tuple[float, float | None, int]:
    """Mean, its standard error and the number of values."""
    n = len(values)
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return float(np.mean(values)), error, n


def _greenwood(lasting: float, variance: float) -> tuple[float | None, float | None]:
    """Interval of a share that lasts; null where nothing or everything does."""
    if not 0 < lasting < 1:
        return None, None
    width = Z * np.sqrt(variance) / abs(np.log(lasting))
    return float(lasting ** np.exp(width)), float(lasting ** np.exp(-width))
