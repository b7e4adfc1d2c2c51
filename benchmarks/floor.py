"""Against the floor, a short numba program: ``python -m benchmarks.floor``.

What an iteration costs on one core (:mod:`benchmarks.iteration`); then, with all cores, all
restarts of one subject and of many, to the same optimum. Ours are ``fit_glmhmm`` and
``fit_subjects`` from arrays to results. The floor runs plain EM on as many threads, and ends a
restart as soon as it is within 1e-3 nats of where ours ended from the same starting point, or
gains nothing any more because it came to another optimum.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.iteration import flat
from benchmarks.numba_em import FloorFit, run_em
from benchmarks.subjects import Subject, cohort, one_mouse, starts
from benchmarks.table import print_table, say, seconds
from benchmarks.timing import clock
from glmhmm_core.engine.parameters import Parameters, all_free, log_prior, make_prior
from glmhmm_core.fitting import FitResult, FitSettings, SubjectFits, fit_glmhmm, fit_subjects

#: Nats within which two fits are the same optimum.
NEAR = 1e-3
#: A restart of the floor that gains less in an iteration is at its end.
LEAST_GAIN = 1e-7
NUM_STATES = 3
SETTINGS = FitSettings(n_restarts=20)


def floor_fit(subject: Subject, start: Parameters, target: float) -> FloorFit:
    """One restart of the floor, with the priors of the settings."""
    width = subject.X.shape[1]
    scale = np.full(width, SETTINGS.emission_prior_scale)
    prior = make_prior(NUM_STATES, scale, SETTINGS.transition_concentration, SETTINGS.stickiness)
    initial, transition, weights = flat(start)
    precision, counts = np.asarray(prior.emission_precision), np.asarray(prior.transition_counts)
    plain = np.sum(counts * np.log(transition)) - 0.5 * np.sum(precision * weights**2)
    constant = float(log_prior(start, prior, all_free(start))) - plain
    return run_em(
        subject.X,
        subject.y,
        subject.bounds,
        (initial, transition, weights),
        precision,
        counts,
        constant,
        target - NEAR,
        LEAST_GAIN,
        5000,
    )


def starting_points(subject: Subject, name: str) -> list[Parameters]:
    """Where the restarts of a fit begin: around the subject's GLM."""
    glm = fit_glmhmm(subject.y, subject.X, subject.session_ids, num_states=1, num_classes=2,
                     mask=subject.y >= 0)  # fmt: skip
    weights = np.asarray(glm.fitted_params.emission_weights)[0]
    return starts(weights, name, NUM_STATES, SETTINGS.n_restarts)


def floor_all(
    subjects: Sequence[Subject],
    begin: Sequence[Sequence[Parameters]],
    fits: Sequence[FitResult],
) -> list[list[FloorFit]]:
    """Every restart of every subject, a thread per core."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        futures = [
            [
                threads.submit(floor_fit, subject, start, target)
                for start, target in zip(points, fit.restart_objectives, strict=True)
            ]
            for subject, points, fit in zip(subjects, begin, fits, strict=True)
        ]
        return [[future.result() for future in each] for each in futures]


def row(title: str, subjects: Sequence[Subject], rounds: int, alone: bool) -> list[str]:
    """Line of the table: some subjects, or one by ``fit_glmhmm``."""
    designs = {subject.name: subject.design() for subject in subjects}

    def ours() -> list[FitResult]:
        if alone:
            (one,) = subjects
            fit = fit_glmhmm(
                one.y,
                one.X,
                one.session_ids,
                mask=one.y >= 0,
                num_states=NUM_STATES,
                num_classes=2,
                n_restarts=SETTINGS.n_restarts,
            )
            return [fit]
        results = fit_subjects(designs, [NUM_STATES], SETTINGS)
        return [fits[NUM_STATES] for fits in results.values() if isinstance(fits, SubjectFits)]

    say(f"{title} ...")
    begin = [starting_points(s, "" if alone else s.name) for s in subjects]
    fits = ours()
    reached = floor_all(subjects, begin, fits)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(clock(ours))
        times[1].append(clock(lambda: floor_all(subjects, begin, fits)))
    took, floor_took = (float(np.median(t)) for t in times)
    best = [
        (fit.objective_log_probability, max(f.objective for f in each))
        for fit, each in zip(fits, reached, strict=True)
    ]
    short = sum(theirs > ours_ + NEAR for ours_, theirs in best)
    floor_short = sum(ours_ > theirs + NEAR for ours_, theirs in best)
    e_steps = sum(int(fit.restart_iterations.sum()) + SETTINGS.n_restarts for fit in fits)
    floor_e_steps = sum(f.e_steps for each in reached for f in each)
    return [
        title,
        seconds(took),
        seconds(floor_took),
        f"{took / floor_took:.2f}x",
        f"{e_steps:,}",
        f"{floor_e_steps:,}",
        f"{short} of {len(subjects)}",
        f"{floor_short} of {len(subjects)}",
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of one subject")
    parser.add_argument("--quick", action="store_true", help="3 subjects instead of 40")
    args = parser.parse_args()
    quick = ["--quick", "--rounds", "2"] if args.quick else []
    subprocess.run([sys.executable, "-m", "benchmarks.iteration", *quick], check=True)
    many = cohort(3 if args.quick else 40)
    cores = len(os.sched_getaffinity(0))
    print_table(
        f"{SETTINGS.n_restarts} restarts to the same optimum, K = {NUM_STATES}, {cores} cores",
        [
            "subjects",
            "ours",
            "floor",
            "ours / floor",
            "our E-steps",
            "floor's E-steps",
            "ours short",
            "floor short",
        ],
        [
            row("one, 5,000 trials", [one_mouse()], args.rounds, alone=True),
            row(f"{len(many)}, 3,240 to 7,650 trials", many, 1, alone=False),
        ],
        [
            "Ours to its own stop (relative gain and gradient), with validation, GLM and "
            "posteriors; the floor to within 1e-3 nats, told by an oracle.",
            "Short: subjects whose best objective is more than 1e-3 nats below the other's.",
        ],
    )


if __name__ == "__main__":
    main()
