"""A study of the reference analysis's size: ``python -m benchmarks.study [PART ...]``.

Simulated mice with the numbers of sessions, trials and the spread of the 37 mice of Ashwood et
al. (2022). Parts: ``analysis`` (all mice pooled at K = 2..5, 20 starts, on all sessions and in 5
folds; then every mouse at every K from the pooled fit, on all sessions and in 5 folds),
``compiles``, ``cold`` and ``memory``. With ``--quick`` the analysis is made of a few pieces
and projected.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.subjects import REFERENCE_MICE, Subject, cohort, pooled
from benchmarks.table import print_table, say, seconds
from glmhmm_core.fitting import FitResult, fit_glmhmm

NUM_STATES = (2, 3, 4, 5)
RESTARTS, FOLDS = 20, 5
#: What the quick analysis fits, to be scaled up.
QUICK_RESTARTS, QUICK_MICE = 4, 3


def _fit(subject: Subject, num_states: int, **settings: object) -> FitResult:
    return fit_glmhmm(
        subject.y,
        subject.X,
        subject.session_ids,
        mask=subject.y >= 0,
        num_states=num_states,
        num_classes=2,
        **settings,  # type: ignore[arg-type]
    )


def analysis(quick: bool) -> None:
    """Print what the reference analysis takes."""
    mice = cohort(REFERENCE_MICE)
    everyone = pooled(mice)
    restarts, folds = (QUICK_RESTARTS, 0) if quick else (RESTARTS, FOLDS)
    rows, warm, total = [], {}, 0.0
    for num_states in NUM_STATES:
        say(f"pooled, K = {num_states} ...")
        begin = time.perf_counter()
        fit = _fit(
            everyone,
            num_states,
            emission_prior_scale=100.0,
            transition_concentration=1.0,
            n_restarts=restarts,
            cv_folds=folds,
        )
        took = time.perf_counter() - begin
        warm[num_states] = fit.fitted_params
        whole = took * RESTARTS / restarts * (1 + FOLDS) if quick else took
        total += whole
        near = fit.restart_objectives.max() - 1e-3 * len(everyone.y) / 1000
        rows.append(
            [
                f"pooled, K = {num_states}",
                f"{restarts * (1 + folds)}",
                seconds(took),
                seconds(whole),
                f"{np.median(fit.restart_iterations):.0f}",
                f"{np.mean(fit.restart_objectives >= near):.2f}",
            ]
        )
    some = mice[:QUICK_MICE] if quick else mice
    for num_states in NUM_STATES:
        say(f"{len(some)} mice, K = {num_states} ...")
        begin = time.perf_counter()
        fits = [
            _fit(m, num_states, warm_start=warm[num_states], n_restarts=0, cv_folds=FOLDS)
            for m in some
        ]
        took = time.perf_counter() - begin
        whole = took * len(mice) / len(some)
        total += whole
        rows.append(
            [
                f"each mouse, K = {num_states}",
                f"{len(some) * (1 + FOLDS)}",
                seconds(took),
                seconds(whole),
                f"{np.median([fit.num_iterations for fit in fits]):.0f}",
                "",
            ]
        )
    rows.append(["all", "", "", seconds(total), "", ""])
    print_table(
        f"The reference analysis: {len(mice)} mice, {len(everyone.bounds) - 1} sessions, "
        f"{len(everyone.y):,} trials",
        ["piece", "climbs", "took", "whole", "iterations", "share of starts at the best"],
        rows,
        [
            f"Projected from {QUICK_RESTARTS} pooled starts without folds and {QUICK_MICE} mice."
            if quick
            else "Measured in full. Compilation is included.",
            "The fit to all sessions, which the reference does not make, is counted too.",
        ],
    )


def _part(name: str, quick: bool, **environment: str) -> dict:
    say(f"{name} ...")
    command = [sys.executable, "-m", "benchmarks.study_parts", name, *["--quick"] * quick]
    done = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def compiles(quick: bool) -> None:
    """Print how often the EM program is compiled."""
    told = _part("compiles", quick, JAX_ENABLE_COMPILATION_CACHE="false")
    rows = [[f"K = {k}", str(n), str(told["buckets"])] for k, n in told["by_states"].items()]
    rows.append([f"one more session for {told['stays']} mice", str(told["after_a_session"]), "0"])
    print_table(
        f"Compilations of the EM program: {told['subjects']} subjects, K 1..5, {FOLDS} folds",
        ["fits", "compilations", "shape buckets"],
        rows,
        [
            f"All programs together were compiled {told['all_programs']} times before the added "
            "session; in its row all programs count, and mice whose bucket it leaves are not in.",
        ],
    )


def cold(quick: bool) -> None:
    """Print how long the first fit of a process takes, without and with a filled cache."""
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        for title in ("empty cache", "warm cache"):
            told = _part("cold", quick, **environment)
            parts = (told["imports"], *told["wall"], *told["processor"])
            rows.append([title, *map(seconds, parts)])
    print_table(
        "Cold start: a new process, one subject of 5,000 trials, K = 3, 20 restarts",
        [
            "compilation cache",
            "imports",
            "first fit",
            "the same fit again",
            "first, processor",
            "again, processor",
        ],
        rows,
    )


def memory(quick: bool) -> None:
    """Print the peak memory of a process that fits the whole cohort as one."""
    told = _part("memory", quick)
    row = [f"{told['trials']:,}", f"{told['before']:.2f} GiB", f"{told['peak']:.2f} GiB"]
    print_table(
        "Peak memory, K = 5, 20 restarts", ["trials", "before the fit", "with the fit"], [row]
    )


def main() -> None:
    """Print a table for each part."""
    parts = {"analysis": analysis, "compiles": compiles, "cold": cold, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="default: all")
    parser.add_argument("--quick", action="store_true", help="a few pieces, projected")
    args = parser.parse_args()
    for name in args.parts or parts:
        parts[name](args.quick)


if __name__ == "__main__":
    main()
