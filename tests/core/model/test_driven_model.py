"""Transition inputs and frozen weights of the Dynamax class: against every path, and the engine."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from core.engine.climbs import DRIVEN, trials_of
from core.fitting.fitted import fit
from enumeration import draw_case, enumerate_paths, matrices_of

from glmhmm_core.errors import InputError
from glmhmm_core.model.softmax_glmhmm import SoftmaxGLMHMM

D = 2


def draw_driven(K, C, T, seed=0):
    """A case with transition inputs (T, D) and weights on them."""
    case, X, y = draw_case(K, C, T, seed=seed)
    rng = np.random.default_rng((seed, 99))
    weights = rng.normal(size=(K, K - 1, D)) * 2
    return case._replace(transition_weights=weights), X, rng.normal(size=(T, D)), y


@pytest.mark.parametrize(("K", "C", "T", "baseline"), [(2, 2, 1, 0), (3, 2, 6, 1), (3, 3, 5, 2)])
def test_likelihood_and_posteriors_are_those_of_all_paths(K, C, T, baseline):
    """With another matrix on every trial: one that is a trial off gives other numbers."""
    model = SoftmaxGLMHMM(K, C, 2, baseline_class_idx=baseline, num_transition_features=D)
    for seed in range(4):
        case, X, U, y = draw_driven(K, C, T, seed)
        params, inputs = model.params_from(case), np.hstack([X, U])
        truth = enumerate_paths(case, X, y, baseline, U)
        smoothed, filtered = model.smoother(params, y, inputs), model.filter(params, y, inputs)
        np.testing.assert_allclose(
            smoothed.marginal_loglik, truth.log_likelihood, rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(smoothed.smoothed_probs, truth.smoothed, rtol=1e-9)
        sums = np.asarray(smoothed.trans_probs).reshape(-1, K, K).sum(0)
        np.testing.assert_allclose(sums, truth.transitions, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(filtered.filtered_probs, truth.filtered, rtol=1e-9)
        np.testing.assert_allclose(filtered.predicted_probs, truth.predicted, rtol=1e-9)
        assert tuple(model.most_likely_states(params, y, inputs).tolist()) == truth.best_path
        U[0] += 100.0  # nothing is gone to the first trial from
        np.testing.assert_array_equal(
            model.smoother(params, y, np.hstack([X, U])).smoothed_probs, smoothed.smoothed_probs
        )


def batch_of(trials):
    """Choices (S, T) and inputs (S, T, M + D) of sessions of one length."""
    sessions = len(set(trials.session_ids))
    inputs = np.hstack([trials.X, trials.U])
    choices = np.where(trials.mask, trials.y, -1).astype(np.int64)
    return choices.reshape(sessions, -1), inputs.reshape(sessions, -1, inputs.shape[1])


FROZEN = {
    "frozen_emissions": {1: {"stimulus": 0.25}},
    "frozen_transitions": {0: {"u1": -0.5}},
}


def test_what_a_fit_says_is_what_its_model_computes():
    trials = trials_of(DRIVEN)
    found = fit(trials, **FROZEN)
    model = found.model
    params = model.params_from(found.fitted_params)
    choices, inputs = batch_of(trials)
    smoothed = jax.jit(jax.vmap(lambda y, x: model.smoother(params, y, x)))(
        jnp.asarray(choices), jnp.asarray(inputs)
    )
    total = smoothed.marginal_loglik.sum()
    np.testing.assert_allclose(total, found.raw_log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(
        total + model.log_prior(params), found.objective_log_probability, rtol=1e-9
    )
    np.testing.assert_allclose(
        smoothed.smoothed_probs.reshape(-1, 2), found.smoothed_state_probs, rtol=1e-7, atol=1e-10
    )
    # It is a fixed point of Dynamax's EM.
    again, _ = model.fit_em(params, model.props, choices, inputs, num_iters=1, verbose=False)
    for there, here in zip(found.fitted_params, model.parameters_of(again), strict=True):
        np.testing.assert_allclose(here, there, atol=1e-3)


@pytest.fixture(scope="module")
def held():
    """A model with frozen weights of both kinds, a start, and data."""
    emission, transition = np.full((2, 2, 2), np.nan), np.full((2, 1, 2), np.nan)
    emission[1, :, 0], transition[0, :, 1] = 0.25, -0.5
    model = SoftmaxGLMHMM(
        2,
        3,
        2,
        num_transition_features=2,
        frozen_emissions=emission,
        frozen_transitions=transition,
    )
    return model, model.initialize(jr.key(3)), batch_of(trials_of(DRIVEN))


def obeys(params):
    np.testing.assert_array_equal(params.emissions.weights[1, :, 0], 0.25)
    np.testing.assert_array_equal(params.transitions.weights[0, :, 1], -0.5)


def test_em_never_lowers_the_map_objective_and_leaves_frozen_weights(held):
    model, (params, props), (choices, inputs) = held
    obeys(params)
    fitted, trace = model.fit_em(params, props, choices, inputs, num_iters=25, verbose=False)
    assert trace[-1] > trace[0] + 10
    assert (np.diff(trace) >= -1e-10 * np.abs(trace[:-1])).all()
    obeys(fitted)
    assert np.abs(fitted.transitions.weights - params.transitions.weights)[1].min() > 1e-3


def test_gradient_descent_raises_the_objective_and_leaves_frozen_weights(held):
    model, (params, props), (choices, inputs) = held
    fitted, losses = model.fit_sgd(params, props, choices[:3], inputs[:3], num_epochs=8)
    assert losses[-1] < losses[0]
    obeys(fitted)


def test_samples_follow_the_matrix_of_the_trial_that_is_gone_to():
    T, K = 40_000, 3
    case, X, _, _ = draw_driven(K, 2, T, 5)
    levels = np.array([[1.0, -0.5], [-1.0, 0.3]])
    which = np.random.default_rng(1).integers(0, 2, T)
    model = SoftmaxGLMHMM(K, 2, 2, num_transition_features=D)
    inputs = jnp.asarray(np.hstack([X, levels[which]]))
    states = np.asarray(model.sample(model.params_from(case), jr.key(0), T, inputs)[0])
    for level in range(2):
        law = matrices_of(case, levels[[level]])[0]
        for k in range(K):
            came = np.flatnonzero((states[:-1] == k) & (which[1:] == level)) + 1
            counts, n = np.bincount(states[came], minlength=K), len(came)
            error = np.sqrt(n * law[k] * (1 - law[k]))
            assert (np.abs(counts - n * law[k]) <= 5 * error + 1e-9).all()


@pytest.mark.parametrize("options", [{"transition_prior_scale": 0.0}, {"num_states": 1}])
def test_numbers_that_make_no_driven_chain_are_refused(options):
    states = options.pop("num_states", 2)
    with pytest.raises(InputError):
        SoftmaxGLMHMM(states, 2, 2, num_transition_features=D, **options)


def test_inputs_have_both_kinds_of_columns():
    model = SoftmaxGLMHMM(2, 2, 2, num_transition_features=D)
    params, _ = model.initialize(jr.key(0))
    with pytest.raises(InputError, match="4 columns"):
        model.smoother(params, np.zeros(3, int), np.zeros((3, 2)))
