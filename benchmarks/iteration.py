"""What an iteration of EM costs on one core, beside the floor: ``python -m benchmarks.iteration``.

Both are first checked to compute the same at the same parameters: log-likelihood, expected
counts and gradient. Run as part of ``python -m benchmarks.floor`` too.
"""

import argparse
import os
import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from benchmarks.numba_em import FloorFit, e_step_program, run_em
from benchmarks.subjects import Subject, cohort, one_mouse, pooled, starts
from benchmarks.table import print_table, seconds
from benchmarks.timing import side_by_side
from glmhmm_core.engine.em import Fit, maximize
from glmhmm_core.engine.expectation import Data, expect
from glmhmm_core.engine.parameters import Parameters, all_free, make_prior

#: A GLM around which starting points lie.
GLM = np.array([[2.0, 0.0, 0.5, 0.0]])
#: Iterations of a timed climb.
ITERATIONS = 25


def flat(params: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters of two choices, weights (K, M)."""
    weights = np.ascontiguousarray(np.asarray(params.emission_weights)[:, 0])
    return np.asarray(params.initial_probs), np.asarray(params.transition_matrix), weights


def _ours(start: Parameters, data: Data) -> Fit:
    width = np.shape(start.emission_weights)[2]
    prior = make_prior(len(start.initial_probs), np.full(width, np.inf), 1.0, 0.0)
    fit = maximize(start, data, prior, all_free(start), 1e-12, max_iters=ITERATIONS)
    return jax.block_until_ready(fit)


def _floor(start: Parameters, subject: Subject, inner: int) -> FloorFit:
    states, width = len(start.initial_probs), subject.X.shape[1]
    return run_em(
        subject.X,
        subject.y,
        subject.bounds,
        flat(start),
        np.zeros(width),
        np.zeros((states, states)),
        max_e_steps=ITERATIONS + 1,
        inner=inner,
    )


def disagreement(start: Parameters, subject: Subject, data: Data) -> float:
    """Largest difference between both E-steps, relative to the largest entry of each part."""
    states, width = len(start.initial_probs), subject.X.shape[1]
    program = e_step_program(states, width)
    theirs = program(subject.X, subject.y, subject.bounds, *flat(start), np.empty((0, states)))
    prior = make_prior(states, np.full(width, np.inf), 1.0, 0.0)
    e = jax.jit(expect)(start, data, prior, all_free(start))
    ours = (e.log_likelihood, e.initial_counts, e.transition_counts, e.gradient)
    pairs = zip(map(np.asarray, ours), map(np.asarray, theirs[:4]), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def row(subject: Subject, num_states: int, rounds: int) -> list[str]:
    """Line of the table for one data set and number of states."""
    start = starts(GLM, "", num_states, 1)[0]
    data = subject.problem().data()
    apart = disagreement(start, subject, data)
    contenders: dict[str, Callable[[], object]] = {
        "ours": partial(_ours, start, data),
        "newton": partial(_floor, start, subject, 1),
        "full": partial(_floor, start, subject, 25),
    }
    took = side_by_side(contenders, rounds, time.process_time)
    ours = took["ours"] / (int(_ours(start, data).iterations) + 1)
    newton = took["newton"] / _floor(start, subject, 1).e_steps
    full = took["full"] / _floor(start, subject, 25).e_steps
    return [
        f"{len(subject.y):,} trials, K = {num_states}",
        seconds(ours),
        seconds(newton),
        seconds(full),
        f"{ours / newton:.2f}x",
        f"{ours / full:.2f}x",
        f"{data.lanes.reset.size / len(subject.y):.2f}",
        f"{apart:.0e}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="timed climbs of each contender")
    parser.add_argument("--quick", action="store_true", help="two mice pooled instead of 37")
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # Before JAX starts its threads, so that these too have the one core.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    mouse, everyone = one_mouse(), pooled(cohort(2 if args.quick else 37))
    few = max(args.rounds // 5, 1)
    print_table(
        "An iteration of EM on one core",
        [
            "data",
            "ours",
            "floor, one Newton step",
            "floor, M-step to its end",
            "ours / one Newton step",
            "ours / to its end",
            "cells per trial",
            "apart",
        ],
        [
            *(row(mouse, k, args.rounds) for k in (2, 3, 5)),
            *(row(everyone, k, few) for k in (3, 5)),
        ],
        [
            f"Processor time of a climb of {ITERATIONS} iterations over its E-steps, median. "
            "Cells per trial: what our lanes "
            "hold, padding included. Apart: largest relative difference of log-likelihood, "
            "expected counts and gradient at the starting point.",
        ],
    )


if __name__ == "__main__":
    main()
