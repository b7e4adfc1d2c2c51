"""Which state is which: assignments that are known, invariances, and doubts that must be told."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from core.fitting.fitted import driven, two
from core.oracles import Trials, by_recursion, draw_params, draw_trials
from core.synthetic_fits import IBL, make_fit, permuted, simpler, simulate
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.states.matching import MATCH_SCHEMA, SHARES, assign, match_states, reorder

TRIALS, TRUTH = simulate(IBL, 12, 90, seed=1)
FIT = make_fit(TRIALS, IBL, n_folds=0, n_restarts=1)


def moved(weights=0.0, seed=0):
    """A subject's fit around the pooled one."""
    rng = np.random.default_rng(seed)
    near = IBL.emission_weights + weights * rng.normal(size=IBL.emission_weights.shape)
    return IBL._replace(emission_weights=near)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_states_are_found_whatever_their_numbers(order):
    other = make_fit(TRIALS, permuted(moved(0.3), list(order)), n_folds=0, n_restarts=1)
    match = match_states(other, FIT)
    assert match.reference.tolist() == list(order)
    assert [order[k] for k in match.order] == [0, 1, 2]
    assert not match.ambiguous
    assert match.reason == ""
    assert match.margin > 0.5
    straight = match_states(make_fit(TRIALS, moved(0.3), n_folds=0, n_restarts=1), FIT)
    assert match.total == pytest.approx(straight.total)
    np.testing.assert_allclose(match.margins, straight.margins[list(order)])


def test_a_fit_is_itself():
    match = match_states(FIT, FIT)
    assert match.total == pytest.approx(0, abs=1e-9)
    assert match.reference.tolist() == [0, 1, 2]


def test_parts_are_those_of_the_formulas():
    other = make_fit(TRIALS, moved(0.5, 2), n_folds=0, n_restarts=1)
    costs = match_states(other, FIT).costs
    laws = [
        1 / (1 + np.exp(-FIT.X @ w[:, 0].T))
        for w in (other.fitted_params.emission_weights, IBL.emission_weights)
    ]
    gammas = other.smoothed_state_probs, FIT.smoothed_state_probs
    stays = np.diag(IBL.transition_matrix)
    for k in range(3):
        for j in range(3):
            p, q = gammas[0][:, k], gammas[1][:, j]
            choices = np.abs(laws[0][:, k] - laws[1][:, j]).mean()
            overlap = 1 - np.minimum(p, q).sum() / np.maximum(p, q).sum()
            dwells = sorted([1 / (1 - stays[k]), 1 / (1 - stays[j])])
            expected = {
                "choices": choices,
                "posterior": overlap,
                "dwell": 1 - dwells[0] / dwells[1],
            }
            for name, value in expected.items():
                assert costs[name][k, j] == pytest.approx(value), name
            total = sum(SHARES[name] * value for name, value in expected.items())
            assert costs["total"][k, j] == pytest.approx(total)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000))
def test_assignment_and_margins_are_the_best_of_all(k, j, seed):
    cost = np.random.default_rng(seed).random((k, j))
    match = assign(dict.fromkeys(SHARES, cost))
    size = max(k, j)
    square = np.zeros((size, size))
    square[:k, :j] = cost
    totals = {}
    for order in permutations(range(size)):
        # References that there are not are all the same: none.
        key = tuple(c if c < j else -1 for c in order[:k])
        totals[key] = min(totals.get(key, np.inf), square[range(size), order].sum())
    best = min(totals, key=totals.get)
    assert tuple(match.reference) == best
    assert match.total == pytest.approx(totals[best])
    for state in range(k):
        other = [t for key, t in totals.items() if key[state] != best[state]]
        if other:
            assert match.margins[state] == pytest.approx(min(other) - totals[best])
        else:
            assert match.margins[state] == np.inf


def test_states_that_are_alike_are_ambiguous():
    # Two engaged states, as some mice have: neither is the reference's biased left one.
    weights = IBL.emission_weights.copy()
    weights[1] = weights[0] + [[0, 0.1, 0, 0]]
    matrix = np.full((3, 3), 0.02) + np.eye(3) * 0.94
    match = match_states(
        make_fit(TRIALS, Parameters(IBL.initial_probs, matrix, weights), n_folds=0, n_restarts=1),
        FIT,
    )
    assert match.ambiguous
    assert match.margins[[0, 1]].max() < 0.25
    assert "Another assignment" in match.reason


def test_a_state_that_the_reference_has_not_is_told():
    # The second state alternates; the reference has no such state.
    weights = IBL.emission_weights.copy()
    weights[1] = [[-3.0, 4.0, -4.0, 0.0]]
    matrix = IBL.transition_matrix.copy()
    matrix[1] = [0.4, 0.3, 0.3]
    other = make_fit(
        TRIALS, Parameters(IBL.initial_probs, matrix, weights), n_folds=0, n_restarts=1
    )
    match = match_states(other, FIT)
    assert match.ambiguous
    assert "State 1 is unlike" in match.reason


def test_another_number_of_states_is_ambiguous_and_matches_what_it_can():
    more = simpler(IBL, 4)
    match = match_states(make_fit(TRIALS, more, n_folds=0, n_restarts=1), FIT)
    assert match.ambiguous
    assert "4 states are matched to 3" in match.reason
    assert sorted(match.reference.tolist()) == [-1, 0, 1, 2]
    table = match.table()
    assert dict(table.schema) == MATCH_SCHEMA
    assert table["reference_idx"].null_count() == 1
    fewer = match_states(FIT, make_fit(TRIALS, more, n_folds=0, n_restarts=1))
    assert (fewer.reference >= 0).all()
    assert len(set(fewer.reference.tolist())) == 3


def test_one_state_has_no_other_assignment():
    glm = make_fit(TRIALS, simpler(IBL, 1), n_folds=0, n_restarts=1)
    match = match_states(glm, glm)
    assert match.margin == np.inf
    assert not match.ambiguous
    assert match.table()["margin"].to_list() == [None]


def test_units_of_a_regressor_do_not_matter():
    scale = np.array([0.01, 1, 1, 1])
    other = make_fit(TRIALS, moved(0.5, 2), n_folds=0, n_restarts=1)
    rescaled = [
        replace(
            one,
            X=one.X * scale,
            fitted_params=one.fitted_params._replace(
                emission_weights=one.fitted_params.emission_weights / scale
            ),
        )
        for one in (other, FIT)
    ]
    np.testing.assert_allclose(
        match_states(*rescaled).costs["total"], match_states(other, FIT).costs["total"]
    )


@pytest.mark.parametrize("fitted", [two, driven])
def test_fits_of_the_engine_are_matched(fitted):
    result = fitted()
    turned = replace(result, fitted_params=reorder(result.fitted_params, [1, 0]))
    match = match_states(turned, result)
    assert match.reference.tolist() == [1, 0]
    assert match.total == pytest.approx(0, abs=1e-9)


def test_designs_that_differ_are_refused():
    with pytest.raises(InputError, match="num_classes"):
        match_states(driven(), two())


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_states_numbered_otherwise_are_the_same_model(order):
    rng = np.random.default_rng(0)
    params = draw_params(rng, 3, 3, 2, 2)
    trials = draw_trials(rng, [6, 4], 3, 2, 2)
    assert isinstance(trials, Trials)
    before, after = by_recursion(params, trials), by_recursion(reorder(params, order), trials)
    assert after.log_likelihood == pytest.approx(before.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(after.smoothed, before.smoothed[:, order])
