"""Does the project see states where there are none, and find those that there are.

``python -m benchmarks.controls [--quick] [--only control|two|three]``. Two questions, both asked
as the graph would: the population's fit and from it every subject's, the same folds, the same
rule for the number of states.

- **Control.** Simulated mice (textbook population, 52 sessions of 90 trials) are fitted with a
  GLM; that GLM makes new choices with their history fed back. There is one state: another must
  not gain, for the cohort nor for a subject.
- **Known states.** Cohorts of six subjects of three states: mice with two choices (the published
  population, its weights' spread a quarter), and subjects with three choices
  (:func:`three_choices`).
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from benchmarks.table import print_table, say
from glmhmm_core.comparison.selection import choose_for_cohort, choose_for_subject
from glmhmm_core.comparison.session_scores import session_scores
from glmhmm_core.design.design import Design
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import FitSettings, fit_population, fit_subjects
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import SubjectFits
from glmhmm_core.simulation.feedback import History
from glmhmm_core.simulation.ibl_cohort import HISTORY, simulate_ibl_cohort
from glmhmm_core.simulation.population import FEATURE_NAMES
from glmhmm_core.simulation.simulate import simulate
from glmhmm_core.states.matching import match_parameters, reorder
from glmhmm_core.tables.cohort import cohort_summary

SESSIONS, TRIALS, SUBJECTS = 52, 90, 6
NUM_STATES = (1, 2, 3, 4)
SETTINGS = FitSettings(emission_prior_scale=None, n_restarts=4, cv_folds=5, tol=1e-8)
MICE_SCALES = (10.0, 3.0, 2.0, 2.0)
MICE_HISTORY: History = {kind: [FEATURE_NAMES.index(kind)] for kind in HISTORY}

#: Three choices: a target at one of three places with a strength. Regressors are the strength at
#: the second and at the third place (less that at the first), a bias, and the previous choice as
#: the design codes it.
THREE_NAMES = ("place_2", "place_3", "bias", "previous_2", "previous_3")
THREE_SCALES = (10.0, 10.0, 3.0, 2.0, 2.0)


@dataclass(frozen=True)
class Made:
    """One simulated subject: its design, and what made it where that is known."""

    design: Design
    params: Parameters
    states: np.ndarray


def _design(name: str, X: np.ndarray, y: np.ndarray, ids: np.ndarray, **more: tuple) -> Design:
    trial = np.concatenate([np.arange(n) for n in np.unique(ids, return_counts=True)[1]])
    return Design(
        subject=name,
        keys=pl.DataFrame({"session": ids.astype(str), "trial": trial}),
        X=X,
        y=y,
        mask=y >= 0,
        feature_names=more["features"],
        choice_names=more["choices"],
        baseline_class_idx=0,
        prior_scales=np.array(more["scales"]),
    )


def mice(seed: int) -> list[Made]:
    """Six mice with two choices and three states."""
    about = {"features": FEATURE_NAMES, "choices": ("left", "right"), "scales": MICE_SCALES}
    cohort = simulate_ibl_cohort(SUBJECTS, seed=seed, sessions=[SESSIONS], trials=TRIALS)
    return [
        Made(_design(m.subject, m.X, m.y, m.session_ids, **about), m.params, m.states)
        for m in cohort
    ]


def three_choices(seed: int) -> list[Made]:
    """Six subjects with three choices: engaged, biased to the second, biased to the third place.

    The engaged state weighs a strength by 5, the others by 0.8; these prefer their place by 2
    log-odds; weights vary over subjects with a standard deviation of .3 (.8 for the engaged
    state's strength). States stay with .97, .94 and .94, and go to the engaged one twice as often
    as to the other. Strengths are 0.1, 0.25, 0.5 or 1, places equally frequent.
    """
    about = {"features": THREE_NAMES, "choices": ("a", "b", "c"), "scales": THREE_SCALES}
    mean = np.zeros((3, 2, 5))
    for row in range(2):
        mean[:, row, row] = (5.0, 0.8, 0.8)
        mean[row + 1, row, 2] = 2.0
        mean[:, row, 3 + row] = 0.2
    matrix = np.array([[0.97, 0.015, 0.015], [0.04, 0.94, 0.02], [0.04, 0.02, 0.94]])
    made = []
    for number in range(SUBJECTS):
        rng = np.random.default_rng((seed, number, 3))
        spread = np.full(mean.shape, 0.3)
        spread[0, :, :2] = 0.8
        params = Parameters(np.array([0.6, 0.2, 0.2]), matrix, rng.normal(mean, spread))
        ids = np.repeat([f"s{i:03d}" for i in range(SESSIONS)], TRIALS)
        place = rng.integers(0, 3, len(ids))
        strength = rng.choice([0.1, 0.25, 0.5, 1.0], len(ids))
        X = np.ones((len(ids), 5))
        for column in (0, 1):
            X[:, column] = strength * ((place == column + 1) * 1.0 - (place == 0))
        history: History = {"previous_choice": [3, 4]}
        run = simulate(params, X, ids, history=history, seed=(seed, number, 4))
        design = _design(f"three_{number}", run.X, run.y, ids, **about)
        made.append(Made(design, params, run.states))
    return made


def controls(seed: int) -> list[Made]:
    """Six subjects without states: the GLM of a mouse makes its choices, history fed back."""
    made = []
    for number, mouse in enumerate(mice(seed)):
        one = FitSettings(emission_prior_scale=None, n_restarts=1)
        glm = fit_subjects({"m": mouse.design}, [1], one)["m"]
        assert isinstance(glm, SubjectFits)
        params, X = glm[1].fitted_params, mouse.design.X
        ids = mouse.design.keys["session"].to_numpy()
        # What was rewarded: the side of the stimulus, and any where there was none.
        side = X[:, FEATURE_NAMES.index("stimulus")]
        chance = np.random.default_rng((seed, number, 5)).random(len(side)) < 0.5
        rewarded = np.where(side == 0, chance, side > 0).astype(np.int64)
        run = simulate(
            params, X, ids, history=MICE_HISTORY, rewarded=rewarded, seed=(seed, number, 6)
        )
        about = {"features": FEATURE_NAMES, "choices": ("left", "right"), "scales": MICE_SCALES}
        made.append(
            Made(_design(mouse.design.subject, run.X, run.y, ids, **about), params, run.states)
        )
    return made


def fit_cohort(made: Sequence[Made], num_states: Sequence[int]) -> list[SubjectFits]:
    """Fit a cohort as the graph does: the population, and every subject from it."""
    designs = {one.design.subject: one.design for one in made}
    population = fit_population(designs, num_states, SETTINGS)
    fits = fit_subjects(designs, num_states, SETTINGS, population=population)
    good = [one for one in fits.values() if isinstance(one, SubjectFits)]
    assert len(good) == len(made), fits
    return good


def run_controls(cohorts: int) -> None:
    """Print how many states are chosen where there is one, and what the second gains."""
    rows, gains, alone = [], [], []
    for seed in range(cohorts):
        begin = time.perf_counter()
        fits = fit_cohort(controls(seed), NUM_STATES[:3])
        chosen = choose_for_cohort(cohort_summary(fits))
        alone += [choose_for_subject(session_scores(one)).num_states for one in fits]
        gain = float(chosen.table.filter(num_states=1)["next_gain"].item())
        error = float(chosen.table.filter(num_states=1)["next_gain_se"].item())
        gains.append(gain)
        rows.append([str(seed), str(chosen.num_states), f"{gain:+.4f}", f"{error:.4f}"])
        say(f"control {seed}: K = {chosen.num_states}, {time.perf_counter() - begin:.0f} s")
    right = sum(row[1] == "1" for row in rows)
    print_table(
        f"Controls: {cohorts} cohorts of {SUBJECTS} subjects whose GLM made the choices",
        ["cohort", "K chosen", "gain of K = 2 (bits/trial)", "its error over subjects"],
        rows,
        [
            f"K = 1 is chosen for {right} of {cohorts} cohorts, and by their own rule for "
            f"{alone.count(1)} of {len(alone)} subjects; the second state gains "
            f"{np.mean(gains):+.5f} bits per trial on average.",
        ],
    )


def run_known(what: str, cohorts: int) -> None:
    """Print how many states are chosen where there are three, and what comes back of them."""
    rows, errors, decoded = [], [], []
    for seed in range(cohorts):
        begin = time.perf_counter()
        made = mice(seed + 100) if what == "two" else three_choices(seed)
        fits = fit_cohort(made, NUM_STATES)
        chosen = choose_for_cohort(cohort_summary(fits))
        of_cohort = [_recovered(one, fit) for one, fit in zip(made, fits, strict=True)]
        errors += [table for table, _, _ in of_cohort]
        decoded += [(d, c) for _, d, c in of_cohort]
        mine = np.mean([d for _, d, _ in of_cohort])
        ceiling = np.mean([c for _, _, c in of_cohort])
        gain = [float(g) for g in chosen.table["next_gain"].drop_nulls()]
        rows.append(
            [
                *(str(seed), str(chosen.num_states)),
                " / ".join(f"{g:+.4f}" for g in gain),
                *(f"{mine:.3f}", f"{ceiling:.3f}"),
            ]
        )
        say(f"{what} {seed}: K = {chosen.num_states}, {time.perf_counter() - begin:.0f} s")
    right = sum(row[1] == "3" for row in rows)
    short = np.array([c - d for d, c in decoded])
    print_table(
        f"Known states, {what} choices: {cohorts} cohorts of {SUBJECTS} subjects, K = 3",
        ["cohort", "K chosen", "gains of K = 2 / 3 / 4", "decoded", "with the truth"],
        rows,
        [
            f"K = 3 is chosen for {right} of {cohorts} cohorts.",
            f"Decoding is {100 * short.mean():.2f} points below that of the true parameters on "
            f"average, {100 * short.max():.2f} at most in a subject.",
        ],
    )
    keys = ["parameter", "state_idx", "target_idx", "class_idx", "feature"]
    spread = (
        pl.concat(errors)
        .group_by(keys, maintain_order=True)
        .agg(bias=pl.col("error").mean(), sd=pl.col("error").std())
        .filter(pl.col("parameter") != "initial")
    )
    print_table(
        "Errors of the parameters over subjects (weights, log-odds of leaving)",
        ["parameter", "state", "to / class", "regressor", "bias", "SD"],
        [
            [
                row["parameter"],
                str(row["state_idx"]),
                str(row["target_idx"] if row["class_idx"] is None else row["class_idx"]),
                row["feature"] or "",
                f"{row['bias']:+.3f}",
                f"{row['sd']:.3f}",
            ]
            for row in spread.iter_rows(named=True)
        ],
    )


def _recovered(made: Made, fits: SubjectFits) -> tuple[pl.DataFrame, float, float]:
    """Errors of the model of three states, its decoding, and that of the true parameters."""
    fit = fits[3]
    problem = problem_of(fit)
    order = match_parameters(fit.fitted_params, made.params, problem).order
    params = reorder(fit.fitted_params, order)
    named = free_parameters(fit, reference=0)
    table = named.keys.with_columns(
        error=pl.Series(named.values(params) - named.values(made.params))
    )
    decoded, ceiling = (
        float((problem.posteriors(p).smoothed.argmax(1) == made.states).mean())
        for p in (params, made.params)
    )
    return table, decoded, ceiling


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one cohort of each")
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--only", choices=("control", "two", "three"))
    args = parser.parse_args()
    cohorts = 1 if args.quick else args.cohorts
    if args.only in (None, "control"):
        run_controls(cohorts)
    for what in ("two", "three"):
        if args.only in (None, what):
            run_known(what, cohorts)


if __name__ == "__main__":
    main()
