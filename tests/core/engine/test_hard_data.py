"""Data that break optimizers: a finite answer, and never a NaN in a fit that says converged."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from core.engine.climbs import (
    DRIVEN,
    FLAT,
    GLM,
    LENGTHS,
    SHAPE,
    TWO,
    WEAK,
    climb,
    driven_priors,
    never_falls,
    start_of,
    trials_of,
)
from core.engine.laid_out import data_of, evaluate, prior_of
from core.oracles import draw_trials
from core.textbook_em import Priors, log_prior, objective
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from glmhmm_core.engine.em import bytes_per_climb
from glmhmm_core.engine.expectation import expect
from glmhmm_core.engine.parameters import Parameters, all_free


def assert_sound(fit):
    assert never_falls(fit.trace)
    assert np.isfinite(fit.trace).all()
    for leaf in jax.tree.leaves(fit.params):
        assert np.isfinite(leaf).all()
    for probs in (fit.params.initial_probs, fit.params.transition_matrix):
        np.testing.assert_allclose(probs.sum(-1), 1.0, rtol=1e-12)


def independent_regression(trials, sigma):
    """Weights (C-1, M) over the baseline of scikit-learn's regression, ridge of scale sigma."""
    inverse = np.inf if np.isinf(sigma) else sigma**2
    model = LogisticRegression(C=inverse, fit_intercept=False, tol=1e-13, max_iter=100_000)
    X, y = trials.X[trials.mask], trials.y[trials.mask]
    return model.fit(X, y).coef_


@pytest.mark.parametrize("sigma", [np.inf, 2.0, 0.3])
@pytest.mark.parametrize("baseline", [0, 1])
def test_one_state_is_an_independent_logistic_regression(sigma, baseline):
    trials = replace(trials_of(GLM), baseline=baseline)
    fit = climb(trials, Priors(np.array([sigma, sigma])), start_of(GLM))
    sign = 1 if baseline == 0 else -1
    np.testing.assert_allclose(
        sign * fit.params.emission_weights[0], independent_regression(trials, sigma), atol=1e-6
    )
    assert fit.converged
    assert fit.iterations < 20


def one_state_of_three_choices(trials, priors):
    """DRIVEN's program with both states alike is the GLM of three choices, counted once."""
    start = start_of(DRIVEN)
    start = start._replace(emission_weights=np.zeros_like(start.emission_weights))
    return climb(trials, driven_priors(priors), start)


def test_states_that_start_alike_stay_alike_and_are_a_multinomial_regression():
    trials = trials_of(DRIVEN)
    fit = one_state_of_three_choices(trials, FLAT)
    weights = fit.params.emission_weights
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-9)
    theirs = independent_regression(trials, np.inf)
    others = [c for c in range(3) if c != trials.baseline]
    np.testing.assert_allclose(weights[0], (theirs - theirs[trials.baseline])[others], atol=1e-5)


@pytest.mark.parametrize("case", [GLM, TWO])
@pytest.mark.parametrize("priors", [FLAT, WEAK], ids=["flat", "weak"])
def test_separable_choices_end_finite(case, priors):
    trials = trials_of(case)
    y = (trials.X[:, 0] > 0.2).astype(int)
    fit = climb(replace(trials, y=y), priors, start_of(case))
    assert_sound(fit)
    assert fit.converged
    if priors is FLAT:
        assert -1e-6 < fit.trace[-1] <= 0


@pytest.mark.parametrize("priors", [FLAT, WEAK], ids=["flat", "weak"])
@pytest.mark.parametrize("never", [0, 1, 2])
def test_a_choice_that_is_never_made(priors, never):
    trials = trials_of(DRIVEN)
    kept = replace(trials, y=np.where(trials.y == never, -1, trials.y))
    fit = climb(kept, driven_priors(priors), start_of(DRIVEN))
    assert_sound(fit)
    if priors is WEAK:
        assert fit.converged
        truth = objective(fit.params, kept, driven_priors(priors))
        np.testing.assert_allclose(fit.trace[-1], truth, rtol=1e-12)


@pytest.mark.parametrize("priors", [FLAT, WEAK], ids=["flat", "weak"])
def test_a_session_without_a_choice_only_adds_a_beginning(priors):
    trials = trials_of(TWO)
    silent = replace(trials, y=np.where(trials.session_ids == "s4", -1, trials.y))
    fit = climb(silent, priors, start_of(TWO))
    seen = np.flatnonzero(trials.session_ids != "s4")
    others = climb(trials.rows(seen), priors, start_of(TWO))
    assert fit.converged
    # Nothing was seen there, so the posterior mode is that of the other sessions.
    np.testing.assert_allclose(fit.trace[-1], others.trace[-1], rtol=1e-8)
    for params in (fit.params, others.params):
        np.testing.assert_allclose(
            objective(params, silent, priors), objective(params, trials.rows(seen), priors)
        )


@pytest.mark.parametrize("priors", [WEAK, Priors(np.array([1.0, np.inf]), 1.5, 1.0)])
def test_without_any_choice_the_fit_is_the_mode_of_the_prior(priors):
    trials = replace(trials_of(TWO), y=np.full(sum(LENGTHS), -1))
    fit = climb(trials, priors, start_of(TWO))
    assert fit.converged
    assert_sound(fit)
    counts = priors.counts(2)
    mode = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(fit.params.transition_matrix, mode, atol=1e-5)
    np.testing.assert_allclose(fit.params.emission_weights[:, :, 0], 0, atol=1e-5)
    np.testing.assert_allclose(fit.trace[-1], log_prior(fit.params, priors), rtol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_classes_may_change_their_baseline_under_a_flat_prior(seed):
    trials, start = trials_of(DRIVEN, seed), start_of(DRIVEN, seed)
    classes = [c for c in range(3) if c != trials.baseline]
    full = np.insert(start.emission_weights, trials.baseline, 0.0, axis=1)
    fits = {}
    for baseline in (trials.baseline, classes[0]):
        rereferenced = np.delete(full - full[:, [baseline]], baseline, axis=1)
        fits[baseline] = climb(
            replace(trials, baseline=baseline),
            driven_priors(FLAT),
            start._replace(emission_weights=rereferenced),
        )
    first, second = fits.values()
    np.testing.assert_allclose(first.trace[0], second.trace[0], rtol=1e-12)
    np.testing.assert_allclose(first.trace[-1], second.trace[-1], rtol=1e-8)


@pytest.mark.parametrize("case", [TWO, DRIVEN])
@pytest.mark.parametrize("sigma", [np.inf, 2.0])
def test_units_of_the_regressors_do_not_matter(case, sigma):
    """Weights per unit and their prior follow; the objective but for the densities' units."""
    units = np.array([1e-6, 1e5])
    trials, start = trials_of(case), start_of(case)
    small = replace(trials, X=trials.X * units)
    priors = [Priors(np.full(2, sigma) / u, 2.0, 0.0, np.full(case[2], 2.0)) for u in (1, units)]
    fit = climb(trials, priors[0], start)
    other = climb(small, priors[1], start._replace(emission_weights=start.emission_weights / units))
    assert fit.converged
    assert other.converged
    np.testing.assert_allclose(
        objective(other.params, small, priors[1]) - log_prior(other.params, priors[1]),
        objective(fit.params, trials, priors[0]) - log_prior(fit.params, priors[0]),
        rtol=1e-8 if np.isinf(sigma) else 1e-7,
    )
    np.testing.assert_allclose(
        other.params.emission_weights * units, fit.params.emission_weights, rtol=1e-4, atol=1e-4
    )


HARD = st.sampled_from(["as drawn", "huge", "tiny", "constant", "zero", "copied", "one trial"])


@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.tuples(HARD, HARD),
    choices=st.sampled_from(["random", "one class", "separable", "few"]),
    flat=st.booleans(),
)
@examples(max_examples=40)
def test_no_data_end_in_a_nan(seed, columns, choices, flat):
    rng = np.random.default_rng(seed)
    trials = draw_trials(rng, LENGTHS, 2, 2)
    X, y = trials.X.copy(), trials.y.copy()
    for j, kind in enumerate(columns):
        X[:, j] = rng.normal(size=len(y))
        match kind:
            case "huge":
                X[:, j] *= 1e8
            case "tiny":
                X[:, j] *= 1e-8
            case "constant":
                X[:, j] = 3.0
            case "zero":
                X[:, j] = 0.0
            case "copied":
                X[:, j] = 2 * X[:, 0]
            case "one trial":
                X[:, j] = np.arange(len(y)) == 7
    match choices:
        case "one class":
            y[y >= 0] = 1
        case "separable":
            y = (X[:, 0] > 0).astype(int)
        case "few":
            y[rng.random(len(y)) < 0.97] = -1
    trials = replace(trials, X=X, y=y)
    fit = climb(trials, FLAT if flat else WEAK, start_of(TWO, seed))
    assert_sound(fit)
    if fit.converged:
        np.testing.assert_allclose(
            fit.trace[-1],
            objective(fit.params, trials, FLAT if flat else WEAK),
            rtol=1e-9,
            atol=1e-9,
        )


def test_regressors_that_forbid_a_transition_lose_no_message():
    # Log-odds of leaving in the thousands, and states that explain some choices hardly at all.
    rng = np.random.default_rng(0)
    trials = trials_of(DRIVEN)
    trials = replace(trials, U=1e3 * rng.normal(size=trials.U.shape))
    start = start_of(DRIVEN)
    start = start._replace(
        emission_weights=100 * start.emission_weights, transition_weights=np.ones((2, 1, 2))
    )
    prior = prior_of(driven_priors(WEAK), 2)
    found = evaluate(start, data_of(trials, SHAPE), prior, all_free(start))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert_sound(climb(trials, driven_priors(WEAK), start))


@pytest.mark.parametrize(("states", "case"), [(3, TWO), (3, DRIVEN), (5, DRIVEN)])
def test_a_climb_takes_the_memory_that_is_reckoned_with(states, case):
    """As the compiler says, within a factor of two; an accelerator is filled by this number."""
    _, choices, regressors = case
    rng = np.random.default_rng(0)
    data = data_of(draw_trials(rng, (100,) * 20, choices, 2, regressors))
    weights = rng.normal(size=(states, choices - 1, 2))
    matrix = np.full((states, states), 1 / states)
    driven = np.zeros((states, states - 1, regressors)) if regressors else None
    params = Parameters(np.full(states, 1 / states), matrix, weights, driven)
    prior = prior_of(driven_priors(WEAK) if regressors else WEAK, states)
    program = jax.jit(expect).lower(params, data, prior, all_free(params)).compile()
    needed = program.memory_analysis().temp_size_in_bytes
    assert needed < bytes_per_climb(data, states) < 2 * needed
