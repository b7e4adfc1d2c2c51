"""Paths drawn from the posterior against all paths written out."""

from dataclasses import replace

import numpy as np
import pytest
from core.oracles import by_enumeration, draw_params, draw_trials

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.paths import posterior_paths
from glmhmm_core.fitting.problem import Problem

#: Two short sessions share a lane, behind one another.
LENGTHS = (6, 3, 3)
N = 4000


def case(D, seed=0):
    rng = np.random.default_rng([seed, D])
    return draw_params(rng, 3, 3, 2, D), draw_trials(rng, LENGTHS, 3, 2, D)


def problem_of(trials):
    return Problem(
        trials.X, trials.U, trials.y, trials.mask, trials.session_ids, 3, trials.baseline
    )


@pytest.mark.parametrize("D", [0, 2])
def test_states_and_transitions_have_their_posterior_frequencies(D):
    params, trials = case(D)
    truth = by_enumeration(params, trials)
    problem = problem_of(trials)
    assert problem.layout.first.sum() > problem.layout.lane.max() + 1  # a lane is shared
    paths = posterior_paths(params, problem, N)
    assert paths.shape == (N, len(trials.y))

    def agree(share, p):
        assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / N) + 1e-12)

    agree(np.stack([(paths == k).mean(0) for k in range(3)], 1), truth.smoothed)
    for t in range(1, len(trials.y)):
        if trials.session_ids[t] == trials.session_ids[t - 1]:
            pairs = np.bincount(paths[:, t - 1] * 3 + paths[:, t], minlength=9) / N
            agree(pairs.reshape(3, 3), truth.transitions[t])


def test_sessions_are_drawn_apart():
    params, trials = case(0)
    paths = posterior_paths(params, problem_of(trials), N)
    # The first trial of a session does not know the last of the one before, nor its first.
    for before, after in ((5, 6), (8, 9), (0, 6), (6, 9)):
        rows = np.bincount(paths[:, before] * 3 + paths[:, after], minlength=9).reshape(3, 3)
        expected = np.outer(rows.sum(1), rows.sum(0)) / N
        assert ((rows - expected) ** 2 / np.maximum(expected, 1e-9)).sum() < 25  # 4 d.f.


def test_rows_may_interleave_and_an_appended_session_changes_no_other():
    params, trials = case(0)
    whole = posterior_paths(params, problem_of(trials), 50)
    order = np.argsort([0, 3, 6, 7, 9, 11, 1, 4, 8, 2, 5, 10])  # each session's trials in order
    mixed = posterior_paths(params, problem_of(trials.rows(order)), 50)
    np.testing.assert_array_equal(mixed, whole[:, order])
    first = trials.rows(np.arange(9))
    np.testing.assert_array_equal(posterior_paths(params, problem_of(first), 50), whole[:, :9])


def test_choices_that_do_not_count_change_no_path():
    params, trials = case(0)
    problem = problem_of(trials)
    other = replace(problem, y=np.where(problem.mask, problem.y, 2))
    np.testing.assert_array_equal(
        posterior_paths(params, other, 50), posterior_paths(params, problem, 50)
    )


def test_no_path_is_refused():
    params, trials = case(0)
    with pytest.raises(InputError, match="num_paths"):
        posterior_paths(params, problem_of(trials), 0)
