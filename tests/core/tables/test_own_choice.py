"""Posteriors without the own choice: those of a chain in which that choice was never seen."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, trials_of
from core.fitting.fitted import fit, two
from core.oracles import Trials, by_recursion
from core.synthetic_fits import IBL, make_subject, simulate

from glmhmm_core.tables.behavior import accuracy_table, psychometric_table
from glmhmm_core.tables.own_choice import own_choice_removed, without_own_choice

CLEANED, TRUTH = simulate(IBL, 120, 90, seed=11)
FITS = make_subject(CLEANED, [IBL], n_folds=2, n_restarts=2)


def other_baseline():
    """Three choices, of which not the first is the baseline."""
    return fit(trials_of(DRIVEN, seed=1), n_restarts=1)


@pytest.mark.parametrize("fitted", [two, other_baseline])
def test_it_is_the_posterior_with_the_choice_hidden(fitted):
    result = fitted()
    removed = own_choice_removed(result)
    np.testing.assert_allclose(removed.sum(1), 1)
    trials = Trials(
        *(result.X, result.U, result.y, result.session_ids),
        *(result.num_classes, result.baseline_class_idx),
    )
    for t in (0, 1, 39, 40, 57, 399, *np.flatnonzero(~result.mask)[:2]):
        y = result.y.copy()
        y[t] = -1
        hidden = by_recursion(result.fitted_params, replace(trials, y=y))
        np.testing.assert_allclose(removed[t], hidden.smoothed[t], rtol=1e-7, atol=1e-12)


def test_trials_sorted_without_their_own_choice_have_their_true_accuracy():
    correct = (CLEANED["feedback"] == 1).to_numpy()
    seen = ((CLEANED["contrast"] != 0) & CLEANED["choice"].is_not_null()).to_numpy()
    table = accuracy_table(FITS, CLEANED, "contrast")
    fair = accuracy_table(without_own_choice(FITS), CLEANED, "contrast")
    assert table["accuracy_by_others"].to_list() == fair["accuracy_certain"].to_list()
    assert table["by_others_trials"].to_list() == fair["certain_trials"].to_list()
    for k in (1, 2):
        true = correct[seen & (k == TRUTH)].mean()
        sorted_by_itself = table.filter(state_idx=k)["accuracy_certain"].item()
        sorted_by_others = fair.filter(state_idx=k)["accuracy_certain"].item()
        assert sorted_by_itself < true - 0.04
        assert abs(sorted_by_others - true) < 0.04
        # The posterior's weights need no threshold.
        assert abs(table.filter(state_idx=k)["accuracy"].item() - true) < 0.04


def test_tables_take_them_as_they_take_fits():
    fair = psychometric_table(without_own_choice(FITS), CLEANED, "contrast")
    plain = psychometric_table(FITS, CLEANED, "contrast")
    assert fair.schema == plain.schema
    assert fair["state_label"].to_list() == plain["state_label"].to_list()
    assert not np.allclose(fair["probability"], plain["probability"])


def test_a_choice_that_a_state_rules_out_leaves_a_posterior():
    params = two().fitted_params
    sharp = params._replace(emission_weights=params.emission_weights * 1e3)
    removed = own_choice_removed(replace(two(), fitted_params=sharp))
    assert np.isfinite(removed).all()


def test_psychometric_points_stand_beside_those_of_trials_sorted_by_other_choices():
    table = psychometric_table(FITS, CLEANED, "contrast")
    certain = own_choice_removed(FITS[3]) >= 0.9
    contrast, choice = CLEANED["contrast"].to_numpy(), CLEANED["choice"].fill_null(-1).to_numpy()
    for k in range(3):
        points = table.filter(state_idx=k, kind="data_by_others", class_name="right")
        for row in points.iter_rows(named=True):
            here = certain[:, k] & (choice >= 0) & (contrast == row["stimulus"])
            assert row["probability"] == pytest.approx((choice[here] == 1).mean())
            assert row["effective_trials"] == pytest.approx(here.sum())
    assert table.filter(kind="data_by_others")["state_idx"].null_count() == 0
