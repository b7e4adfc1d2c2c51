"""The private-alternative GLM against its formula and against the GLM that contains it."""

import numpy as np
import pytest

from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.baselines.private_alternative import (
    PrivateAlternativeGLM,
    fit_private_alternative_glm,
    predict_private_alternative_glm,
)
from glmhmm_core.errors import InputError

PARAMS = PrivateAlternativeGLM(np.array([1.5, -0.8]), np.array([0.4, 0.0, -0.6]))


def make(trials=1000, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(trials, 3, 2))
    probs = predict_private_alternative_glm(PARAMS, X)
    y = (rng.random(trials)[:, None] > probs.cumsum(1)).sum(1)
    y[rng.random(trials) < 0.05] = -1
    return y, X, np.repeat(np.arange(trials // 100), 100)


def fit(y, X, sessions, **more):
    return fit_private_alternative_glm(y, X, sessions, mask=y >= 0, **more)


def test_the_end_is_the_mode_of_the_formula():
    y, X, sessions = make()
    result = fit(y, X, sessions, prior_scale=(3.0, 1.0), bias_scale=2.0)
    made = y >= 0

    def objective(flat):
        b = np.array([flat[2], 0.0, flat[3]])
        logits = b + X[made] @ flat[:2]
        ll = logits[np.arange(made.sum()), y[made]] - np.log(np.exp(logits).sum(1))
        scale = np.array([3.0, 1.0, 2.0, 2.0])
        prior = -0.5 * (flat / scale) ** 2 - np.log(scale * np.sqrt(2 * np.pi))
        return ll.sum() + prior.sum()

    end = np.append(result.fitted_params.weights, result.fitted_params.biases[[0, 2]])
    assert result.converged
    assert result.num_parameters == 4
    assert result.fitted_params.biases[1] == 0
    assert result.objective_log_probability == pytest.approx(objective(end), abs=1e-8)
    steps = 1e-4 * np.eye(4)
    slope = [(objective(end + s) - objective(end - s)) / 2e-4 for s in steps]
    np.testing.assert_allclose(slope, 0.0, atol=1e-3)
    np.testing.assert_allclose(
        predict_private_alternative_glm(result.fitted_params, X), result.choice_probs, rtol=1e-10
    )
    np.testing.assert_allclose(result.fitted_params.weights, PARAMS.weights, atol=0.25)


def test_a_regressor_of_one_alternative_is_the_binary_glm():
    y, X, sessions = make()
    y = np.minimum(y, 1)
    x = X[:, 0]
    private = np.stack([np.zeros_like(x), x], axis=1)
    ours = fit(y, private, sessions, reference_class_idx=0, cv_folds=2)
    theirs = fit_lapse_glm(
        y, np.column_stack([x, np.ones(len(x))]), sessions, mask=y >= 0, num_classes=2,
        lapse="none", cv_folds=2,
    )  # fmt: skip
    np.testing.assert_allclose(ours.choice_probs, theirs.choice_probs, atol=1e-6)
    assert ours.heldout_bits_per_trial == pytest.approx(theirs.heldout_bits_per_trial, abs=1e-8)


def test_masked_choices_and_what_all_alternatives_share_change_nothing():
    y, X, sessions = make()
    one = fit(y, X, sessions)
    shared = X + np.random.default_rng(1).normal(size=(len(y), 1, 2))
    flipped = fit_private_alternative_glm(np.abs(y), shared, sessions, mask=y >= 0)
    np.testing.assert_allclose(flipped.choice_probs, one.choice_probs, atol=1e-6)


def test_a_regressor_without_effect_is_remarked():
    y, X, sessions = make()
    X[:, :, 1] = X[:, :1, 1]
    assert "'x1'" in fit(y, X, sessions).remarks[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"X": np.zeros((1000, 3))}, "X has shape"),
        ({"X": np.full((1000, 3, 2), np.inf)}, "'x0 of alternative 0' is inf"),
        ({"names": ["a"]}, "1 names for 2"),
        ({"prior_scale": 0.0}, "prior_scale is 0.0"),
        ({"bias_scale": -1.0}, "bias_scale -1.0"),
        ({"reference_class_idx": 3}, "baseline_class_idx is 3"),
        ({"y": np.full(1000, 3)}, "choice 3"),
        ({"cv_folds": 1}, "cv_folds is 1"),
    ],
)
def test_bad_input_is_refused(change, problem):
    y, X, sessions = make()
    given = {"y": np.maximum(y, 0), "X": X, "session_ids": sessions}
    with pytest.raises(InputError, match=problem):
        fit_private_alternative_glm(**{**given, **change})
