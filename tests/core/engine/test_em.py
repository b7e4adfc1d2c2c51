"""The climb: where it ends is an optimum, it never falls, and oracles end there too."""

import jax
import numpy as np
import pytest
from core.engine.climbs import (
    DRIVEN,
    FLAT,
    GLM,
    MAX_ITERS,
    SHAPE,
    TWO,
    WEAK,
    climb,
    climb_in,
    driven_priors,
    never_falls,
    start_of,
    trials_of,
)
from core.engine.laid_out import data_of, lanes_of, pack, padded, prior_of
from core.oracles import (
    by_recursion,
    draw_params,
    gradient,
    log_likelihood,
    numeric_gradient,
    params_at,
)
from core.textbook_em import Priors, log_prior, objective, textbook_em
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from glmhmm_core.engine.em import anew, maximize, maximize_together
from glmhmm_core.engine.expectation import prepare
from glmhmm_core.engine.lanes import hold_out
from glmhmm_core.engine.parameters import all_free

seeds = st.integers(0, 2**32 - 1)
PRIORS = {"weak": WEAK, "flat": FLAT, "sticky": Priors(np.array([10.0, np.inf]), 1.0, 8.0)}


def priors_for(case, priors):
    return driven_priors(priors) if case[2] else priors


def assert_same_fit(a, b):
    """Finished fits of one optimum: objective to 1e-8, the rest as well as that determines it."""
    assert a.converged
    assert b.converged
    np.testing.assert_allclose(a.trace[-1], b.trace[-1], rtol=1e-8)
    for x, y in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [GLM, TWO, DRIVEN])
@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS)
def test_it_ends_where_objective_and_gradient_say_so(case, priors):
    trials, priors = trials_of(case), priors_for(case, priors)
    fit = climb(trials, priors, start_of(case))
    assert fit.converged
    assert len(fit.trace) == fit.iterations + 1
    assert never_falls(fit.trace)
    np.testing.assert_allclose(fit.trace[-1], objective(fit.params, trials, priors), rtol=1e-12)
    np.testing.assert_allclose(fit.trace[0], objective(start_of(case), trials, priors), rtol=1e-12)
    assert np.abs(slope(fit.params, trials, priors)).max() < 1e-5


def slope(params, trials, priors):
    """Gradient of the MAP objective in the climb's coordinates, by the oracle."""
    theta = np.asarray(pack(params))
    steep = gradient(lambda t: log_likelihood(params_at(t, params), trials), theta)
    return steep + numeric_gradient(lambda t: log_prior(params_at(t, params), priors), theta)


@pytest.mark.parametrize(("priors", "seed"), [("weak", 0), ("flat", 1), ("sticky", 1)])
def test_textbook_em_ends_at_the_same_optimum(priors, seed):
    trials, start, priors = trials_of(TWO, seed), start_of(TWO, seed), PRIORS[priors]
    params, trace = textbook_em(start, trials, priors)
    fit = climb(trials, priors, start)
    np.testing.assert_allclose(fit.trace[-1], trace[-1], rtol=1e-8)
    ours, theirs = (by_recursion(p, trials).smoothed for p in (fit.params, params))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert int(fit.iterations) < len(trace) / 2


def test_textbook_em_ends_at_the_same_optimum_of_three_choices():
    """Frozen at 0, transition regressors leave a constant chain."""
    trials, start = trials_of(DRIVEN, 1), start_of(DRIVEN, 1)
    constant = start._replace(transition_weights=None)
    params, trace = textbook_em(constant, trials, WEAK)
    fit = climb(
        trials,
        driven_priors(WEAK),
        start,
        frozen_transitions=np.ones_like(start.transition_weights),
    )
    assert fit.converged
    assert not fit.params.transition_weights.any()
    np.testing.assert_allclose(fit.trace[-1], trace[-1], rtol=1e-8)
    fitted = fit.params._replace(transition_weights=None)
    ours, theirs = (by_recursion(p, trials).smoothed for p in (fitted, params))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@given(seed=seeds, spread=st.sampled_from([0.0, 1.0, 8.0]), priors=st.sampled_from([*PRIORS]))
@examples(max_examples=20)
def test_it_never_falls_from_wherever_it_starts(seed, spread, priors):
    start = draw_params(np.random.default_rng(seed), 2, 2, 2, spread=spread)
    fit = climb(trials_of(TWO), PRIORS[priors], start)
    assert never_falls(fit.trace)
    assert np.isfinite(fit.trace).all()
    np.testing.assert_allclose(
        fit.trace[-1], objective(fit.params, trials_of(TWO), PRIORS[priors]), rtol=1e-10
    )


def test_it_never_falls_even_where_rounding_is_all_that_is_left():
    fit = climb(trials_of(TWO), WEAK, start_of(TWO), tol=1e-300, gradient_tol=0.0)
    assert not fit.converged
    assert never_falls(fit.trace)
    finished = climb(trials_of(TWO), WEAK, start_of(TWO))
    np.testing.assert_allclose(fit.trace[-1], finished.trace[-1], rtol=1e-12)


def test_from_its_own_end_it_goes_no_further():
    first = climb(trials_of(TWO), WEAK, start_of(TWO))
    again = climb(trials_of(TWO), WEAK, first.params)
    assert again.converged
    assert again.iterations <= 3
    assert_same_fit(again, first)


@pytest.mark.parametrize("case", [TWO, DRIVEN])
def test_frozen_weights_stay_to_the_bit_and_the_others_find_their_optimum(case):
    trials, priors, start = trials_of(case), priors_for(case, WEAK), start_of(case)
    frozen = np.zeros_like(start.emission_weights)
    frozen[1, 0] = 1
    held = None
    if case[2]:
        held = np.zeros_like(start.transition_weights)
        held[0, :, 1] = 1
        start.transition_weights[0, :, 1] = 0.25
    fit = climb(trials, priors, start, frozen, held)
    assert fit.converged
    np.testing.assert_array_equal(
        fit.params.emission_weights[frozen > 0], start.emission_weights[frozen > 0]
    )
    masks = {"frozen": frozen > 0}
    if held is not None:
        assert np.all(fit.params.transition_weights[0, :, 1] == 0.25)
        masks["frozen_transitions"] = held > 0
    truth = objective(fit.params, trials, priors, **masks)
    np.testing.assert_allclose(fit.trace[-1], truth, rtol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(40):
        jolt = 1e-3 * rng.normal(size=frozen.shape) * (1 - frozen)
        near = fit.params._replace(emission_weights=fit.params.emission_weights + jolt)
        assert objective(near, trials, priors, **masks) < truth


@pytest.mark.parametrize("out", [["s3"], ["s0", "s9"], [f"s{i}" for i in range(1, 10)]])
def test_without_held_out_sessions_it_is_the_fit_of_the_others(out):
    trials, start = trials_of(TWO), start_of(TWO)
    lanes, layout = lanes_of(trials)
    held_out = np.isin(trials.session_ids, out)
    data = prepare(padded(hold_out(lanes, layout, held_out), SHAPE))
    fit = climb_in(data, WEAK, start, all_free(start))
    kept = trials.rows(np.flatnonzero(~held_out))
    alone = climb(kept, WEAK, start)
    assert_same_fit(fit, alone)
    np.testing.assert_allclose(fit.trace[-1], objective(fit.params, kept, WEAK), rtol=1e-12)


def test_order_of_sessions_changes_nothing():
    trials, start = trials_of(DRIVEN), start_of(DRIVEN)
    sessions = trials.sessions
    order = np.random.default_rng(0).permutation(len(sessions))
    shuffled = trials.rows(np.concatenate([sessions[i] for i in order]))
    fits = [climb(t, driven_priors(WEAK), start) for t in (trials, shuffled)]
    assert_same_fit(*fits)


def test_climbs_in_step_end_where_climbs_alone_do():
    trials = trials_of(TWO)
    starts = [start_of(TWO, seed, 1.0) for seed in range(3)]
    stacked = jax.tree.map(lambda *parts: np.stack(parts), *starts)
    begun = jax.tree.map(lambda *parts: np.stack(parts), *map(anew, starts))
    together = maximize_together(
        stacked,
        data_of(trials, SHAPE),
        prior_of(WEAK, 2),
        all_free(starts[0]),
        1e-9,
        1e-6,
        begun,
        max_iters=1000,
    )
    for i, start in enumerate(starts):
        alone = climb(trials, WEAK, start)
        end = np.asarray(together.trace[i])[int(together.iterations[i])]
        assert together.converged[i]
        np.testing.assert_allclose(end, alone.trace[-1], rtol=1e-8)
        np.testing.assert_allclose(
            together.params.emission_weights[i], alone.params.emission_weights, atol=1e-4
        )


@pytest.mark.parametrize("case", [TWO, DRIVEN])
@pytest.mark.parametrize("rough", [1e-2, 1e-4, 1e-6])
def test_an_interrupted_climb_goes_on_as_if_it_had_not_been(case, rough):
    trials, start = trials_of(case), start_of(case, 1, 1.0)
    priors = driven_priors(WEAK) if start.transition_weights is not None else WEAK
    given = (data_of(trials, SHAPE), prior_of(priors, 2), all_free(start))
    whole = maximize(start, *given, 1e-9, max_iters=MAX_ITERS)
    first = maximize(start, *given, rough, np.inf, max_iters=MAX_ITERS)
    rest = maximize(first.params, *given, 1e-9, 1e-6, first.begun, max_iters=MAX_ITERS)
    done, end = int(first.iterations), int(whole.iterations)
    assert 0 < done < end == int(rest.iterations)
    assert np.isnan(rest.trace[: done + 1]).all()
    trace = np.concatenate([first.trace[: done + 1], rest.trace[done + 1 : end + 1]])
    np.testing.assert_array_equal(trace, whole.trace[: end + 1])
    for a, b in zip(jax.tree.leaves(rest.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_iterations_before_an_interruption_count():
    trials, start = trials_of(TWO), start_of(TWO, 1, 1.0)
    given = (data_of(trials, SHAPE), prior_of(WEAK, 2), all_free(start))
    first = maximize(start, *given, 1e-3, np.inf, max_iters=MAX_ITERS)
    spent = first.begun._replace(iterations=np.asarray(MAX_ITERS - 2))
    rest = maximize(first.params, *given, 0.0, 0.0, spent, max_iters=MAX_ITERS)
    assert int(rest.iterations) == MAX_ITERS
    assert not rest.converged
