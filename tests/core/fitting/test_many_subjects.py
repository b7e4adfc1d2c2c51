"""Many subjects at once: each gets what it gets alone, from few programs."""

import numpy as np
import pytest
from core.oracles import Trials, by_recursion, class_probs, draw_params, draw_trials

from glmhmm_core.engine.messages import smooth_together
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import many
from glmhmm_core.fitting.many import (
    bucket,
    most_likely_states_of_many,
    posterior_paths_of_many,
    posteriors_of_many,
)
from glmhmm_core.fitting.paths import posterior_paths
from glmhmm_core.fitting.problem import Problem

#: Sessions of each subject: three alike, one long, one of a single trial.
LENGTHS = [(6, 3, 3), (5, 4), (7, 2, 1, 2), (30, 8), (1,)]


def cohort(K=3, D=0):
    problems, params = [], []
    for n, lengths in enumerate(LENGTHS):
        rng = np.random.default_rng([n, K, D])
        own = draw_params(rng, K, 3, 2, D)
        t = draw_trials(rng, lengths, 3, 2, D, baseline=n % 3)
        problems.append(Problem(t.X, t.U, t.y, t.mask, t.session_ids, 3, t.baseline))
        params.append(own)
    return problems, params


@pytest.fixture(scope="module", params=[0, 2], ids=["constant", "driven"])
def subjects(request):
    return cohort(D=request.param)


def test_each_gets_the_posteriors_it_gets_alone(subjects):
    problems, params = subjects
    for together, problem, own in zip(
        posteriors_of_many(problems, params), problems, params, strict=True
    ):
        for name, value in vars(problem.posteriors(own)).items():
            np.testing.assert_allclose(getattr(together, name), value, rtol=1e-12, err_msg=name)


def test_what_is_said_of_many_is_what_the_recursions_say_of_each(subjects):
    problems, params = subjects
    for said, problem, own in zip(
        posteriors_of_many(problems, params), problems, params, strict=True
    ):
        trials = Trials(
            problem.X, problem.U, problem.y, problem.session_ids, 3, problem.baseline_class_idx
        )
        truth = by_recursion(own, trials)
        for mine, theirs in (
            (said.smoothed, truth.smoothed),
            (said.filtered, truth.filtered),
            (said.predictive, truth.predicted),
            (said.choice_probs, np.einsum("tk,tkc->tc", truth.predicted, class_probs(own, trials))),
            (said.log_likelihood.sum(), truth.log_likelihood),
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-14)


def test_each_gets_the_paths_it_gets_alone(subjects):
    problems, params = subjects
    likely = most_likely_states_of_many(problems, params)
    drawn = posterior_paths_of_many(problems, params, 5, seed=3)
    for n, (problem, own) in enumerate(zip(problems, params, strict=True)):
        np.testing.assert_array_equal(likely[n], problem.most_likely_states(own))
        np.testing.assert_array_equal(drawn[n], posterior_paths(own, problem, 5, seed=3))


def test_company_and_its_number_change_nothing(monkeypatch):
    problems, params = cohort()
    together = posteriors_of_many(problems, params)
    monkeypatch.setattr(many, "BUDGET", 1)  # one at a time
    for a, b in zip(posteriors_of_many(problems[::-1], params[::-1]), together[::-1], strict=True):
        for name, value in vars(b).items():
            np.testing.assert_allclose(getattr(a, name), value, rtol=1e-12, err_msg=name)


def test_a_cohort_has_few_shapes():
    rng = np.random.default_rng(0)

    def subject(sessions):
        lengths = rng.integers(80, 101, sessions)
        ids = np.repeat(np.arange(sessions), lengths)
        T = len(ids)
        return Problem(
            np.ones((T, 1)), np.empty((T, 0)), np.zeros(T, int), np.ones(T, bool), ids, 2, 0
        )

    cohort = [subject(n) for n in rng.integers(36, 86, 40)]
    assert len({problem.layout.shape for problem in cohort}) > 2
    assert len({bucket(problem) for problem in cohort}) <= 2


def test_subjects_of_one_shape_share_a_program():
    problems, params = cohort()
    posteriors_of_many(problems[:2], params[:2])
    before = smooth_together._cache_size()
    posteriors_of_many(problems[1:3], params[1:3])
    assert bucket(problems[1]) == bucket(problems[2])
    assert smooth_together._cache_size() == before


def test_no_path_is_refused():
    with pytest.raises(InputError, match="num_paths is 0"):
        posterior_paths_of_many(*cohort(), num_paths=0)
