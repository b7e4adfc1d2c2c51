"""What the hierarchical fit gains over the warm start alone, on sessions that neither has seen.

Simulated mice with the spread of the reference cohort, 90 trials a session: the first sessions of
each are fitted (three states), sessions behind them scored. Both fits of a mouse begin at the same
pooled fit; they differ in their priors: the ordinary ones, or those learned from all mice.
"""

import argparse
import time

import numpy as np

from benchmarks.subjects import REFERENCE_TRIALS, Subject
from benchmarks.table import print_table, say, seconds
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import (
    FitSettings,
    SubjectFits,
    fit_hierarchy,
    fit_population,
    fit_shrunken,
)
from glmhmm_core.fitting.fit import fit_glmhmm
from glmhmm_core.simulation.ibl_cohort import simulate_ibl_cohort
from glmhmm_core.simulation.population import ASHWOOD_MICE, FEATURE_NAMES

NUM_STATES = 3
SESSIONS = (3, 5, 10, 20)
MICE, TEST_SESSIONS = 20, 20
#: Scales of the ordinary priors: the built-in task's, and the reference analysis's.
ORDINARY = {"defaults": (10.0, 3.0, 2.0, 2.0), "sigma 2": (2.0, 2.0, 2.0, 2.0)}


def recorded(num_mice: int, sessions: int, tested: int, seed: int) -> list[Subject]:
    """Mice with so many sessions to fit, and those to score behind them."""
    mice = simulate_ibl_cohort(
        num_mice,
        seed=seed,
        population=ASHWOOD_MICE,
        sessions=[sessions + tested],
        trials=REFERENCE_TRIALS,
    )
    return [Subject(mouse.subject, mouse.X, mouse.y, mouse.session_ids) for mouse in mice]


def bits(params: Parameters, mouse: Subject, first: int) -> float:
    """Log-likelihood of the sessions from ``first`` on, bits per trial with a choice."""
    problem = mouse.problem()
    tested = problem.session_index >= first
    scored = problem.posteriors(params).log_likelihood[tested & problem.mask]
    return float(scored.mean() / np.log(2))


def row(sessions: int, num_mice: int, tested: int, cohorts: int) -> list[str]:
    """Line of the table for one number of sessions."""
    gains: dict[str, list[float]] = {name: [] for name in ORDINARY}
    rounds, times = [], []
    for seed in range(cohorts):
        say(f"{sessions} sessions, cohort {seed + 1} of {cohorts} ...")
        mice = recorded(num_mice, sessions, tested, seed)
        fitted = {mouse.name: mouse.first_sessions(sessions) for mouse in mice}
        designs = {name: mouse.design() for name, mouse in fitted.items()}
        settings = FitSettings(emission_prior_scale=ORDINARY["defaults"])
        pooled = fit_population(designs, [NUM_STATES], settings)
        begin = time.perf_counter()
        hierarchy = fit_hierarchy(designs, pooled, [NUM_STATES])
        shrunken = fit_shrunken(designs, hierarchy)
        times.append(time.perf_counter() - begin)
        rounds.append(len(hierarchy.level(NUM_STATES).log_marginal))
        for mouse in mice:
            under = shrunken[mouse.name]
            assert isinstance(under, SubjectFits)
            ours = bits(under[NUM_STATES].fitted_params, mouse, sessions)
            for name, scale in ORDINARY.items():
                one = fitted[mouse.name]
                warm = fit_glmhmm(
                    one.y,
                    one.X,
                    one.session_ids,
                    mask=one.y >= 0,
                    num_states=NUM_STATES,
                    num_classes=2,
                    emission_names=FEATURE_NAMES,
                    emission_prior_scale=scale,
                    warm_start=pooled[NUM_STATES].fitted_params,
                    n_restarts=0,
                )
                gains[name].append(ours - bits(warm.fitted_params, mouse, sessions))
    cells = []
    for values in map(np.array, gains.values()):
        error = values.std(ddof=1) / np.sqrt(len(values))
        cells += [f"{values.mean():+.4f} ± {error:.4f}", f"{(values > 0).sum()} of {len(values)}"]
    return [str(sessions), *cells, f"{np.mean(rounds):.1f}", seconds(float(np.mean(times)))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small cohort, few sessions")
    parser.add_argument("--cohorts", type=int, default=2, help="cohorts for each line")
    args = parser.parse_args()
    mice, tested = (6, 5) if args.quick else (MICE, TEST_SESSIONS)
    numbers = SESSIONS[:1] if args.quick else SESSIONS
    cohorts = 1 if args.quick else args.cohorts
    header = ["sessions"]
    for name in ORDINARY:
        header += [f"gain over warm start, {name}", "mice that gain"]
    print_table(
        f"{mice} mice a cohort, {cohorts} cohort(s), K = {NUM_STATES}, "
        f"{tested} unseen sessions of {REFERENCE_TRIALS} trials each scored",
        [*header, "rounds", "hierarchy and shrunken fits take"],
        [row(number, mice, tested, cohorts) for number in numbers],
        ["Gains in bits per trial: mean over mice and its standard error."],
    )


if __name__ == "__main__":
    main()
