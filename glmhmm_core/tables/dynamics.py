"""How a subject's states come and go: over sessions, within them, around changes, and how long.

A position in a session counts the trials of the chain from 0. Changes are those of the most
probable path through each session (``state_viterbi``); it is smoother than the states were, so that
there are fewer than in truth, the clearest. Dwells are of whole paths drawn from the posterior
(``comparison/dwells.py``).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from glmhmm_core.comparison.dwells import dwells
from glmhmm_core.fitting.result import FitResult

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
    "state_match": pl.String(),  # name that it shares with other subjects; null: of this one alone
}
OCCUPANCY_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "session_idx": pl.Int64(),  # place of the session, from 0
    "session": pl.String(),
    "n_trials": pl.Int64(),
    "occupancy": pl.Float64(),  # mean smoothed posterior
    "entries": pl.Int64(),  # of the most probable path into the state, within the session
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
DWELL_SCHEMA: dict[str, pl.DataType] = {
    **_STATE,
    "trials": pl.Int64(),
    "lasting": pl.Float64(),  # share of dwells of more trials than that, in posterior paths
    "lower": pl.Float64(),  # 95 % of these paths: what is unknown of the states
    "upper": pl.Float64(),
    "predicted": pl.Float64(),  # by the transition probabilities
    "predicted_lower": pl.Float64(),  # 95 % of the chain's own paths through such sessions
    "predicted_upper": pl.Float64(),
    "outside": pl.Float64(),  # share of the posterior's paths beyond them; .05 if the model holds
    "at_risk": pl.Float64(),  # dwells known to have lasted at least so many trials, mean over paths
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


def dwell_table(fit: FitResult, states: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Dwells of states beside the transition matrix's prediction, as ``DWELL_SCHEMA``.

    Rows up to where fewer than one dwell is at risk.

    Parameters
    ----------
    fit
        One model of a subject.
    states
        ``state_table`` of the subject.
    seed
        Root of the random numbers that paths are drawn with.
    """
    of_model = states.filter(num_states=fit.num_states).sort("state_rank")
    found = dwells(fit, seed=seed)
    rows = [
        (*(row[name] for name in _STATE), d, *numbers)
        for row in of_model.iter_rows(named=True)
        for d, numbers in enumerate(
            zip(*(getattr(found[row["state_idx"]], name) for name in _NUMBERS), strict=True),
            start=1,
        )
    ]
    table = pl.DataFrame(rows, schema=DWELL_SCHEMA, orient="row")
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


_NUMBERS = [name for name in DWELL_SCHEMA if name not in _STATE and name != "trials"]

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


def _mean(values: list[float]) -> tuple[float, float | None, int]:
    """Mean, its standard error and the number of values."""
    n = len(values)
    error = float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    return float(np.mean(values)), error, n
