"""Fitting by Dynamax: the objective never falls, M-steps end at maxima, priors are densities."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from enumeration import draw_case
from scipy import stats
from sklearn.linear_model import LogisticRegression

from glmhmm_core.engine.parameters import all_free, log_prior, make_prior
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.fit import fit_glmhmm
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.model.softmax_glmhmm import SoftmaxGLMHMM
from glmhmm_core.simulation.simulate import simulate


def draw_batch(K, C, S=4, T=60, seed=0):
    """Choices (S, T) with a tenth missing, and inputs (S, T, 2), from a random sticky model."""
    case, X, _ = draw_case(K, C, S * T, seed=seed)
    sticky = 0.1 * case.transition_matrix + 0.9 * np.eye(K)
    drawn = simulate(
        case._replace(transition_matrix=sticky),
        X,
        np.repeat(np.arange(S), T),
        history={},
        no_choice_prob=0.1,
    )
    return drawn.y.reshape(S, T), X.reshape(S, T, 2)


def expected_objective(model, stats, params):
    """Expected complete-data log-likelihood plus log prior, written apart from the M-steps."""
    initial, transitions, (probs, choices, inputs) = stats
    logits = jnp.insert(
        jnp.einsum("kcm,stm->stkc", params.emissions.weights, inputs),
        model.baseline_class_idx,
        0.0,
        axis=3,
    )
    by_class = jax.nn.log_softmax(logits, axis=3)
    chosen = jnp.take_along_axis(by_class, choices[:, :, None, None].clip(0), axis=3)[..., 0]
    return (
        (initial * jnp.log(params.initial.probs)[None]).sum()
        + (transitions * jnp.log(params.transitions.transition_matrix)[None]).sum()
        + (probs * (choices >= 0)[:, :, None] * chosen).sum()
        + model.log_prior(params)
    )


MODELS = [
    (1, 2, 0, {}),
    (2, 2, 1, {"transition_concentration": 1.0, "emission_prior_scale": np.inf}),
    (3, 3, 1, {"emission_prior_scale": (10.0, np.inf), "stickiness": 5.0}),
]


@pytest.mark.parametrize(("K", "C", "baseline", "options"), MODELS)
def test_em_never_lowers_the_map_objective(K, C, baseline, options):
    model = SoftmaxGLMHMM(K, C, 2, baseline_class_idx=baseline, **options)
    choices, inputs = draw_batch(K, C)
    params, props = model.initialize(jr.key(5))
    fitted, trace = model.fit_em(params, props, choices, inputs, num_iters=60, verbose=False)
    assert trace[-1] > trace[0]
    assert (np.diff(trace) >= -1e-11 * np.abs(trace[:-1])).all()

    total = sum(model.marginal_log_prob(params, y, x) for y, x in zip(choices, inputs, strict=True))
    np.testing.assert_allclose(trace[0], total + model.log_prior(params), rtol=1e-12)
    np.testing.assert_allclose(fitted.transitions.transition_matrix.sum(1), 1.0, rtol=1e-12)


@pytest.mark.parametrize(("K", "C", "baseline", "options"), MODELS)
def test_m_step_is_the_maximum_of_the_expected_objective(K, C, baseline, options):
    model = SoftmaxGLMHMM(K, C, 2, baseline_class_idx=baseline, **options)
    choices, inputs = map(jnp.asarray, draw_batch(K, C))
    params, props = model.initialize(jr.key(6))
    stats, _ = jax.jit(jax.vmap(lambda y, x: model.e_step(params, y, x)))(choices, inputs)
    new, _ = jax.jit(lambda p, s: model.m_step(p, props, s, (None, None, None)))(params, stats)

    @jax.jit
    def moved(step):  # in logits and weights, where nothing is constrained
        initial, matrix, weights = step
        return expected_objective(
            model,
            stats,
            new._replace(
                initial=new.initial._replace(
                    probs=jax.nn.softmax(jnp.log(new.initial.probs) + initial)
                ),
                transitions=new.transitions._replace(
                    transition_matrix=jax.nn.softmax(
                        jnp.log(new.transitions.transition_matrix) + matrix
                    )
                ),
                emissions=new.emissions._replace(weights=new.emissions.weights + weights),
            ),
        )

    nowhere = (jnp.zeros(K), jnp.zeros((K, K)), jnp.zeros((K, C - 1, 2)))
    for gradient in jax.jit(jax.grad(moved))(nowhere):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-8)
    for key in jr.split(jr.key(7), 5):
        step = [0.1 * jr.normal(k, s.shape) for k, s in zip(jr.split(key, 3), nowhere, strict=True)]
        assert moved(step) <= moved(nowhere) + 1e-9


def test_inputs_of_missing_choices_do_not_count_and_one_sequence_is_a_batch_of_one():
    choices, inputs = draw_batch(2, 3, S=1)
    model = SoftmaxGLMHMM(2, 3, 2)
    params, props = model.initialize(jr.key(3))
    batch = model.fit_em(params, props, choices, inputs, num_iters=4, verbose=False)
    assert (choices < 0).any()
    inputs[choices < 0] = 7.0
    one = model.fit_em(params, props, choices[0], inputs[0], num_iters=4, verbose=False)
    jax.tree.map(np.testing.assert_array_equal, one, batch)


@pytest.mark.parametrize("C", [2, 3])
def test_one_state_is_logistic_regression(C):
    choices, inputs = draw_batch(2, C, S=5, T=80)
    made = choices >= 0
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=1000)
    oracle.fit(inputs[made], choices[made])
    expected = oracle.predict_log_proba(inputs[made])[np.arange(made.sum()), choices[made]].sum()

    model = SoftmaxGLMHMM(1, C, 2, emission_prior_scale=np.inf, transition_concentration=1.0)
    params, props = model.initialize(jr.key(0))
    fitted, trace = model.fit_em(params, props, choices, inputs, num_iters=3, verbose=False)
    np.testing.assert_allclose(trace[-1], expected, rtol=1e-9)
    if C == 2:
        np.testing.assert_allclose(fitted.emissions.weights[0], oracle.coef_, atol=1e-5)


def test_fits_agree_for_every_baseline_class_without_a_prior():
    choices, inputs = draw_batch(2, 3)
    case, _, _ = draw_case(2, 3, 1, seed=9)
    full = np.insert(case.emission_weights, 0, 0.0, axis=1)
    traces = []
    for b in (0, 2):
        model = SoftmaxGLMHMM(2, 3, 2, baseline_class_idx=b, emission_prior_scale=np.inf)
        weights = np.delete(full - full[:, [b]], b, axis=1)
        params = model.params_from(case._replace(emission_weights=weights))
        traces.append(
            model.fit_em(params, model.props, choices, inputs, num_iters=20, verbose=False)[1]
        )
    np.testing.assert_allclose(traces[1], traces[0], rtol=1e-9)


def test_separable_choices_end_finite_without_a_prior():
    inputs = np.linspace(-1, 1, 30)[None, :, None]
    choices = (inputs[..., 0] > 0).astype(int)
    model = SoftmaxGLMHMM(1, 2, 1, emission_prior_scale=np.inf)
    params, props = model.initialize(jr.key(0))
    fitted, trace = model.fit_em(params, props, choices, inputs, num_iters=10, verbose=False)
    assert np.isfinite(fitted.emissions.weights).all()
    assert (np.diff(trace) >= 0).all()
    assert trace[-1] > -1e-6


def test_gradient_descent_climbs_and_starts_from_where_em_ends():
    choices, inputs = draw_batch(2, 2)
    model = SoftmaxGLMHMM(2, 2, 2)
    params, props = model.initialize(jr.key(1))
    _, losses = model.fit_sgd(params, props, choices[0], inputs[0], num_epochs=30)
    assert losses[-1] < losses[0]

    fitted, trace = model.fit_em(params, props, choices, inputs, num_iters=300, verbose=False)
    # EM ends in a corner when no session begins in a state; logits do not reach there.
    corner = fitted._replace(initial=fitted.initial._replace(probs=jnp.array([1.0, 0.0])))
    end, losses = model.fit_sgd(corner, props, choices, inputs, num_epochs=5, batch_size=4)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end))
    _, losses = model.fit_sgd(fitted, props, choices, inputs, num_epochs=1, batch_size=4)
    np.testing.assert_allclose(-losses[0] * choices.size, trace[-1], rtol=1e-6)


def test_what_is_not_trainable_stays():
    choices, inputs = draw_batch(2, 2)
    model = SoftmaxGLMHMM(2, 2, 2)
    params, props = model.initialize(jr.key(1))
    for part in ("initial", "transitions", "emissions"):
        (prop,) = getattr(props, part)
        prop.trainable = False
    fitted, _ = model.fit_em(params, props, choices, inputs, num_iters=2, verbose=False)
    jax.tree.map(np.testing.assert_array_equal, fitted, params)


def test_log_prior_is_a_normalised_density():
    case, _, _ = draw_case(3, 3, 1)
    scale = np.array([0.5, 4.0])
    model = SoftmaxGLMHMM(
        3, 3, 2, emission_prior_scale=scale, transition_concentration=2.5, stickiness=3.0
    )
    expected = stats.norm.logpdf(case.emission_weights, scale=scale).sum() + sum(
        stats.dirichlet.logpdf(row, 2.5 + 3.0 * np.eye(3)[k])
        for k, row in enumerate(case.transition_matrix)
    )
    given = model.log_prior(model.params_from(case))
    np.testing.assert_allclose(given, expected, rtol=1e-12)
    np.testing.assert_allclose(
        given, log_prior(case, make_prior(3, scale, 2.5, 3.0), all_free(case)), rtol=1e-14
    )


@pytest.mark.parametrize("K", [1, 3])
def test_no_prior_contributes_nothing(K):
    case, _, _ = draw_case(K, 3, 1)
    case = case._replace(transition_matrix=np.eye(K), initial_probs=np.eye(K)[0])
    model = SoftmaxGLMHMM(K, 3, 2, emission_prior_scale=np.inf, transition_concentration=1.0)
    assert model.log_prior(model.params_from(case)) == 0.0
    gradient = jax.grad(model.log_prior)(model.params_from(case))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0.0), gradient)


def test_without_counts_the_transitions_go_to_the_prior_mode():
    model = SoftmaxGLMHMM(3, 2, 1, transition_concentration=2.0, stickiness=7.0)
    params, props = model.initialize(jr.key(0))
    part = model.transition_component
    new, _ = part.m_step(params.transitions, props.transitions, jnp.zeros((1, 3, 3)), None)
    np.testing.assert_allclose(new.transition_matrix, (np.ones((3, 3)) + 7 * np.eye(3)) / 10)

    flat = SoftmaxGLMHMM(3, 2, 1, transition_concentration=1.0).transition_component
    counts = jnp.array([[[1.0, 3.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])
    new, _ = flat.m_step(params.transitions, props.transitions, counts, None)
    np.testing.assert_allclose(new.transition_matrix[0], [0.25, 0.75, 0.0])
    np.testing.assert_array_equal(new.transition_matrix[1], params.transitions.transition_matrix[1])


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        ((2, 2, 2), {"transition_concentration": 0.9}),
        ((2, 2, 2), {"stickiness": -1.0}),
        ((2, 2, 2), {"emission_prior_scale": 0.0}),
        ((2, 2, 2), {"emission_prior_scale": np.nan}),
        ((2, 2, 2), {"emission_prior_scale": (1.0, 2.0, 3.0)}),
        ((2, 3, 2), {"baseline_class_idx": 3}),
        ((2, 3, 2), {"baseline_class_idx": -1}),
        ((0, 2, 2), {}),
        ((2, 1, 2), {}),
        ((2, 2, 0), {}),
    ],
)
def test_numbers_that_make_no_model_are_refused(numbers, options):
    with pytest.raises(InputError):
        SoftmaxGLMHMM(*numbers, **options)


def fitted(case, X, **frozen):
    """The part of a fit that a model is made from."""
    specification = Specification(3, ("a", "b"), np.array([1.0, 3.0]), **frozen)
    return SimpleNamespace(
        num_states=2,
        X=X,
        baseline_class_idx=2,
        specification=specification,
        settings=FitSettings(transition_concentration=1.5),
        fitted_params=case,
    )


def test_a_fit_as_a_model():
    case, X, _ = draw_case(2, 3, 4)
    model = SoftmaxGLMHMM.from_fit(fitted(case, X))
    expected = log_prior(case, make_prior(2, np.array([1.0, 3.0]), 1.5, 0.0), all_free(case))
    params = model.params_from(case)
    np.testing.assert_allclose(model.log_prior(params), expected, rtol=1e-14)
    assert model.baseline_class_idx == 2
    for given, back in zip(case[:3], model.parameters_of(params), strict=False):
        np.testing.assert_array_equal(given, back)
    # Dynamax scans over parameters: they must have the type that M-steps give back.
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}


def test_what_a_fit_says_is_what_its_model_computes():
    choices, inputs = draw_batch(2, 3, S=5)
    fit = fit_glmhmm(
        choices.ravel(),
        inputs.reshape(-1, 2),
        np.repeat(np.arange(5), 60),
        num_states=2,
        num_classes=3,
        mask=choices.ravel() >= 0,
        baseline_class_idx=1,
        n_restarts=2,
    )
    params = fit.model.params_from(fit.fitted_params)
    smoothed = jax.jit(jax.vmap(lambda y, x: fit.model.smoother(params, y, x)))(
        jnp.asarray(choices), jnp.asarray(inputs)
    )
    total = smoothed.marginal_loglik.sum()
    np.testing.assert_allclose(total, fit.raw_log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(
        total + fit.model.log_prior(params), fit.objective_log_probability, rtol=1e-10
    )
    np.testing.assert_allclose(
        smoothed.smoothed_probs.reshape(-1, 2), fit.smoothed_state_probs, rtol=1e-8, atol=1e-12
    )
    again, _ = fit.model.fit_em(
        params, fit.model.props, choices, inputs, num_iters=1, verbose=False
    )
    for there, here in zip(fit.fitted_params[:3], fit.model.parameters_of(again)[:3], strict=True):
        np.testing.assert_allclose(here, there, atol=1e-4)


def test_drawn_parameters_are_reproducible_and_spread_as_the_prior():
    model = SoftmaxGLMHMM(2, 2, 3, emission_prior_scale=(10.0, 0.1, np.inf))
    draws = [model.initialize(jr.key(i))[0] for i in range(200)]
    jax.tree.map(np.testing.assert_array_equal, draws[3], model.initialize(jr.key(3))[0])
    spread = np.std([params.emissions.weights for params in draws], axis=(0, 1, 2))
    np.testing.assert_allclose(spread, [10.0, 0.1, 1.0], rtol=0.15)
    assert all(not np.array_equal(a[2], b[2]) for a, b in itertools.pairwise(draws))


def test_the_core_loads_without_dynamax():
    rooms = "glmhmm_core, glmhmm_core.model, glmhmm_core.fitting.result"
    rooms += ", glmhmm_core.simulation.ibl_files"
    code = f"import sys, {rooms}; sys.exit('dynamax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
