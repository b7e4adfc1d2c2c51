"""What paths of states say: how often states switch, how long they last, how much of the time.

Two trials are neighbours only within a session: nothing switches, and no run goes on, across a
boundary. A run is cut where its session ends, as it is in the data.
"""

import numpy as np
import polars as pl

from glmhmm_core.fitting.paths import posterior_paths
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import FitResult

PATH_SCHEMA: dict[str, pl.DataType] = {
    "statistic": pl.String(),
    "state_idx": pl.Int64(),  # null: of all states together
    "mean": pl.Float64(),  # over paths drawn from the posterior
    "lower": pl.Float64(),  # 95 % of the paths
    "upper": pl.Float64(),
    "decoded": pl.Float64(),  # of the most probable state of each trial: too regular
}
#: Of all states together, and of each.
OVERALL = ("switches_per_session", "switches_variance", "share_switching")
BY_STATE = ("occupancy", "occupancy_rise", "run_mean", "run_median", "dwell")


def path_table(fit: FitResult, num_paths: int = 100, seed: int = 0) -> pl.DataFrame:
    """Statistics of a fit's paths of states with their posterior intervals, as ``PATH_SCHEMA``.

    ``switches_per_session``, their ``switches_variance`` over sessions and the share of
    sessions with a switch, ``share_switching``; for each state its ``occupancy`` and
    ``occupancy_rise``, by how much it is higher in the later halves of sessions than in the
    earlier, the mean and median length of its runs, and its ``dwell``: trials that had a next one
    in their session over departures, which is not cut short by the sessions' ends. Intervals are
    of what is unknown of the states, given the parameters. Null where a state is never visited,
    or left.
    """
    problem = problem_of(fit)
    k = fit.num_states
    paths = posterior_paths(fit.fitted_params, problem, num_paths, seed)
    decoded = fit.smoothed_state_probs.argmax(1)[None]
    of_paths = statistics(paths, problem.session_index, k)
    of_decoded = statistics(decoded, problem.session_index, k)
    rows: list[tuple] = []
    for (name, state), values in of_paths.items():
        there = values[np.isfinite(values)]
        summary: tuple = (None, None, None)
        if len(there):
            summary = (there.mean(), *np.quantile(there, (0.025, 0.975)))
        one = of_decoded[name, state][0]
        rows.append((name, state, *summary, one if np.isfinite(one) else None))
    return pl.DataFrame(rows, schema=PATH_SCHEMA, orient="row")


def statistics(
    paths: np.ndarray, sessions: np.ndarray, num_states: int
) -> dict[tuple[str, int | None], np.ndarray]:
    """Statistics of each of N paths, by name and state: float64 (N,), NaN of nothing.

    Parameters
    ----------
    paths : int (N, T)
    sessions : int (T,)
        Session of each trial, 0..S-1; trials of a session in order.
    """
    order = np.argsort(sessions, kind="stable")
    paths, session = paths[:, order], sessions[order]
    first = np.concatenate([[True], session[1:] != session[:-1]])
    switch = np.zeros(paths.shape, bool)
    switch[:, 1:] = (paths[:, 1:] != paths[:, :-1]) & ~first[1:]
    per_session = np.add.reduceat(switch, np.flatnonzero(first), axis=1, dtype=np.int64)
    found: dict[tuple[str, int | None], np.ndarray] = {
        ("switches_per_session", None): per_session.mean(1),
        ("switches_variance", None): per_session.var(1),
        ("share_switching", None): (per_session > 0).mean(1),
    }
    # A trial is followed unless the next begins a session; it is left if the next switches.
    followed = np.concatenate([~first[1:], [False]])
    left = np.concatenate([switch[:, 1:], np.zeros((len(paths), 1), bool)], axis=1)
    starts = switch | first[None]
    late = _late(first)
    halves = np.array([(~late).sum(), late.sum()])
    for state in range(num_states):
        here = paths == state
        runs, exits = (here & starts).sum(1), (here & left).sum(1)
        early_and_late = np.stack([here[:, ~late].sum(1), here[:, late].sum(1)], axis=1)
        shares = _over(early_and_late, np.broadcast_to(halves, early_and_late.shape))
        found["occupancy", state] = here.mean(1)
        found["occupancy_rise", state] = shares[:, 1] - shares[:, 0]
        found["run_mean", state] = _over(here.sum(1), runs)
        found["run_median", state] = np.array(
            [_median_run(p, s, state) for p, s in zip(paths, starts, strict=True)]
        )
        found["dwell", state] = _over((here & followed).sum(1), exits)
    return found


def _late(first: np.ndarray) -> np.ndarray:
    """Which trials are in the later half of their session, bool (T,); a middle one is."""
    begins = np.flatnonzero(first)
    lengths = np.diff(np.append(begins, len(first)))
    place = np.arange(len(first)) - np.repeat(begins, lengths)
    late: np.ndarray = 2 * place + 1 >= np.repeat(lengths, lengths)
    return late


def _median_run(path: np.ndarray, starts: np.ndarray, state: int) -> float:
    begins = np.flatnonzero(starts)
    lengths = np.diff(np.append(begins, len(path)))[path[begins] == state]
    return float(np.median(lengths)) if len(lengths) else float("nan")


def _over(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
