"""Held-out scores of sessions are those of their folds."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import TWO, trials_of
from core.fitting.fitted import design_of

from glmhmm_core.comparison.selection import SelectionRule, choose_for_subject
from glmhmm_core.comparison.session_scores import SESSION_SCORE_SCHEMA, session_scores
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.tables.scores import fold_table


@pytest.fixture(scope="module")
def fits():
    design = design_of(trials_of(TWO))
    return fit_subjects({"ann": design}, [1, 2], FitSettings(n_restarts=2, cv_folds=2))["ann"]


def test_every_session_is_held_out_once_and_sums_to_its_fold(fits):
    table = session_scores(fits)
    assert dict(table.schema) == SESSION_SCORE_SCHEMA
    names = sorted(set(fits.keys_session.tolist()))
    for k in (1, 2):
        assert sorted(table.filter(num_states=k)["session"]) == names
        folds = fold_table(fits).filter(num_states=k)
        nats = (folds["heldout_log_likelihood_per_trial"] * folds["test_trials"]).sum()
        assert table.filter(num_states=k)["heldout_log_likelihood"].sum() == pytest.approx(nats)
    assert table.filter(num_states=1)["num_choices"].sum() == fits[1].num_choices


def test_a_subject_s_own_number_comes_out_of_its_fits(fits):
    chosen = choose_for_subject(session_scores(fits))
    assert chosen.num_states == 1  # ten short sessions: a gain within two standard errors
    assert choose_for_subject(session_scores(fits), SelectionRule(min_errors=1)).num_states == 2
    assert chosen.exploratory
    folds = fold_table(fits).filter(num_states=2)
    gain = np.average(folds["heldout_gain"], weights=folds["test_trials"])
    assert chosen.table["next_gain"][0] == pytest.approx(gain)


def test_a_model_with_a_fold_that_did_not_converge_is_left_out(fits):
    first, second = fits.fits
    folds = (replace(second.cv_metrics[0], converged=False), *second.cv_metrics[1:])
    broken = replace(fits, fits=(first, replace(second, cv_metrics=folds)))
    assert session_scores(broken)["num_states"].unique().to_list() == [1]
