"""Scores against their formulas, worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, TWO, trials_of
from core.fitting.fitted import driven, fit, two

from glmhmm_core.comparison.scores import (
    aic,
    bic,
    bits_per_trial,
    heldout_accuracy,
    heldout_bits_per_trial,
    num_parameters,
    restarts_at_best,
)
from glmhmm_core.fitting.result import CVFoldResult
from glmhmm_core.fitting.specification import Specification


@pytest.mark.parametrize(
    ("K", "C", "M", "D", "expected"),
    [
        (1, 2, 4, 0, 4),  # a GLM: its weights alone
        (2, 2, 2, 0, 1 + 2 + 4),
        (3, 2, 4, 0, 2 + 6 + 12),
        (3, 3, 4, 0, 2 + 6 + 24),
        (3, 3, 4, 5, 2 + 6 + 30 + 24),
    ],
)
def test_parameters_are_counted(K, C, M, D, expected):
    names = [f"x{i}" for i in range(M)], [f"u{i}" for i in range(D)]
    model = Specification(C, tuple(names[0]), np.ones(M), tuple(names[1]), np.ones(D))
    assert model.num_parameters(K) == expected


def test_frozen_weights_are_no_parameters():
    assert num_parameters(two()) == 7
    assert num_parameters(driven()) == 1 + 2 + 4 + 8
    frozen = replace(
        driven().specification,
        frozen_emissions={1: {"stimulus": 0.0}},  # of both classes but the baseline
        frozen_transitions={0: {"u1": 0.0}},
    )
    assert num_parameters(replace(driven(), specification=frozen)) == 15 - 2 - 1


def test_information_criteria():
    result = two()
    made = int(trials_of(TWO).mask.sum())
    assert aic(result) == pytest.approx(14 - 2 * result.raw_log_likelihood, rel=1e-12)
    assert bic(result) == pytest.approx(
        7 * math.log(made) - 2 * result.raw_log_likelihood, rel=1e-12
    )


@pytest.mark.parametrize(("case", "fitted"), [(TWO, two), (DRIVEN, driven)])
def test_bits_are_over_the_frequencies_of_the_choices(case, fitted):
    result, trials = fitted(), trials_of(case)
    counts = np.bincount(trials.y[trials.mask])
    entropy = -sum(n / counts.sum() * math.log2(n / counts.sum()) for n in counts)
    per_trial = result.raw_log_likelihood / counts.sum() / math.log(2)
    assert bits_per_trial(result) == pytest.approx(per_trial + entropy, rel=1e-12)
    assert 0 < bits_per_trial(result) < entropy


def test_bits_of_a_choice_that_is_never_made():
    trials = trials_of(DRIVEN)
    kept = replace(trials, y=np.where(trials.y == 2, -1, trials.y))
    assert 0 < bits_per_trial(fit(kept)) < 1


def fold(trials, log_likelihood, baseline, accuracy):
    return CVFoldResult(
        0,
        (),
        (),
        10,
        trials,
        0.0,
        log_likelihood,
        baseline,
        0.0,
        accuracy,
        0,
        0,
        True,
        (),
        (),
        None,
    )


def test_held_out_scores_are_weighted_by_trials():
    folds = (fold(100, -0.4, -0.6, 0.9), fold(300, -0.5, -0.55, 0.7))
    result = replace(two(), cv_metrics=folds)
    bits = (100 * 0.2 + 300 * 0.05) / 400 / math.log(2)
    assert heldout_bits_per_trial(result) == pytest.approx(bits)
    assert heldout_accuracy(result) == pytest.approx((90 + 210) / 400)
    empty = fold(0, math.nan, math.nan, math.nan)
    assert heldout_bits_per_trial(replace(two(), cv_metrics=(*folds, empty))) == pytest.approx(bits)
    assert heldout_bits_per_trial(replace(two(), cv_metrics=(empty,))) is None


@pytest.mark.parametrize(
    ("below", "expected"), [([0, 0, 0], 3), ([0, 0.0009, 0.0011], 2), ([0, 5, -7], 1)]
)
def test_restarts_at_the_best_optimum_are_counted(below, expected):
    assert two().num_choices < 1000  # below that the margin is 1e-3 nats
    objectives = -200.0 - np.array(below, float)
    assert restarts_at_best(replace(two(), restart_objectives=objectives)) == expected


def test_the_margin_grows_with_the_choices():
    many = replace(
        two(),
        mask=np.ones(5000, bool),
        restart_objectives=-2000.0 - np.array([0.0, 0.0049, 0.0051]),
    )
    assert restarts_at_best(many) == 2
