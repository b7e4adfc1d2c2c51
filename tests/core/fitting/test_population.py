"""Starting every subject from the population's fit: nested folds, and whose optimum is taken."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from core.engine.climbs import MAX_ITERS, TWO, trials_of
from core.fitting.fitted import RESTARTS, design_of

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import FitSettings, fit_population, fit_subjects
from glmhmm_core.fitting.climb import Climb, winner
from glmhmm_core.fitting.fingerprint import fingerprint
from glmhmm_core.fitting.optimum import choose_optimum, heldout_gain
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.settings import FrozenWeight
from glmhmm_core.fitting.subject import Start, jobs_of

SETTINGS = FitSettings(n_restarts=RESTARTS, max_iters=MAX_ITERS, cv_folds=2)
DESIGNS = {name: design_of(trials_of(TWO, 2 * i), name) for i, name in enumerate("ab")}


@pytest.fixture(scope="module")
def population():
    return fit_population(DESIGNS, [1, 2], SETTINGS)


@pytest.fixture(scope="module")
def fits(population):
    return fit_subjects(DESIGNS, [1, 2], SETTINGS, population=population)


def names(sessions, subject):
    return {f"{subject}/{session}" for session in sessions}


def test_what_a_subject_holds_out_its_population_has_not_seen(population, fits):
    for subject, own in fits.items():
        for mine, shared in zip(own[2].cv_metrics, population[2].cv_metrics, strict=True):
            held_out = names(mine.test_session_ids, subject)
            assert held_out
            assert held_out <= set(shared.test_session_ids)
            assert not held_out & set(shared.training_session_ids)


def test_every_fold_begins_where_nobody_saw_its_sessions(population, fits):
    """From the population's and the earlier fit without them, not from those to all sessions."""
    shared, before = population[2], fits["a"][2]
    full, *folds = jobs_of(
        Problem.of_design(DESIGNS["a"]),
        {2: before.specification},
        SETTINGS,
        "a",
        {2: Start(before.fitted_params, before.cv_metrics)},
        [shared],
    )
    assert full.population[2] is shared.fitted_params
    assert full.warm_starts[2] is before.fitted_params
    for i, job in enumerate(folds):
        assert job.population[2] is shared.cv_metrics[i].fitted_params
        assert job.warm_starts[2] is before.cv_metrics[i].fitted_params


@pytest.mark.parametrize(("gone", "starts"), [(["s0"], 1), (["s0", "s3"], 0)])
def test_no_fold_begins_at_a_population_that_saw_its_sessions(population, gone, starts):
    """Where sessions are gone, folds are dealt anew: to begin at another one, or at restarts."""
    shared, whole = population[2], DESIGNS["a"]
    design = whole.of_sessions(set(whole.session_ids.tolist()) - set(gone))
    problem = Problem.of_design(design)
    _, *jobs = jobs_of(problem, {2: shared.specification}, SETTINGS, "a", {}, [shared])
    dealt = problem.folds(SETTINGS.cv_folds, SETTINGS.seed)
    for i, job in enumerate(jobs):
        held_out = names(np.array(problem.sessions)[dealt == i], "a")
        assert held_out & set(shared.cv_metrics[i].training_session_ids)
        unseen = [f for f in shared.cv_metrics if not held_out & set(f.training_session_ids)]
        assert len(unseen) == starts
        assert [*job.population.values()] == [f.fitted_params for f in unseen]
    # So it is with the subject's own fit of another model in its place.
    alone = [
        replace(
            fold,
            training_session_ids=tuple(s[2:] for s in fold.training_session_ids if s[0] == "a"),
        )
        for fold in shared.cv_metrics
    ]
    own = replace(shared, cv_metrics=tuple(alone))
    _, *same = jobs_of(problem, {2: shared.specification}, SETTINGS, "a", {}, [own])
    assert [job.population.keys() for job in same] == [job.population.keys() for job in jobs]
    fit = fit_subjects({"a": design}, [2], SETTINGS, population=population)["a"][2]
    assert [fold.fold_index for fold in fit.cv_metrics] == [0, 1]
    if not starts:  # in a fold of restarts alone both optima score the same
        assert fit.own_optimum.heldout_gain == 0


def test_gains_of_folds_are_weighted_by_their_trials():
    def folds(*bits):
        return [
            SimpleNamespace(test_bits_per_trial=b, test_trial_count=n)
            for b, n in zip(bits, (10, 30, 0), strict=True)
        ]

    gain, error = heldout_gain(folds(0.5, 0.3, 9.0), folds(0.2, 0.2, 0.0))
    assert gain == pytest.approx((10 * 0.3 + 30 * 0.1) / 40)
    assert error == pytest.approx(np.std([0.3, 0.1], ddof=1) / np.sqrt(2))
    assert heldout_gain(folds(0.5, 0.3, 9.0)[1:], folds(0.2, 0.2, 0.0)[1:]) == (None, None)


def test_pooled_choices_are_those_of_all_subjects(population):
    assert population[2].num_choices == sum(int(d.mask.sum()) for d in DESIGNS.values())
    assert {s.split("/")[0] for s in population[2].session_ids.tolist()} == set("ab")


def test_a_subject_starts_from_the_population_and_from_its_own_restarts(fits):
    alone = fit_subjects(DESIGNS, [1, 2], SETTINGS)
    for subject, own in fits.items():
        assert len(own[2].restart_objectives) == RESTARTS + 1
        np.testing.assert_allclose(
            own[2].restart_objectives[1:], alone[subject][2].restart_objectives, rtol=1e-12
        )
        told = own[2].own_optimum
        best_alone = alone[subject][2].objective_log_probability
        gain = best_alone - own[2].restart_objectives[0]
        assert told.objective_gain == pytest.approx(gain, abs=1e-9)
        assert own[2].best_restart == 0 or told.chosen
        assert alone[subject][2].own_optimum is None
        assert own[1].own_optimum is None  # one state has one optimum


def test_the_populations_version_is_in_the_fingerprint(population, fits):
    design = DESIGNS["a"]
    without = fingerprint(design, [1, 2], SETTINGS)
    assert fits["a"].fingerprint == fingerprint(design, [1, 2], SETTINGS, population) != without
    another = replace(population, fingerprint="0" * 64)
    assert fingerprint(design, [1, 2], SETTINGS, another) != fits["a"].fingerprint


def test_a_population_with_other_folds_is_refused(population):
    for other in (replace(SETTINGS, cv_folds=3), replace(SETTINGS, seed=1)):
        with pytest.raises(InputError, match="population fit: it has 2 folds of seed 0"):
            fit_subjects(DESIGNS, [2], other, population=population)


def test_frozen_weights_are_those_of_the_population_too():
    frozen = (FrozenWeight(0, "stimulus", -1.0),)
    shared = fit_population(DESIGNS, [2], replace(SETTINGS, frozen=frozen, n_restarts=1))
    for params in (shared[2].fitted_params, *(f.fitted_params for f in shared[2].cv_metrics)):
        np.testing.assert_array_equal(params.emission_weights[0, :, 0], -1.0)


def test_one_subject_is_no_population():
    with pytest.raises(InputError, match="population of 1 subject"):
        fit_population({"a": DESIGNS["a"]}, [2], SETTINGS)


def test_folds_are_dealt_within_each_group():
    sessions = np.repeat([f"s{i}" for i in range(9)], 2)
    alone, empty = np.zeros((18, 1)), np.empty((18, 0))
    rest = (np.zeros(18, int), np.ones(18, bool), sessions, 2, 0)
    groups = ("a",) * 4 + ("b",) * 5
    pooled = Problem(alone, empty, *rest, session_groups=groups)
    folds = pooled.folds(2, seed=0)
    for group, size in (("a", 4), ("b", 5)):
        rows = np.repeat(np.array(groups) == group, 2)
        one = Problem(alone[rows], empty[rows], *(v[rows] for v in rest[:3]), 2, 0)
        np.testing.assert_array_equal(folds[np.array(groups) == group], one.folds(2, seed=0))
        assert len(one.sessions) == size


def with_scores(fit, gains):
    """The fit with its folds' held-out scores raised by these nats per trial."""
    folds = tuple(
        replace(f, test_log_likelihood_per_trial=f.test_log_likelihood_per_trial + gain)
        for f, gain in zip(fit.cv_metrics, gains, strict=True)
    )
    return replace(fit, cv_metrics=folds)


@pytest.mark.parametrize(
    ("gains", "chosen"),
    [
        ((0.02, 0.02), True),
        ((0.05, -0.01), False),
        ((-0.02, -0.02), False),
        ((0.0, 0.0), False),
        ((2e-9, 1e-9), False),
    ],
)
def test_the_own_optimum_needs_a_held_out_gain_beyond_its_error(fits, gains, chosen):
    shared = fits["a"][2]
    own = with_scores(replace(shared, best_restart=1), gains)
    picked = choose_optimum(own, shared)
    assert picked.own_optimum.chosen is chosen
    assert picked.best_restart == (1 if chosen else shared.best_restart)


def test_without_folds_the_population_stays(fits):
    shared = replace(fits["a"][2], cv_metrics=(), best_restart=0)
    picked = choose_optimum(replace(shared, best_restart=1), shared)
    assert picked.best_restart == 0
    assert picked.own_optimum.heldout_gain is None


@pytest.mark.parametrize(
    ("own_higher_by", "own_converged", "population_converged", "chosen"),
    [
        (0.3, True, False, True),
        (0.3, True, True, False),
        (0.3, False, False, False),
        (-0.3, True, False, False),
    ],
)
def test_a_start_that_did_not_converge_is_not_kept_over_a_better_one_that_did(
    fits, own_higher_by, own_converged, population_converged, chosen
):
    shared = replace(fits["a"][2], cv_metrics=())
    restarts = np.arange(len(shared.restart_converged))
    of_population = replace(
        shared, best_restart=0, restart_converged=(restarts > 0) | population_converged
    )
    own = replace(
        shared,
        best_restart=1,
        restart_converged=(restarts != 1) | own_converged,
        log_probability=shared.log_probability + own_higher_by,
    )
    assert choose_optimum(own, of_population).own_optimum.chosen is chosen


def test_of_two_starts_at_one_optimum_the_converged_one_is_kept():
    start = Climb.of(Parameters(np.ones(1), np.ones((1, 1)), np.zeros((1, 1, 1))))
    ends = [
        replace(start, trace=np.array([objective]), converged=converged)
        for objective, converged in ((-100.0, False), (-100.0 - 1e-9, True), (-101.0, True))
    ]
    assert winner(ends, 1e-9) == 1
    assert winner(ends, 1e-12) == 0
    assert winner(ends, 1e-9, first=2) == 2


def test_states_under_other_numbers_agree(fits):
    shared = fits["a"][2]
    turned = replace(shared, smoothed_state_probs=shared.smoothed_state_probs[:, ::-1])
    assert choose_optimum(turned, shared).own_optimum.state_agreement == 1.0


def test_other_states_that_do_as_well_are_ambiguous(fits):
    shared = fits["a"][2]
    mixed = np.random.default_rng(0).dirichlet(np.ones(2), len(shared.y))
    other = replace(shared, smoothed_state_probs=mixed)
    assert choose_optimum(other, shared).own_optimum.ambiguous
    assert not choose_optimum(shared, shared).own_optimum.ambiguous
