"""What Dynamax computes on the model, against every path of states written out."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from enumeration import class_log_probs, draw_case, enumerate_paths

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.model.softmax_glmhmm import SoftmaxGLMHMM

#: States, choices, trials and baseline class.
CASES = [(1, 2, 4, 0), (2, 2, 1, 1), (2, 2, 6, 0), (3, 2, 5, 1), (3, 3, 6, 1), (2, 3, 6, 2)]
SEEDS = range(5)


def make(K, C, baseline, M=2, **options):
    return SoftmaxGLMHMM(K, C, M, baseline_class_idx=baseline, **options)


@pytest.mark.parametrize(("K", "C", "T", "baseline"), CASES)
def test_likelihood_and_posteriors_are_those_of_all_paths(K, C, T, baseline):
    model = make(K, C, baseline)
    for seed in SEEDS:
        case, X, y = draw_case(K, C, T, seed=seed)
        params = model.params_from(case)
        truth = enumerate_paths(case, X, y, baseline)

        smoothed = model.smoother(params, y, X)
        filtered = model.filter(params, y, X)
        np.testing.assert_allclose(
            smoothed.marginal_loglik, truth.log_likelihood, rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(
            model.marginal_log_prob(params, y, X), truth.log_likelihood, rtol=1e-9, atol=1e-14
        )
        np.testing.assert_allclose(smoothed.smoothed_probs, truth.smoothed, rtol=1e-9)
        np.testing.assert_allclose(smoothed.trans_probs, truth.transitions, rtol=1e-9)
        np.testing.assert_allclose(filtered.filtered_probs, truth.filtered, rtol=1e-9)
        np.testing.assert_allclose(filtered.predicted_probs, truth.predicted, rtol=1e-9)
        assert tuple(model.most_likely_states(params, y, X).tolist()) == truth.best_path


@pytest.mark.parametrize(("K", "C", "T", "baseline"), CASES)
def test_gradient_of_the_marginal_is_that_of_the_expected_counts(K, C, T, baseline):
    """Fisher's identity: catches messages shifted by one trial, and wrong expected counts."""
    model = make(K, C, baseline)
    case, X, y = draw_case(K, C, T, seed=11)
    truth = enumerate_paths(case, X, y, baseline)
    gradient = jax.grad(model.marginal_log_prob)(model.params_from(case), y, jnp.asarray(X))

    np.testing.assert_allclose(
        gradient.initial.probs, truth.smoothed[0] / case.initial_probs, rtol=1e-9
    )
    np.testing.assert_allclose(
        gradient.transitions.transition_matrix,
        truth.transitions / case.transition_matrix,
        rtol=1e-9,
        atol=1e-13,
    )
    probs = np.exp(class_log_probs(case.emission_weights, X, baseline))
    missed = (y[:, None] == np.arange(C))[:, None] - probs
    score = np.einsum("tk,tkc,tm->kcm", truth.smoothed * (y >= 0)[:, None], missed, X)
    np.testing.assert_allclose(
        gradient.emissions.weights, np.delete(score, baseline, axis=1), rtol=1e-9, atol=1e-13
    )


def test_log_prob_of_states_and_choices_is_one_path_of_the_sum():
    case, X, y = draw_case(3, 3, 5, seed=2)
    model = make(3, 3, 0)
    params = model.params_from(case)
    paths = jnp.array(np.stack(np.unravel_index(np.arange(3**5), (3,) * 5), axis=1))
    joint = jax.vmap(lambda path: model.log_prob(params, path, y, jnp.asarray(X)))(paths)
    total = jax.scipy.special.logsumexp(joint)
    np.testing.assert_allclose(total, model.marginal_log_prob(params, y, X), rtol=1e-9)


def test_trial_without_a_choice_says_nothing_whatever_was_shown():
    case, X, y = draw_case(3, 3, 6, seed=4)
    y[2] = -1
    model = make(3, 3, 0)
    params = model.params_from(case)
    before = model.smoother(params, y, X)
    X[2] = [1e3, -1e3]
    after = model.smoother(params, y, X)
    np.testing.assert_array_equal(before.smoothed_probs, after.smoothed_probs)


def test_padding_behind_the_end_changes_nothing():
    case, X, y = draw_case(3, 2, 5, seed=5)
    model = make(3, 2, 0)
    params = model.params_from(case)
    long_y, long_X = np.append(y, [-1, -1]), np.vstack([X, np.ones((2, 2))])
    short, padded = model.smoother(params, y, X), model.smoother(params, long_y, long_X)
    np.testing.assert_allclose(padded.marginal_loglik, short.marginal_loglik, rtol=1e-12)
    np.testing.assert_allclose(padded.smoothed_probs[:5], short.smoothed_probs, rtol=1e-10)


@pytest.mark.parametrize("baseline", [1, 2])
def test_the_baseline_class_is_a_matter_of_reference(baseline):
    case, X, y = draw_case(3, 3, 6, seed=6)
    full = np.insert(case.emission_weights, 0, 0.0, axis=1)
    other = np.delete(full - full[:, [baseline]], baseline, axis=1)
    before = make(3, 3, 0).smoother(make(3, 3, 0).params_from(case), y, X)
    model = make(3, 3, baseline)
    after = model.smoother(model.params_from(case._replace(emission_weights=other)), y, X)
    np.testing.assert_allclose(after.marginal_loglik, before.marginal_loglik, rtol=1e-12)
    np.testing.assert_allclose(after.smoothed_probs, before.smoothed_probs, rtol=1e-9)


def test_samples_follow_the_parameters():
    K, C, T = 3, 3, 40_000
    rng = np.random.default_rng(8)
    case = Parameters(
        rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), K), rng.normal(size=(K, C - 1, 2))
    )
    levels = np.array([[1.0, -1.0], [1.0, 0.5]])
    X = levels[rng.integers(0, 2, T)]
    model = make(K, C, 1)
    params = model.params_from(case)
    states, choices = model.sample(params, jr.key(0), T, jnp.asarray(X))
    states, choices = np.asarray(states), np.asarray(choices)

    for k in range(K):
        nexts = np.bincount(states[1:][states[:-1] == k], minlength=K)
        agrees(nexts, case.transition_matrix[k])
        for level in levels:
            here = (states == k) & (level == X).all(axis=1)
            law = np.exp(class_log_probs(case.emission_weights, level[None], 1))[0, k]
            agrees(np.bincount(choices[here], minlength=C), law)

    many = jax.vmap(lambda key: model.sample(params, key, 1, jnp.asarray(X[:1]))[0][0])
    agrees(np.bincount(many(jr.split(jr.key(1), 5000)), minlength=K), case.initial_probs)


def agrees(counts, probs):
    """Five standard errors at most."""
    n = counts.sum()
    error = np.sqrt(n * probs * (1 - probs))
    assert (np.abs(counts - n * probs) <= 5 * error + 1e-9).all(), (counts, n * probs)


@pytest.mark.parametrize(
    ("choices", "inputs", "told"),
    [
        ([0, 2], [[0.0, 1.0]] * 2, "2"),
        ([0, -2], [[0.0, 1.0]] * 2, "-2"),
        ([0.5, 1.0], [[0.0, 1.0]] * 2, "whole number"),
        ([0, 1], [[0.0, np.nan]] * 2, "finite"),
        ([0, 1], [[0.0]] * 2, "2 columns"),
        ([0, 1], None, "2 columns"),
    ],
)
def test_data_that_no_softmax_can_use_are_refused(choices, inputs, told):
    model = make(2, 2, 0)
    params, props = model.initialize(jr.key(0))
    choices, inputs = np.array(choices), None if inputs is None else np.array(inputs)
    calls = [
        lambda: model.smoother(params, choices, inputs),
        lambda: model.marginal_log_prob(params, choices, inputs),
        lambda: model.fit_em(params, props, choices, inputs, verbose=False),
        lambda: model.fit_sgd(params, props, choices, inputs),
    ]
    for call in calls:
        with pytest.raises(InputError, match=told):
            call()


@pytest.mark.parametrize(
    "choices",
    [
        np.ma.array([0, 1, 1], mask=[False, True, False]),
        np.array([[0.0], [-1.0], [1.0]]),
        [0, -1, 1],
    ],
    ids=["masked", "a column of floats", "a list"],
)
def test_choices_of_every_form_are_the_same_to_the_model(choices):
    """The trial without a choice has no input either."""
    model = make(2, 2, 0)
    params, _ = model.initialize(jr.key(0))
    inputs = np.array([[1.0, 1.0], [np.nan, np.nan], [-1.0, 1.0]])
    plain = jnp.array([0, -1, 1]), jnp.nan_to_num(jnp.asarray(inputs))
    assert model.marginal_log_prob(params, choices, inputs) == model.marginal_log_prob(
        params, *plain
    )
    states = jnp.array([0, 1, 0])
    assert model.log_prob(params, states, choices, inputs) == model.log_prob(params, states, *plain)
