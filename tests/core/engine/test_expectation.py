"""The E-step's objective, expected counts, gradient, EM step and metric, against the oracles."""

import jax
import numpy as np
import pytest
from core.engine.laid_out import TINY, data_of, evaluate, lanes_of, pack, padded, prior_of, unpack
from core.oracles import (
    by_enumeration,
    by_recursion,
    class_probs,
    draw_params,
    draw_trials,
    gradient,
    log_likelihood,
    numeric_gradient,
    params_at,
    transition_probs,
)
from core.textbook_em import Priors, log_prior, weights_mode
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from glmhmm_core.engine.expectation import prepare
from glmhmm_core.engine.lanes import hold_out
from glmhmm_core.engine.messages import choice_probs, forward, likelihoods
from glmhmm_core.engine.parameters import Free, Parameters, all_free
from glmhmm_core.engine.parameters import log_prior as engine_log_prior
from glmhmm_core.engine.transitions import LARGEST, transition_matrices

CASES = [(1, 2, 0), (2, 2, 0), (3, 3, 0), (2, 3, 2), (3, 2, 1)]
LENGTHS = (6, 1, 4, 2, 5)
#: Of the two regressors of the choice: both proper, one without a prior; with transition priors.
PRIORS = {
    "proper": Priors(np.array([2.0, 0.5]), 2.0, 0.0),
    "sticky": Priors(np.array([10.0, 3.0]), 1.0, 4.0),
    "half": Priors(np.array([np.inf, 1.5]), 1.5, 1.0),
    "none": Priors(np.array([np.inf, np.inf])),
}


class Case:
    """Parameters, trials, priors and frozen weights, for the oracles and for the engine."""

    def __init__(self, case, seed, priors, frozen=False, lengths=LENGTHS):
        K, C, D = case
        rng = np.random.default_rng(seed)
        self.params = draw_params(rng, K, C, 2, D)
        self.trials = draw_trials(rng, lengths, C, 2, D, baseline=int(rng.integers(C)))
        scale = np.array([1.5, np.inf])[:D]
        self.priors = Priors(priors.emission_scale, priors.concentration, priors.stickiness, scale)
        shapes = [self.params.emission_weights.shape, (K, K - 1, D)]
        self.frozen = [rng.random(shape) < (0.4 if frozen else 0) for shape in shapes]
        self.free = Free(1.0 - self.frozen[0], 1.0 - self.frozen[1] if D else None)
        self.prior = prior_of(self.priors, K)

    def evaluate(self):
        """The engine's E-step, gradient, EM step and metric."""
        return evaluate(self.params, data_of(self.trials, TINY), self.prior, self.free)

    def log_prior(self, params):
        return log_prior(params, self.priors, *self.frozen)


def every(test):
    test = pytest.mark.parametrize("case", CASES)(test)
    test = pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS)(test)
    return pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])(test)


@every
def test_objective_and_counts_are_those_of_all_paths(case, priors, frozen):
    c = Case(case, 1, priors, frozen)
    truth, e = by_enumeration(c.params, c.trials), c.evaluate()[0]
    np.testing.assert_allclose(e.log_likelihood, truth.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(
        e.objective, truth.log_likelihood + c.log_prior(c.params), rtol=1e-10
    )
    np.testing.assert_allclose(e.initial_counts, truth.initial, rtol=1e-9)
    np.testing.assert_allclose(e.transition_counts, truth.transitions.sum(0), rtol=1e-9)


@every
def test_gradient_is_that_of_the_marginal_objective(case, priors, frozen):
    """Fisher's identity: catches messages shifted by one trial, wrong counts, wrong priors."""
    c = Case(case, 2, priors, frozen)
    theta = np.asarray(pack(c.params))
    found = c.evaluate()[1]
    truth = gradient(lambda t: log_likelihood(params_at(t, c.params), c.trials), theta)
    truth += numeric_gradient(lambda t: c.log_prior(params_at(t, c.params)), theta)
    np.testing.assert_allclose(found, truth * fitted(c), rtol=1e-7, atol=2e-8)


def fitted(c):
    """1 for every coordinate that is fitted."""
    K = len(c.params.initial_probs)
    chain = np.ones((K, K - 1, 1))
    if c.free.transition is not None:
        chain = np.concatenate([chain, c.free.transition], 2)
    return np.concatenate([np.ones(K), chain.ravel(), c.free.emission.ravel()])


@pytest.mark.parametrize("case", CASES)
def test_gradient_of_the_likelihood_alone_is_exact(case):
    c = Case(case, 3, PRIORS["none"])
    theta = np.asarray(pack(c.params))
    found = c.evaluate()[1]
    truth = gradient(lambda t: log_likelihood(params_at(t, c.params), c.trials), theta)
    if case[2]:  # the prior on the transition weights
        truth += numeric_gradient(lambda t: c.log_prior(params_at(t, c.params)), theta)
    np.testing.assert_allclose(found, truth, rtol=1e-9, atol=1e-9 if case[2] else 1e-13)


def test_gradient_is_what_autodiff_finds_through_the_forward_messages():
    c = Case((3, 2, 1), 4, PRIORS["sticky"], frozen=True)
    lanes = lanes_of(c.trials, TINY)[0]

    @jax.jit
    @jax.grad
    def slope(theta):
        params = unpack(theta, c.params)
        lik = likelihoods(choice_probs(params.emission_weights, lanes.X), lanes.y)
        matrix = transition_matrices(params, lanes.U)
        scale = forward(params.initial_probs, matrix, lik, lanes.reset).scale
        return jax.numpy.log(scale).sum() + engine_log_prior(params, c.prior, c.free)

    found = c.evaluate()[1]
    truth = np.asarray(slope(pack(c.params))) * fitted(c)
    np.testing.assert_allclose(found, truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("priors", "frozen"), [("proper", False), ("half", True)])
def test_metric_is_the_inverse_of_the_complete_data_information(case, priors, frozen):
    """Minus the second differences of Q, EM's expected complete-data objective."""
    c = Case(case, 5, PRIORS[priors], frozen)
    K = len(c.params.initial_probs)
    theta, free = np.asarray(pack(c.params)), fitted(c).astype(bool)
    metric = c.evaluate()[3]
    information = -hessian_of_q(c, theta)
    # The initial law has one coordinate too many, so it is looked at apart.
    free[:K] = False
    inverse = np.linalg.inv(information[np.ix_(free, free)])
    largest = np.abs(inverse).max()
    np.testing.assert_allclose(metric[np.ix_(free, free)], inverse, rtol=1e-5, atol=1e-6 * largest)
    frozen_ones = ~free
    frozen_ones[:K] = False
    assert not np.asarray(metric)[frozen_ones].any()

    initial = metric[:K, :K]
    sessions = len(c.trials.sessions)
    full = sessions * (np.diag(c.params.initial_probs) - np.outer(*[c.params.initial_probs] * 2))
    np.testing.assert_allclose(full @ initial @ full, full, rtol=1e-10, atol=1e-12)


def hessian_of_q(c, theta):
    e = by_recursion(c.params, c.trials)
    counted = e.smoothed * c.trials.mask[:, None]
    own = np.arange(len(c.trials.y)), slice(None), np.maximum(c.trials.y, 0)
    moves = e.transitions.sum((1, 2)) > 0
    K = len(c.params.initial_probs)

    def q(t):
        params = params_at(t, c.params)
        log_chain = np.log(transition_probs(params, c.trials.U))[moves]
        return (
            (counted * np.log(class_probs(params, c.trials)[own])).sum()
            + (e.transitions[moves] * log_chain).sum()
            + (c.priors.counts(K) * np.log(params.transition_matrix)).sum()
            - 0.5 * (params.emission_weights**2 / c.priors.emission_scale**2).sum()
            - (
                0.5 * (params.transition_weights**2 / c.priors.transition_scale**2).sum()
                if params.transition_weights is not None
                else 0.0
            )
        )

    h = 1e-5
    columns = [gradient(q, theta + s) - gradient(q, theta - s) for s in h * np.eye(len(theta))]
    return np.array(columns) / (2 * h)


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS)
def test_em_step_leads_to_the_mode_of_the_expected_counts(priors):
    c = Case((3, 3, 0), 6, priors)
    truth = by_enumeration(c.params, c.trials)
    step = c.evaluate()[2]
    moved = unpack(pack(c.params) + step, c.params)
    np.testing.assert_allclose(moved.initial_probs, truth.initial / truth.initial.sum(), rtol=1e-9)
    counts = truth.transitions.sum(0) + c.priors.counts(3)
    mode = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(moved.transition_matrix, mode, rtol=1e-9, atol=1e-14)


def test_newton_steps_of_the_emissions_lead_to_their_mode():
    """With one state EM's step is Newton's, so a few of them must agree with the oracle."""
    c = Case((1, 2, 0), 7, PRIORS["proper"])
    c.params = c.params._replace(emission_weights=np.zeros((1, 1, 2)))
    for _ in range(12):
        c.params = unpack(pack(c.params) + c.evaluate()[2], c.params)
    mode = weights_mode(
        np.zeros((1, 2)), np.ones(len(c.trials.y)), c.trials, c.priors.emission_scale
    )
    np.testing.assert_allclose(c.params.emission_weights[0], mode, rtol=1e-10)


@pytest.mark.parametrize("case", [(2, 2, 0), (2, 3, 2)])
def test_without_transitions_the_chain_goes_to_the_mode_of_the_prior(case):
    c = Case(case, 8, PRIORS["half"], lengths=(1, 1, 1, 1))
    for _ in range(12):
        e, _, step, _ = c.evaluate()
        np.testing.assert_array_equal(e.transition_counts, 0)
        c.params = unpack(pack(c.params) + step, c.params)
    counts = c.priors.counts(2)
    np.testing.assert_allclose(
        c.params.transition_matrix, counts / counts.sum(1, keepdims=True), rtol=1e-10
    )
    if case[2]:  # of the two regressors of the chain the first has a prior
        np.testing.assert_allclose(c.params.transition_weights[:, :, 0], 0, atol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), out=st.sets(st.integers(0, 4), max_size=4))
@examples(max_examples=25)
def test_holding_out_sessions_leaves_what_the_others_say(seed, out):
    c = Case((2, 3, 2), seed, PRIORS["half"], frozen=True)
    lanes, layout = lanes_of(c.trials)
    held_out = np.isin(c.trials.session_ids, [f"s{i}" for i in out])
    data = prepare(padded(hold_out(lanes, layout, held_out), TINY))
    without = evaluate(c.params, data, c.prior, c.free)
    alone = data_of(c.trials.rows(np.flatnonzero(~held_out)), TINY)
    truth = evaluate(c.params, alone, c.prior, c.free)
    for a, b in zip(jax.tree.leaves(without), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@examples(max_examples=15)
def test_statistics_do_not_depend_on_the_order_of_sessions_or_on_company(seed):
    c = Case((3, 2, 1), seed, PRIORS["none"])
    before = c.evaluate()
    sessions = c.trials.sessions
    order = np.random.default_rng(seed).permutation(len(sessions))
    c.trials = c.trials.rows(np.concatenate([sessions[i] for i in order]))
    for a, b in zip(jax.tree.leaves(c.evaluate()), jax.tree.leaves(before), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_coordinates_lead_back_to_the_parameters(case):
    params = Case(case, 9, PRIORS["none"]).params
    theta = pack(params)
    for here in (unpack(theta, params), params_at(np.asarray(theta), params)):
        for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_coordinates_far_out_stay_probabilities():
    params = Case((3, 2, 1), 10, PRIORS["none"]).params
    theta = np.asarray(pack(params)).copy()
    theta[:9] = [0, -1e6, 1e6, 1e6, -1e6, 0, 0, 500, -500]
    far = unpack(theta, params)
    for probs in (far.initial_probs, far.transition_matrix):
        assert np.isfinite(probs).all()
        np.testing.assert_allclose(np.asarray(probs).sum(-1), 1.0, rtol=1e-14)
        assert np.asarray(probs).min() > np.exp(-3 * LARGEST)


def test_everything_is_free_unless_frozen():
    params = Parameters(np.ones(2) / 2, np.ones((2, 2)) / 2, np.ones((2, 1, 3)), np.ones((2, 1, 1)))
    free = all_free(params)
    assert free.emission.shape == (2, 1, 3)
    assert free.transition.shape == (2, 1, 1)
    assert free.emission.all()
    assert free.transition.all()


@pytest.mark.parametrize("case", [(3, 2, 0), (2, 3, 2)])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_blocks_of_lanes_change_nothing(case, width, monkeypatch):
    c = Case(case, 4, PRIORS["half"])
    whole = c.evaluate()
    monkeypatch.setattr("glmhmm_core.engine.lanes.WIDTH", width)
    blocked = c.evaluate()
    assert data_of(c.trials, TINY).lanes.reset.shape[0] > 1
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(blocked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
