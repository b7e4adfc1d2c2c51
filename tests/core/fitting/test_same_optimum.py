"""Restarts that wait for another's end: the same optimum as by climbing there themselves."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from core.engine.climbs import MAX_ITERS, TWO, trials_of
from core.fitting.fitted import NAMES, fit
from core.oracles import draw_params

from glmhmm_core.engine.coordinates import pack, unpack
from glmhmm_core.engine.em import Point, anew
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.fitting import same_optimum
from glmhmm_core.fitting.climb import Climb, Training
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.same_optimum import REACH, leads_to, order_of, reordered, whose_end
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification

PLENTY = 10


def permuted(params, order):
    """The same model, its states in another order, entry by entry."""
    K = len(order)
    driven = params.transition_weights
    if driven is not None:
        moved = np.zeros_like(driven)
        for i in range(K):
            for j in range(K):
                if i != j:
                    from_, to = others(K)[order[i]].tolist(), others(K)[i].tolist()
                    moved[i, to.index(j)] = driven[order[i], from_.index(order[j])]
        driven = moved
    return Parameters(
        params.initial_probs[order],
        params.transition_matrix[np.ix_(order, order)],
        params.emission_weights[order],
        driven,
    )


@pytest.mark.parametrize("D", [0, 2])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
def test_coordinates_in_another_order_are_those_of_the_states_in_it(D, order):
    params = draw_params(np.random.default_rng(D), 3, 3, 2, D)
    theirs = permuted(params, np.array(order))
    theta = np.asarray(pack(params))
    np.testing.assert_allclose(reordered(theta, np.array(order), params), pack(theirs), atol=1e-12)
    np.testing.assert_array_equal(order_of(params, theirs, np.ones(2)), order)


def points(third=0.0, size=1.0):
    """A point and the maximum of a quadratic, or of one with a third power, in coordinates."""
    like = draw_params(np.random.default_rng(0), 2, 2, 2)
    top = np.asarray(pack(like))
    rng = np.random.default_rng(1)
    root, away = rng.normal(size=(top.size, top.size)), rng.normal(size=top.size)
    metric = root @ root.T
    away *= np.sqrt(size / (away @ metric @ away))
    # -x'Ax/2 + t (x'Ax)^1.5 with x the way from the top
    length = np.sqrt(away @ metric @ away)
    objective = -(length**2) / 2 + third * length**3
    gradient = -metric @ away * (1 - 3 * third * length)
    nothing = np.zeros(top.size)
    here = Point(top + away, objective, gradient, nothing, metric)
    return here, Point(top, 0.0, nothing, nothing, metric), like


def test_a_quadratic_leads_to_its_maximum_and_no_further_than_is_safe():
    order = np.arange(2)
    assert leads_to(*points()[:2], order, points()[2])
    here, top, like = points(size=2 * REACH * 1.01)
    assert not leads_to(here, top, order, like)
    here, top, like = points(size=2 * REACH * 0.99)
    assert leads_to(here, top, order, like)
    assert not leads_to(top, here, order, like)  # nothing leads down
    assert not leads_to(here, top, order[::-1], like)  # to the same states in another order


@pytest.mark.parametrize("third", [-0.2, 0.2])
def test_what_rises_otherwise_may_lead_elsewhere(third):
    here, top, like = points(third)
    assert not leads_to(here, top, np.arange(2), like)


def test_states_with_weights_of_their_own_are_not_exchanged():
    here, top, like = points()
    order = np.array([1, 0])
    swapped = permuted(like, order)
    ends = top._replace(theta=reordered(top.theta, order, like))
    at = unpack(here.theta, like)
    climbs = [
        Climb(params, np.zeros(1), anew(like)._replace(point=point), True)
        for params, point in ((at, here), (swapped, ends))
    ]
    plain = Specification(2, NAMES, np.full(2, 2.0))
    for frozen, end in (({}, 0), ({0: {"bias": 0.0}}, None)):
        model = replace(plain, frozen_emissions=frozen)
        training = SimpleNamespace(specification=model, units=np.ones(2))
        assert whose_end(climbs[0], climbs[1:], training) == end


def test_a_start_that_was_given_keeps_the_order_of_its_states():
    trials = trials_of(TWO)
    problem = Problem(trials.X, trials.U, trials.y, trials.mask, trials.session_ids, 2, 0)
    settings = FitSettings(n_restarts=PLENTY, max_iters=MAX_ITERS)
    model = Specification(2, NAMES, np.full(2, 2.0))
    training = Training(problem.data(), model, settings, "", None)
    optimum = fit(trials).fitted_params
    for order in ([0, 1], [1, 0]):
        given = permuted(optimum, np.array(order))
        start = given._replace(emission_weights=given.emission_weights + 0.3)
        first, *_ = climb_all(training, 2, training.glm(), [start], map, lambda _: None)
        np.testing.assert_allclose(first.params.emission_weights, given.emission_weights, atol=1e-4)


def test_those_that_wait_end_where_they_would_have_climbed_to(monkeypatch):
    trials = trials_of(TWO)
    together = fit(trials, n_restarts=PLENTY)
    monkeypatch.setattr(same_optimum, "REACH", -1.0)  # none is seen to lead anywhere
    alone = fit(trials, n_restarts=PLENTY)
    assert together.restart_converged.sum() >= alone.restart_converged.sum() > PLENTY / 2
    both = together.restart_converged & alone.restart_converged
    np.testing.assert_allclose(
        together.restart_objectives[both], alone.restart_objectives[both], rtol=1e-8
    )
    assert together.restart_iterations.sum() < 0.9 * alone.restart_iterations.sum()
    assert together.objective_log_probability == pytest.approx(
        alone.objective_log_probability, rel=1e-9
    )
