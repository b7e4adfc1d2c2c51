"""Forecasts: nothing of the future counts, and the scores are those of a fit to the past alone."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import MAX_ITERS, TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.baselines.inputs import design_arguments
from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.fitting import Excluded, FitSettings, fit_subjects
from glmhmm_core.fitting.folds import split_sessions
from glmhmm_core.fitting.prospective import score_prospectively

SETTINGS = FitSettings(n_restarts=2, max_iters=MAX_ITERS, cv_folds=2)
FOLDS = 2


@pytest.fixture(scope="module")
def fits():
    return fit_subjects({"a": design_of(trials_of(TWO), "a")}, [1, 2], SETTINGS)["a"]


@pytest.fixture(scope="module")
def scored(fits):
    return score_prospectively({"a": fits}, FOLDS)["a"]


def test_a_glm_forecasts_as_another_program_fitted_to_the_past(scored):
    design = design_of(trials_of(TWO), "a")
    splits = split_sessions(len(set(design.session_ids.tolist())), FOLDS, "prospective")
    given = design_arguments(design) | {"prior_scale": 2.0}
    glm = fit_lapse_glm(**given, lapse="none", splits=splits)
    for mine, theirs in zip(scored[1].cv_metrics, glm.cv_metrics, strict=True):
        assert mine.training_session_ids == theirs.training_session_ids
        assert mine.test_session_ids == theirs.test_session_ids
        assert mine.training_trial_count == theirs.training_trial_count
        np.testing.assert_allclose(
            mine.test_session_log_likelihoods, theirs.test_session_log_likelihoods, atol=1e-5
        )
        assert mine.test_bits_per_trial == pytest.approx(theirs.test_bits_per_trial, abs=1e-6)


def test_what_comes_after_the_scored_sessions_changes_nothing(fits, scored):
    first = scored[2].cv_metrics[0]
    later = np.isin(fits[2].session_ids, scored[2].cv_metrics[-1].test_session_ids)
    changed = tuple(
        replace(fit, y=np.where(later & fit.mask, 1 - fit.y, fit.y), X=fit.X + later[:, None])
        for fit in fits.fits
    )
    again = score_prospectively({"a": replace(fits, fits=changed)}, FOLDS)["a"]
    assert again[2].cv_metrics[0] == first
    assert again[2].cv_metrics[-1] != scored[2].cv_metrics[-1]


def test_all_else_of_the_models_stays(fits, scored):
    assert [fit.num_states for fit in scored.fits] == [1, 2]
    for before, after in zip(fits.fits, scored.fits, strict=True):
        assert replace(after, cv_metrics=before.cv_metrics) is not before
        assert after.raw_log_likelihood == before.raw_log_likelihood
        assert len(after.cv_metrics) == FOLDS


def test_a_subject_with_too_few_sessions_is_named_and_others_go_on(fits):
    few = np.where(np.arange(len(fits[1].y)) < len(fits[1].y) // 2, "s0", "s1")
    short = replace(
        fits, subject="b", fits=tuple(replace(fit, session_ids=few) for fit in fits.fits[:1])
    )
    both = score_prospectively({"b": short, "a": replace(fits, fits=fits.fits[:1])}, FOLDS)
    assert isinstance(both["b"], Excluded)
    reason = "subject 'b', prospective folds: 2 prospective folds need 4 sessions, there are 2"
    assert both["b"].reason.startswith(reason)
    assert len(both["a"][1].cv_metrics) == FOLDS


def test_a_past_without_a_choice_is_named(fits):
    fit = fits[1]
    past = np.isin(fit.session_ids, np.unique(fit.session_ids)[:1])
    silent = replace(fit, mask=fit.mask & (np.cumsum(~past) > len(past) // 2))
    one = score_prospectively({"a": replace(fits, fits=(silent,))}, FOLDS)["a"]
    assert "has no choice to train on" in one.reason
