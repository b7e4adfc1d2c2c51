"""Many subjects: each is fitted as if alone, and a bad one harms nobody."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, MAX_ITERS, TWO, trials_of
from core.fitting.fitted import RESTARTS, design_of, fit

from glmhmm_core.errors import InputError
from glmhmm_core.fitting import Excluded, FitSettings, SubjectFits, fit_subjects
from glmhmm_core.fitting.fingerprint import fingerprint

SETTINGS = FitSettings(n_restarts=RESTARTS, max_iters=MAX_ITERS, cv_folds=2)


def designs():
    """Three subjects of one task."""
    return {name: design_of(trials_of(TWO, 2 * i), name) for i, name in enumerate("abc")}


@pytest.fixture(scope="module")
def batch():
    told, done = [], []
    fits = fit_subjects(
        designs(), [2, 1, 2], SETTINGS, on_finished=done.append, progress_callback=told.append
    )
    return fits, done, told


def assert_same(fit, other):
    """To the last bit."""
    np.testing.assert_array_equal(fit.restart_objectives, other.restart_objectives)
    np.testing.assert_array_equal(fit.choice_probs, other.choice_probs)
    for a, b in zip(fit.fitted_params[:3], other.fitted_params[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert fit.cv_metrics == other.cv_metrics


def test_a_subject_alone_is_fitted_as_in_company(batch):
    fits, _, _ = batch
    alone = fit_subjects({"b": designs()["b"]}, [1, 2], SETTINGS)["b"]
    for k in (1, 2):
        assert_same(alone[k], fits["b"][k])
    assert alone.fingerprint == fits["b"].fingerprint
    reverse = fit_subjects(dict(reversed(designs().items())), [2], SETTINGS)
    for name in "abc":
        assert_same(reverse[name][2], fits[name][2])


def test_it_is_what_fit_glmhmm_finds(batch):
    fits, _, _ = batch
    trials = trials_of(TWO)
    array = fit(trials, cv_folds=2)
    assert fits["a"][2].objective_log_probability == pytest.approx(
        array.objective_log_probability, rel=1e-8
    )


def test_each_subject_is_a_value_of_its_own_with_its_keys(batch):
    fits, done, _ = batch
    assert list(fits) == ["a", "b", "c"]
    assert [d.subject for d in done] == ["a", "b", "c"]
    for name, design in designs().items():
        value = fits[name]
        assert isinstance(value, SubjectFits)
        assert done[list(fits).index(name)] is value
        assert value.subject == name
        assert value.choice_names == ("left", "right")
        assert value.notes == ()
        assert [f.num_states for f in value.fits] == [1, 2]
        np.testing.assert_array_equal(value.keys_session, design.keys["session"].to_numpy())
        np.testing.assert_array_equal(value.keys_trial, design.keys["trial"].to_numpy())
        assert value.fingerprint == fingerprint(design, [1, 2], SETTINGS)
        for result in value.fits:
            np.testing.assert_array_equal(result.X, design.X)
            assert len(result.cv_metrics) == 2
            assert result.converged
    objectives = {f[2].objective_log_probability for f in fits.values()}
    assert len(objectives) == 3


def test_progress_names_the_subject(batch):
    _, _, told = batch
    assert {e["subject"] for e in told} == {"a", "b", "c"}
    ends = [e for e in told if e["event"] == "restart_complete" and e["num_states"] == 2]
    assert len(ends) == 3 * RESTARTS * 3  # subjects, restarts, the whole and two folds


BAD = {
    "not a number": ({"X": np.where(np.arange(800).reshape(400, 2) == 7, np.nan, 1.0)}, "row 3"),
    "no choice": ({"mask": np.zeros(400, bool)}, "no trial has a choice"),
    "few choices": ({"mask": np.arange(400) == 3}, "more than the 1 choices"),
}


@pytest.mark.parametrize(("spoil", "says"), BAD.values(), ids=BAD)
def test_a_bad_subject_is_left_out_with_its_reason(batch, spoil, says):
    design = designs()["b"]
    given = designs() | {"b": replace(design, **spoil)}
    fits = fit_subjects(given, [2], SETTINGS)
    assert isinstance(fits["b"], Excluded)
    assert fits["b"].subject == "b"
    assert says in fits["b"].reason
    assert "'b'" in fits["b"].reason
    for name in "ac":
        assert_same(fits[name][2], batch[0][name][2])


def test_what_a_subject_cannot_bear_is_left_out_and_noted():
    design = designs()["a"]
    sessions = design.session_ids
    few = replace(design, mask=design.mask & (np.arange(400) < 30))
    value = fit_subjects({"a": few}, [1, 2, 9], SETTINGS)["a"]
    assert sessions[29] == "s0"
    assert [f.num_states for f in value.fits] == [1, 2]
    assert "K = 9 has" in value.notes[0]
    assert "2 folds for 1 sessions" in value.notes[1]
    assert value[2].cv_metrics == ()
    with pytest.raises(StopIteration):
        value[9]


def test_without_a_prior_scale_the_design_proposes_it():
    proposed = fit_subjects(
        {"a": designs()["a"]}, [2], replace(SETTINGS, emission_prior_scale=None)
    )
    told = fit_subjects(
        {"a": designs()["a"]}, [2], replace(SETTINGS, emission_prior_scale=(10.0, 3.0))
    )
    assert_same(proposed["a"][2], told["a"][2])
    np.testing.assert_array_equal(proposed["a"][2].specification.emission_scale, [10.0, 3.0])


def test_subjects_of_other_tasks_may_share_a_batch(batch):
    three = design_of(replace(trials_of(DRIVEN), U=np.empty((400, 0))), "c3")
    fits = fit_subjects(designs() | {"c3": three}, [1], SETTINGS)
    assert fits["c3"][1].num_classes == 3
    assert_same(fits["a"][1], batch[0]["a"][1])


def test_a_warm_start_comes_first(batch):
    best = batch[0]["a"][2]
    value = fit_subjects(designs(), [2], SETTINGS, earlier={"a": batch[0]["a"]})
    assert value["a"].earlier == batch[0]["a"].fingerprint
    assert value["b"].earlier is None
    objectives = value["a"][2].restart_objectives
    assert len(objectives) == RESTARTS + 1
    assert objectives[0] == pytest.approx(best.objective_log_probability, rel=1e-10)
    np.testing.assert_allclose(objectives[1:], best.restart_objectives, rtol=1e-12)
    assert_same(value["b"][2], batch[0]["b"][2])


@pytest.mark.parametrize(
    "wrong", [{"n_restarts": 0}, {"transition_concentration": 0.5}, {"cv_folds": 1}]
)
def test_settings_that_make_no_sense_are_refused_for_all(wrong):
    with pytest.raises(InputError, match="fit settings"):
        fit_subjects(designs(), [2], replace(SETTINGS, **wrong))


def test_no_subjects_no_fits():
    assert fit_subjects({}, [2], SETTINGS) == {}
