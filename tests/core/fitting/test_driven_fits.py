"""Subjects with transition regressors and frozen weights: what is fitted, from where, and known."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, MAX_ITERS, trials_of
from core.fitting.fitted import RESTARTS, design_of, driven
from core.textbook_em import Priors, log_prior

from glmhmm_core.fitting import Excluded, FitSettings, fit_subjects, prospective
from glmhmm_core.fitting.fingerprint import fingerprint
from glmhmm_core.fitting.prospective import score_prospectively
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.settings import FrozenWeight
from glmhmm_core.fitting.specification import LEAST, Specification

PLAIN = FitSettings(n_restarts=RESTARTS, max_iters=MAX_ITERS, cv_folds=2)
TOGETHER = replace(PLAIN, transition_regressors=("u0", "u1"))
PRIORS = Priors(np.full(2, 2.0), 2.0, 0.0, np.full(2, 2.0))
DESIGN = design_of(trials_of(DRIVEN))
FROZEN = (
    FrozenWeight(0, "stimulus", -1.0),
    FrozenWeight(1, "bias", 0.5),
    FrozenWeight(1, "u1", 0.25, of_transition=True),
)


@pytest.fixture(scope="module")
def constant():
    return fit_subjects({"ann": DESIGN}, [2], PLAIN)["ann"]


@pytest.fixture(scope="module")
def fits(constant):
    return fit_subjects({"ann": DESIGN}, [2], TOGETHER, population={"ann": constant})["ann"]


@pytest.fixture(scope="module")
def frozen():
    return fit_subjects({"ann": DESIGN}, [1, 2], replace(TOGETHER, frozen=FROZEN))["ann"]


def test_regressors_drive_only_the_chains_that_name_them(constant, fits):
    assert constant[2].transition_names == ()
    assert constant[2].fitted_params.transition_weights is None
    assert fits[2].transition_names == ("u0", "u1")
    np.testing.assert_array_equal(fits[2].U, DESIGN.U)
    np.testing.assert_array_equal(fits[2].specification.transition_scale, [2.0, 2.0])


def test_it_is_the_fit_of_the_same_arrays(fits):
    assert fits[2].objective_log_probability == pytest.approx(
        driven().objective_log_probability, abs=1e-5
    )


def at_zero_weights(params):
    matrix = np.maximum(params.transition_matrix, LEAST)
    zero = np.zeros((2, 1, 2))
    return params._replace(
        transition_matrix=matrix / matrix.sum(1, keepdims=True), transition_weights=zero
    )


def test_every_fold_starts_where_its_own_constant_chain_ended(constant, fits):
    """With weights of zero it is the same model, and a climb never falls."""
    more = log_prior(at_zero_weights(constant[2].fitted_params), PRIORS)
    plain = log_prior(constant[2].fitted_params, PRIORS)
    started = fits[2].restart_log_probability[0, 0]
    expected = constant[2].objective_log_probability + more - plain
    assert started == pytest.approx(expected, abs=1e-3)
    for mine, theirs in zip(fits[2].cv_metrics, constant[2].cv_metrics, strict=True):
        assert mine.test_session_ids == theirs.test_session_ids
    assert fits[2].own_optimum is not None


def test_it_predicts_better_where_transitions_are_driven(constant, fits):
    for mine, theirs in zip(fits[2].cv_metrics, constant[2].cv_metrics, strict=True):
        assert mine.test_log_likelihood_per_trial > theirs.test_log_likelihood_per_trial


def test_fits_of_other_folds_are_no_start(constant):
    other = replace(TOGETHER, seed=3)
    left_out = fit_subjects({"ann": DESIGN}, [2], other, population={"ann": constant})["ann"]
    assert isinstance(left_out, Excluded)
    assert "2 folds of seed 0" in left_out.reason


def test_a_regressor_that_a_subject_does_not_have_leaves_it_out_by_name():
    other = replace(TOGETHER, transition_regressors=("u7",))
    left_out = fit_subjects({"ann": DESIGN}, [2], other)["ann"]
    assert isinstance(left_out, Excluded)
    assert "'u7'" in left_out.reason
    assert "ann" in left_out.reason


def test_frozen_weights_hold_in_all_fits_of_more_than_one_state(frozen):
    everything = [frozen[2].fitted_params, *(f.fitted_params for f in frozen[2].cv_metrics)]
    for params in everything:
        np.testing.assert_array_equal(params.emission_weights[0, :, 0], -1.0)
        np.testing.assert_array_equal(params.emission_weights[1, :, 1], 0.5)
        np.testing.assert_array_equal(params.transition_weights[1, :, 1], 0.25)
    assert frozen[1].frozen_emissions == {}
    assert not np.any(frozen[1].fitted_params.emission_weights == -1.0)
    assert frozen[2].frozen_transitions == {1: {"u1": 0.25}}


def test_what_is_frozen_in_states_that_a_model_does_not_have_is_free():
    model = Specification(2, ("a",), np.ones(1), frozen_emissions={0: {"a": 1.0}, 2: {"a": 2.0}})
    assert model.having(1).frozen_emissions == {}
    assert model.having(2).frozen_emissions == {0: {"a": 1.0}}
    assert model.having(3).frozen_emissions == model.frozen_emissions


def test_a_fingerprint_knows_the_regressors_that_drive_and_no_others():
    other = replace(DESIGN, U=DESIGN.U + np.array([0.0, 1.0]))
    assert fingerprint(other, [2], PLAIN) == fingerprint(DESIGN, [2], PLAIN)
    assert fingerprint(other, [2], TOGETHER) != fingerprint(DESIGN, [2], TOGETHER)
    first = replace(PLAIN, transition_regressors=("u0",))
    assert fingerprint(other, [2], first) == fingerprint(DESIGN, [2], first)
    wider = replace(DESIGN, transition_scales=np.array([2.0, 3.0]))
    assert fingerprint(wider, [2], TOGETHER) != fingerprint(DESIGN, [2], TOGETHER)


def test_forecasts_start_where_the_constant_chain_of_the_same_past_ended(
    constant, fits, monkeypatch
):
    """And from no fit that saw what is to be forecast, such as that of an interleaved fold."""
    plain = score_prospectively({"ann": constant}, 2)
    given = []

    def spy(training, num_states, glm, starts, *rest):
        given.append(list(starts))
        return climb_all(training, num_states, glm, starts, *rest)

    monkeypatch.setattr(prospective, "climb_all", spy)
    found = score_prospectively({"ann": fits}, 2, constant=plain)["ann"][2].cv_metrics
    first, second = plain["ann"][2].cv_metrics
    assert given[0] == [first.fitted_params]
    assert given[1] == [found[0].fitted_params, second.fitted_params]
    for mine, theirs in zip(found, (first, second), strict=True):
        assert mine.training_session_ids == theirs.training_session_ids
        assert mine.test_session_ids == theirs.test_session_ids
        start = at_zero_weights(theirs.fitted_params)
        more = log_prior(start, PRIORS) - log_prior(theirs.fitted_params, PRIORS)
        assert mine.final_training_objective >= theirs.final_training_objective + more - 1e-3
    given.clear()
    score_prospectively({"ann": fits}, 1, constant={"ann": constant})
    assert given == [[]]
