"""Held-out sessions: none is trained on, all are tested, and scores are what the formulas say."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from core.engine.climbs import GLM, TWO, trials_of
from core.fitting.fitted import DEFAULT, RESTARTS, fit, two
from core.oracles import by_recursion, class_probs
from core.textbook_em import textbook_em

from glmhmm_core.comparison.scores import heldout_accuracy, heldout_bits_per_trial
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.folds import assign_folds

FOLDS, SEED = 3, 7


@cache
def validated(num_states=2):
    case = TWO if num_states == 2 else GLM
    return fit(trials_of(case), num_states, cv_folds=FOLDS, seed=SEED)


def test_every_session_is_tested_once_and_never_trained_on():
    folds = validated().cv_metrics
    sessions = [f"s{i}" for i in range(10)]
    dealt = assign_folds(10, FOLDS, SEED)
    assert [f.fold_index for f in folds] == [0, 1, 2]
    for f in folds:
        assert f.test_session_ids == tuple(
            s for s, d in zip(sessions, dealt, strict=True) if d == f.fold_index
        )
        assert f.training_session_ids == tuple(s for s in sessions if s not in f.test_session_ids)
        mask = trials_of(TWO).mask
        test = np.isin(trials_of(TWO).session_ids, f.test_session_ids)
        assert f.test_trial_count == (mask & test).sum()
        assert f.training_trial_count == (mask & ~test).sum()


def test_folds_change_nothing_of_the_fit_to_all_sessions():
    alone = fit(trials_of(TWO), seed=SEED)
    np.testing.assert_array_equal(validated().restart_objectives, alone.restart_objectives)
    np.testing.assert_array_equal(validated().choice_probs, alone.choice_probs)


def test_a_fold_is_the_fit_of_its_training_sessions_alone():
    trials = trials_of(TWO)
    for fold in validated().cv_metrics:
        kept = np.isin(trials.session_ids, fold.training_session_ids)
        # The sessions held out stay in the lanes, without choices, so that shapes are the same.
        silent = fit(replace(trials, y=np.where(kept, trials.y, -1)), seed=SEED)
        assert fold.converged
        assert fold.final_training_objective == pytest.approx(
            silent.objective_log_probability, rel=1e-8
        )
        truth = by_recursion(silent.fitted_params, trials.rows(kept)).log_likelihood
        made = (kept & trials.mask).sum()
        assert fold.training_log_likelihood_per_trial == pytest.approx(truth / made, rel=1e-5)
        held_out = by_recursion(silent.fitted_params, trials.rows(~kept)).log_likelihood
        left = (~kept & trials.mask).sum()
        assert fold.test_log_likelihood_per_trial == pytest.approx(held_out / left, rel=1e-5)


def test_scores_of_the_glm_are_those_of_the_oracle():
    """With one state the oracle's optimum is exact, and so are its scores."""
    trials = trials_of(GLM)
    result = validated(1)
    bits, right, made = 0.0, 0, 0
    for fold in result.cv_metrics:
        test = np.isin(trials.session_ids, fold.test_session_ids)
        train, test = trials.rows(~test & trials.mask), trials.rows(test & trials.mask)
        start = Parameters(np.ones(1), np.ones((1, 1)), np.zeros((1, 1, 2)))
        params, _ = textbook_em(start, train, DEFAULT)
        scores = {}
        for name, part in (("training", train), ("test", test)):
            law = class_probs(params, part)[:, 0]
            mean = np.log(law[np.arange(len(part.y)), part.y]).mean()
            scores[name] = mean
            assert getattr(fold, f"{name}_log_likelihood_per_trial") == pytest.approx(
                mean, rel=1e-7
            )
            assert getattr(fold, f"{name}_accuracy") == (law.argmax(1) == part.y).mean()
        # Training frequencies with half a count added to each class.
        law = (np.bincount(train.y, minlength=2) + 0.5) / (len(train.y) + 1)
        null = np.log(law[test.y]).mean()
        assert fold.baseline_log_likelihood_per_trial == pytest.approx(null, rel=1e-12)
        assert fold.test_bits_per_trial == pytest.approx((scores["test"] - null) / np.log(2))
        bits += (scores["test"] - null) / np.log(2) * len(test.y)
        right += fold.test_accuracy * len(test.y)
        made += len(test.y)
    assert heldout_bits_per_trial(result) == pytest.approx(bits / made, rel=1e-7)
    assert heldout_accuracy(result) == pytest.approx(right / made)


def test_folds_depend_on_the_order_of_sessions_not_on_their_names():
    trials = trials_of(TWO)
    names = {f"s{i}": f"z{9 - i}" for i in range(10)}
    renamed = replace(trials, session_ids=np.array([names[s] for s in trials.session_ids]))
    other = fit(renamed, cv_folds=FOLDS, seed=SEED)
    for a, b in zip(other.cv_metrics, validated().cv_metrics, strict=True):
        assert a.test_session_ids == tuple(names[s] for s in b.test_session_ids)
        assert a.final_training_objective == pytest.approx(b.final_training_objective, rel=1e-8)


def test_a_fold_whose_sessions_have_no_choice_has_no_score_and_spoils_no_mean():
    trials = trials_of(TWO)
    silent = assign_folds(10, 3, SEED) == 1
    names = [f"s{i}" for i in np.flatnonzero(silent)]
    y = np.where(np.isin(trials.session_ids, names), -1, trials.y)
    result = fit(replace(trials, y=y), cv_folds=3, seed=SEED)
    empty = result.cv_metrics[1]
    assert empty.test_trial_count == 0
    assert np.isnan(empty.test_log_likelihood_per_trial)
    assert np.isfinite(heldout_bits_per_trial(result))
    assert np.isfinite(heldout_accuracy(result))


def test_without_folds_there_is_no_held_out_score():
    assert heldout_bits_per_trial(two()) is None
    assert heldout_accuracy(two()) is None
    assert len(two().restart_objectives) == RESTARTS
