"""Paths of states drawn from the posterior of a fit, in the order of its trials."""

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.paths import sample_paths
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.problem import Problem


def posterior_paths(
    params: Parameters, problem: Problem, num_paths: int = 100, seed: int = 0
) -> np.ndarray:
    """Draw whole paths of states given all choices, int64 (N, T).

    What is read off them, such as how long a state lasts, is unbiased if the model holds: the
    single most probable path is smoother than the truth. The draws of a session depend on
    ``seed``, the session's place in order of first appearance and the number of paths alone.

    Raises
    ------
    InputError
        If there is no path to draw.
    """
    check_number(num_paths)
    paths = np.asarray(sample_paths(params, problem.lanes, uniforms_of(problem, num_paths, seed)))
    return paths[:, problem.layout.step, problem.layout.lane].astype(np.int64)


def check_number(num_paths: int) -> None:
    """Refuse to draw no path.

    Raises
    ------
    InputError
    """
    if num_paths < 1:
        raise InputError(
            f"num_paths is {num_paths}",
            where="sampling paths of states",
            remedy="Ask for one path at least; for intervals, for 100.",
        )


def uniforms_of(problem: Problem, num_paths: int, seed: int) -> np.ndarray:
    """Random numbers in 0..1 that paths are made of, in lanes: float64 (N, steps, lanes)."""
    steps, lanes = problem.layout.shape
    uniforms = np.zeros((num_paths, steps, lanes))
    for s in range(len(problem.sessions)):
        rows = np.flatnonzero(problem.session_index == s)
        drawn = np.random.default_rng((seed, s)).random((len(rows), num_paths))
        uniforms[:, problem.layout.step[rows], problem.layout.lane[rows]] = drawn.T
    return uniforms
