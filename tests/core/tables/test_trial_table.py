"""The trial table: joined by key, in nothing else."""

import numpy as np
import polars as pl
import pytest
from core.oracles import Trials, best_paths
from core.synthetic_fits import IBL, make_subject, permuted, shuffled, simpler, simulate
from polars.testing import assert_frame_equal

from glmhmm_core.errors import InputError
from glmhmm_core.tables.trials import trial_table

CLEANED, _ = simulate(IBL, 4, np.array([9, 1, 30, 12]), seed=2, missing=0.05)
FITS = make_subject(CLEANED, [simpler(IBL, 1), IBL], n_folds=2, n_restarts=3)
KEYS = ["subject", "session", "trial", "num_states"]


def test_one_row_per_trial_and_model_with_everything_in_its_place():
    table = trial_table(FITS, CLEANED)
    assert table.columns[:4] == KEYS
    assert table.height == 2 * CLEANED.height == table.select(KEYS).n_unique()
    for fit in FITS.fits:
        rows = table.filter(num_states=fit.num_states)
        for k in range(3):
            for column, probs in (
                (f"p_state_{k}", fit.smoothed_state_probs),
                (f"p_state_pred_{k}", fit.predictive_state_probs),
            ):
                if k < fit.num_states:
                    np.testing.assert_array_equal(rows[column].to_numpy(), probs[:, k])
                else:
                    assert rows[column].is_null().all()
        np.testing.assert_array_equal(rows["p_choice_left"].to_numpy(), fit.choice_probs[:, 0])
        np.testing.assert_array_equal(rows["p_choice_right"].to_numpy(), fit.choice_probs[:, 1])
        decoded = fit.smoothed_state_probs.argmax(1)
        np.testing.assert_array_equal(rows["state_idx"].to_numpy(), decoded)
    three = table.filter(num_states=3)
    names = np.array(["engaged", "biased left", "biased right"])
    assert three["state_label"].to_list() == names[three["state_idx"].to_numpy()].tolist()


def test_the_order_of_the_cleaned_rows_is_of_no_consequence():
    mixed = CLEANED.sample(fraction=1.0, shuffle=True, seed=1)
    assert_frame_equal(trial_table(FITS, mixed), trial_table(FITS, CLEANED))


def test_the_order_of_the_fits_rows_is_of_no_consequence():
    mixed = trial_table(shuffled(FITS), CLEANED)
    plain = trial_table(FITS, CLEANED)
    drop = "state_viterbi"  # a path: order within a session is what it is about
    assert_frame_equal(mixed.sort(KEYS).drop(drop), plain.sort(KEYS).drop(drop))


def test_other_subjects_and_trials_outside_the_chain_are_passed_over():
    other = CLEANED.with_columns(subject=pl.lit("another"))
    outside = CLEANED.with_columns(trial=pl.col("trial") + 1000, in_chain=False)
    more = pl.concat([other, outside, CLEANED])
    assert_frame_equal(trial_table(FITS, more), trial_table(FITS, CLEANED))


@pytest.mark.parametrize(
    "cleaned",
    [
        CLEANED.slice(1),
        pl.concat([CLEANED, CLEANED.head(1)]),
        CLEANED.with_columns(session=pl.col("session") + "x"),
        pl.concat([CLEANED, CLEANED.head(1).with_columns(trial=pl.lit(500, pl.Int64))]),
    ],
)
def test_trials_that_are_not_those_of_the_fits_are_refused(cleaned):
    with pytest.raises(InputError, match=r"subject mouse: .* in the fits"):
        trial_table(FITS, cleaned)


def test_correct_is_unknown_where_nothing_was_chosen_or_no_outcome_is_known():
    feedback = pl.when(pl.col("trial") == 3).then(None).otherwise(pl.col("feedback"))
    rows = trial_table(FITS, CLEANED.with_columns(feedback=feedback)).filter(num_states=1)
    unknown = rows["choice"].is_null() | (rows["trial"] == 3)
    assert rows["choice"].null_count() > 0  # these count as not rewarded in the data
    assert (rows["correct"].is_null() == unknown).all()
    known = rows.filter(~unknown)
    assert (known["correct"] == (known["feedback"] == 1)).all()


def test_viterbi_is_the_best_of_all_paths():
    cleaned, _ = simulate(IBL, 5, 7, seed=4, missing=0.1)
    fits = make_subject(cleaned, [IBL], n_folds=2, n_restarts=2)
    fit = fits[3]
    rows = Trials(fit.X, fit.U, fit.y, fit.session_ids, 2, 0)
    truth = best_paths(fit.fitted_params, rows)
    assert len(set(truth)) > 1
    np.testing.assert_array_equal(trial_table(fits, cleaned)["state_viterbi"].to_numpy(), truth)


def test_labels_follow_the_states_when_they_are_renumbered():
    order = [2, 0, 1]
    renumbered = make_subject(CLEANED, [permuted(IBL, order)], n_folds=2, n_restarts=3)
    plain = trial_table(FITS, CLEANED).filter(num_states=3)
    moved = trial_table(renumbered, CLEANED)
    for column in ("state_label", "state_rank"):
        assert moved[column].to_list() == plain[column].to_list()
    np.testing.assert_array_equal(
        np.array(order)[moved["state_idx"].to_numpy()], plain["state_idx"].to_numpy()
    )
