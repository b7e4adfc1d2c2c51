"""Seven real mice of the International Brain Laboratory against a published-style reference.

The reference fits (sigma 2, alpha 2, three states) were started from a pooled fit of 37 mice;
here the start is the pooled fit of these seven. Weights are for choosing right.
"""

import numpy as np
import pytest
from core.published_mice import unpack
from sklearn.linear_model import LogisticRegression

from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.comparison.scores import heldout_bits_per_trial
from glmhmm_core.design.build import build_design
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.fitting.population import fit_population
from glmhmm_core.states.naming import Naming
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject

pytestmark = pytest.mark.slow

# Per mouse: weights (stimulus, previous choice, wsls, bias) of the engaged, left- and
# right-biased state, and their self-transitions.
REFERENCE = {
    "CSHL_001": "1.27 -1.00 .01 1.27 1.27 -.05 .09 -2.21 1.04 2.67 1.10 1.56 .731 .927 .870",
    "CSHL_003": "9.85 .26 -.08 -.29 1.67 .50 .34 -1.53 1.45 .21 .22 1.31 .978 .927 .923",
    "IBL-T1": "8.49 .52 -.24 -.34 1.39 -.01 .15 -2.10 .69 .46 -.02 1.62 .977 .953 .936",
    "KS005": "4.92 .11 .15 -.74 1.11 .20 .37 -2.06 1.97 -.04 .46 2.31 .956 .933 .908",
    "NYU-06": "7.26 .53 -.04 .05 1.33 .59 .02 -1.63 1.23 -.36 .35 2.52 .983 .952 .943",
    "ZM_1743": "9.76 .16 .19 -.80 1.92 .41 .07 -1.90 .92 -.36 .18 1.84 .965 .933 .806",
    "ibl_witten_13": "8.06 .14 .22 -1.29 2.77 .54 -.40 -2.11 1.39 -.58 .52 2.71 .956 .929 .830",
}
#: Held-out bits per trial of the GLM, of the GLM with two lapse rates, and of three states.
HELD_OUT = {
    "CSHL_001": (0.205, 0.205, 0.265),
    "CSHL_003": (0.361, 0.407, 0.458),
    "IBL-T1": (0.269, 0.338, 0.419),
    "KS005": (0.243, 0.272, 0.327),
    "NYU-06": (0.308, 0.367, 0.430),
    "ZM_1743": (0.322, 0.402, 0.432),
    "ibl_witten_13": (0.327, 0.375, 0.420),
}
#: This mouse's GLM does better here than the reference's, on folds of any kind: over 3,000 random
#: splits of its sessions .263 +- .003 (in sample .268), and two of them at .2435 or below. On the
#: second lowest GLM, lapses and three states have .243, .278 and .325, all as in the reference: one
#: unlucky split would explain it. No other way of scoring that was tried does for all seven mice.
BETTER = pytest.mark.xfail(strict=True, reason="KS005: GLM .264 for .243, gain .071 for .084")
ORDER = ("stimulus", "previous_choice", "wsls", "bias")


@pytest.fixture(scope="module")
def designs(test_data, tmp_path_factory):
    root = unpack(test_data, tmp_path_factory.mktemp("ibl"))
    task = load_task("ibl_2afc")
    read = {mouse: read_subject(root, "alf", task, mouse)[0] for mouse in REFERENCE}
    return {mouse: build_design(clean(trials, task)[0], task) for mouse, trials in read.items()}


@pytest.fixture(scope="module")
def population(designs):
    """The mice as one, also without the sessions of each fold."""
    settings = FitSettings(
        emission_prior_scale=100.0,
        transition_concentration=1.0,
        n_restarts=4,
        tol=1e-8,
        cv_folds=5,
    )
    return fit_population(designs, [1, 3], settings)


@pytest.fixture(scope="module")
def pooled(population):
    return population[3]


@pytest.fixture(scope="module")
def warm(designs, population):
    """Without folds nothing speaks against the population's optimum."""
    fits = fit_subjects(designs, [3], FitSettings(n_restarts=1), population=population)
    return {mouse: fits[mouse][3] for mouse in designs}


@pytest.fixture(scope="module")
def own(designs):
    return fit_subjects(designs, [1, 3], FitSettings(n_restarts=20))


def by_role(fit):
    """Weights (3, 4) in the reference's columns and self-transitions (3,), by state's role."""
    weights = np.asarray(fit.fitted_params.emission_weights)[:, 0]
    weights = weights[:, [fit.emission_names.index(name) for name in ORDER]]
    return weights, np.diagonal(fit.fitted_params.transition_matrix)


def test_the_pooled_fit_finds_engaged_and_two_biased_states(pooled):
    weights, stay = by_role(pooled)
    engaged = weights[:, 0].argmax()
    assert weights[engaged, 0] > 4
    assert np.all(np.delete(weights[:, 0], engaged) < 2.5)
    bias = np.delete(weights[:, 3], engaged)
    assert bias.min() < -1 < 1 < bias.max()
    assert stay.min() > 0.9


def test_states_started_from_the_pooled_fit_are_those_of_the_reference(pooled, warm):
    """States keep the pooled fit's order; the reference's comes from more mice."""
    weights, _ = by_role(pooled)
    engaged = weights[:, 0].argmax()
    left, right = (k for k in np.argsort(weights[:, 3]) if k != engaged)
    for mouse, text in REFERENCE.items():
        values = np.array(text.split(), float)
        expected, expected_stay = values[:12].reshape(3, 4), values[12:]
        found, stay = by_role(warm[mouse])
        order = [engaged, left, right]
        np.testing.assert_allclose(found[order], expected, atol=0.15, err_msg=mouse)
        np.testing.assert_allclose(stay[order], expected_stay, atol=0.03, err_msg=mouse)


def test_states_have_the_pooled_fit_s_names_but_for_two_of_the_mouse_without_an_engaged_one(
    population, warm
):
    naming = Naming(population=population)
    textbook = ("biased left", "biased right", "engaged")
    assert tuple(sorted(naming.reference(3).labels)) == textbook
    for mouse, fit in warm.items():
        labels, match = naming(fit, ("left", "right")), naming.match(fit)
        if mouse == "CSHL_001":
            assert [name for name in labels.shared if name] == ["biased left"]
            assert sum(name.endswith(" (own)") for name in labels.labels) == 2
            assert labels.ambiguous
            assert match.ambiguous
        else:
            assert tuple(sorted(labels.shared)) == textbook, mouse
            assert not labels.ambiguous, mouse
            assert match.reference.tolist() == [0, 1, 2], mouse
            assert not match.ambiguous, mouse
    # Its bias of -1.3 is said, and changes no identity.
    assert "engaged, biased left" in naming(warm["ibl_witten_13"], ("left", "right")).labels


@pytest.fixture(scope="module")
def held_out(designs, population):
    """Scores as in the reference; a fold starts from a population that never saw its sessions."""
    settings = FitSettings(n_restarts=1, cv_folds=5, tol=1e-7)
    fits = fit_subjects(designs, [1, 3], settings, population=population)
    scores = {}
    for mouse, design in designs.items():
        lapses = fit_lapse_glm(
            *(design.y, design.X, design.session_ids),
            **{"num_classes": 2, "mask": design.mask, "n_starts": 2, "cv_folds": 5},
        )
        glm, three = (heldout_bits_per_trial(fits[mouse][k]) for k in (1, 3))
        scores[mouse] = glm, lapses.heldout_bits_per_trial, three
    return scores


@pytest.mark.parametrize(
    "mouse", [pytest.param(m, marks=BETTER if m == "KS005" else ()) for m in HELD_OUT]
)
def test_held_out_scores_are_those_of_the_reference(held_out, mouse):
    np.testing.assert_allclose(held_out[mouse], HELD_OUT[mouse], rtol=0, atol=0.02)
    gain, expected = (three - glm for glm, _, three in (held_out[mouse], HELD_OUT[mouse]))
    assert gain == pytest.approx(expected, abs=0.01)


def test_own_restarts_are_at_least_as_good_as_the_pooled_start(own, warm):
    for mouse, fit in warm.items():
        best = own[mouse][3].objective_log_probability
        assert best >= fit.objective_log_probability - 1e-6, mouse


def test_own_restarts_beat_the_pooled_start_in_two_mice_with_other_states(own, warm):
    gains = {
        m: own[m][3].objective_log_probability - warm[m].objective_log_probability for m in warm
    }
    better = {mouse for mouse, gain in gains.items() if gain > 0.01}
    assert {"NYU-06", "ibl_witten_13"} <= better
    assert gains["NYU-06"] == pytest.approx(1.2, abs=0.2)
    assert gains["ibl_witten_13"] == pytest.approx(5.0, abs=0.3)


def test_the_glm_is_an_independent_logistic_regression(designs, own):
    for mouse, design in designs.items():
        X, y = design.X[design.mask], design.y[design.mask]
        ridge = LogisticRegression(C=4.0, fit_intercept=False, tol=1e-12, max_iter=10_000)
        weights = ridge.fit(X, y).coef_[0]
        signed = np.where(y == 1, 1, -1) * (X @ weights)
        assert own[mouse][1].raw_log_likelihood == pytest.approx(
            -np.logaddexp(0, -signed).sum(), rel=1e-6
        )
