"""Dwells of states: by hand, against the truth of simulations, and without false alarms."""

import numpy as np
import pytest
from core.synthetic_fits import IBL, make_fit, simulate

from glmhmm_core.comparison.dwells import dwells, survival
from glmhmm_core.fitting.decode import most_likely_states
from glmhmm_core.fitting.refit import problem_of

#: Sessions of a path of states 0 and 1, and another path that is never in 1.
FIRST, SECOND = [0] * 6 + [1] * 3 + [0] * 2, [1, 0, 0, 0, 1]
PATHS = np.array([FIRST + SECOND, [0] * 16])
SESSIONS = np.repeat([0, 1], [11, 5])


def test_dwells_of_known_paths_with_those_that_sessions_cut_off():
    # Of the first path, state 0: 6 (left), 2 (cut off), 3 (left). State 1: 3, 1 (left), 1 (cut).
    lasting, at_risk = survival(PATHS, SESSIONS, 0)
    assert at_risk[0].tolist() == [3, 3, 2, 1, 1, 1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(lasting[0], [1, 1, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0, 0])
    # Of the second: 11 and 5, both cut off.
    assert at_risk[1].tolist() == [2] * 5 + [1] * 6
    np.testing.assert_allclose(lasting[1], 1)
    one, risk = survival(PATHS, SESSIONS, 1)
    np.testing.assert_allclose(one[0], [2 / 3, 2 / 3, 0])
    assert risk[1].tolist() == [0, 0, 0]
    assert np.isnan(one[1]).all()


def test_rows_may_stand_in_any_order():
    order = np.argsort(np.random.default_rng(0).permutation(16) % 2, kind="stable")
    mixed = survival(PATHS[:, order], SESSIONS[order], 0)
    sorted_by = np.argsort(SESSIONS[order], kind="stable")
    plain = survival(PATHS[:, order][:, sorted_by], SESSIONS[order][sorted_by], 0)
    for a, b in zip(mixed, plain, strict=True):
        np.testing.assert_array_equal(a, b)


#: Data sets that the model makes itself, and trials at which dwells are held against it.
DATA_SETS, AT = 24, (5, 15, 40)


@pytest.fixture(scope="module")
def of_correct_models():
    """Dwells of data sets under the very parameters that made them, with true and decoded ones."""
    made = []
    for seed in range(DATA_SETS):
        trials, truth = simulate(IBL, 20, 90, seed=1000 + seed, missing=0)
        fit = make_fit(trials, IBL, n_folds=0, n_restarts=1)
        sessions = problem_of(fit).session_index
        others = truth[None], most_likely_states(fit)[None]
        made.append((dwells(fit), *([survival(p, sessions, k) for k in range(3)] for p in others)))
    return made


def test_a_correct_model_is_accused_at_the_nominal_rate_and_decoded_paths_would_accuse_it(
    of_correct_models,
):
    outside, means, decoded = [], [], []
    for found, _, most_probable in of_correct_models:
        for one, (path, _) in zip(found, most_probable, strict=True):
            for d in (d - 1 for d in AT if d <= len(one.lasting) and one.at_risk[d - 1] >= 5):
                low, high = one.predicted_lower[d], one.predicted_upper[d]
                outside.append(one.outside[d])
                means.append(not low <= one.lasting[d] <= high)
                decoded.append(not low <= path[0, d] <= high)
    error = np.std(outside) / np.sqrt(DATA_SETS)
    assert abs(np.mean(outside) - 0.05) < 3 * error
    assert np.mean(means) <= np.mean(outside)
    assert np.mean(decoded) > 0.5


def test_what_is_seen_is_on_the_average_what_was_true(of_correct_models):
    for k in range(3):
        for d in (5, 15):
            pairs = [
                (found[k].lasting[d - 1], true[k][0][0, d - 1])
                for found, true, _ in of_correct_models
                if d <= min(len(found[k].lasting), true[k][0].shape[1])
            ]
            seen, true = np.mean(pairs, axis=0)
            error = np.std(np.diff(pairs, axis=1)) / np.sqrt(len(pairs))
            assert abs(seen - true) < 4 * error + 0.01


def test_a_chain_that_is_not_geometric_is_accused():
    # Every dwell lasts 12 trials in truth, by turns.
    trials, _ = simulate(IBL, 40, 96, seed=5, missing=0)
    turn = (np.arange(96) // 12) % 3
    path = np.tile(turn, 40)
    rng = np.random.default_rng(0)
    X = trials.select("stimulus", "bias").to_numpy()
    logit = np.einsum("tm,tm->t", X, IBL.emission_weights[path, 0, :2] * [1, 2])
    choice = (rng.random(len(path)) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    params = IBL._replace(
        transition_matrix=np.full((3, 3), 1 / 24) + np.eye(3) * (1 - 1 / 12 - 1 / 24),
        emission_weights=IBL.emission_weights[:, :, :] * [1, 2, 0, 0],
    )
    trials = trials.with_columns(choice=choice)
    (engaged, *_) = dwells(make_fit(trials, params, n_folds=0, n_restarts=1))
    assert engaged.lasting[4] > engaged.predicted_upper[4]
    assert engaged.lasting[19] < engaged.predicted_lower[19]
