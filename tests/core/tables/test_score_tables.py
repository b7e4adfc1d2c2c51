"""Scores, folds and restarts as tables; subjects side by side."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import IBL, make_subject, simpler, simulate
from polars.testing import assert_frame_equal

from glmhmm_core.comparison import scores
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.tables.cohort import cohort_summary, members, over_subjects, shared_names
from glmhmm_core.tables.parameters import state_table
from glmhmm_core.tables.scores import (
    FOLD_MEAN_SCHEMA,
    FOLD_SCHEMA,
    RESTART_SCHEMA,
    SCORE_SCHEMA,
    fold_means,
    fold_table,
    restart_table,
    score_table,
)


def subject(name, seed, models=(1, 2, 3), sessions=7, **options):
    cleaned, _ = simulate(IBL, sessions, 30, seed=seed, subject=name)
    params = [IBL if k == 3 else simpler(IBL, k) for k in models]
    return make_subject(cleaned, params, subject=name, seed=seed, **options)


FITS = subject("b", 1)


def test_scores_are_those_of_the_comparison_room():
    table = score_table(FITS)
    assert dict(table.schema) == SCORE_SCHEMA
    assert table["num_states"].to_list() == [1, 2, 3]
    for row, fit in zip(table.iter_rows(named=True), FITS.fits, strict=True):
        assert row["bic"] == scores.bic(fit)
        assert row["aic"] == scores.aic(fit)
        assert row["num_parameters"] == scores.num_parameters(fit)
        assert row["heldout_bits_per_trial"] == scores.heldout_bits_per_trial(fit)
        assert row["heldout_accuracy"] == scores.heldout_accuracy(fit)
        assert row["restarts_at_best"] == scores.restarts_at_best(fit)
        assert row["objective"] == fit.log_probability[-1]
        assert row["num_choices"] == (fit.y >= 0).sum()
        assert row["converged"] == fit.converged


def test_gain_is_paired_by_fold_and_weighted_by_trials():
    folds = fold_table(FITS)
    assert dict(folds.schema) == FOLD_SCHEMA
    one, three = (np.array([f.test_bits_per_trial for f in FITS[k].cv_metrics]) for k in (1, 3))
    trials = np.array([f.test_trial_count for f in FITS[1].cv_metrics])
    assert len(set(trials)) > 1
    row = score_table(FITS).filter(num_states=3).row(0, named=True)
    assert row["heldout_gain"] == pytest.approx((three - one) @ trials / trials.sum())
    assert row["heldout_gain_se"] == pytest.approx((three - one).std(ddof=1) / np.sqrt(5))
    assert row["heldout_bits_se"] == pytest.approx(three.std(ddof=1) / np.sqrt(5))
    assert folds.filter(num_states=1)["heldout_gain"].to_list() == [0.0] * 5
    means = fold_means(folds)
    assert dict(means.schema) == FOLD_MEAN_SCHEMA
    assert_frame_equal(fold_means(folds.sample(fraction=1, shuffle=True, seed=0)), means)


def test_folds_are_paired_by_their_sessions_not_their_numbers():
    single = FITS[1]
    turned = tuple(replace(f, fold_index=(f.fold_index + 2) % 5) for f in single.cv_metrics)
    moved = replace(FITS, fits=(replace(single, cv_metrics=turned[::-1]), *FITS.fits[1:]))
    gains = fold_table(moved).filter(num_states=3).drop("fold_index")
    assert_frame_equal(gains, fold_table(FITS).filter(num_states=3).drop("fold_index"))


def test_without_a_single_state_or_without_folds_there_is_no_gain():
    assert fold_table(subject("a", 2, models=(2, 3)))["heldout_gain"].is_null().all()
    assert score_table(subject("a", 2, models=(2, 3)))["heldout_gain"].is_null().all()
    bare = subject("a", 2, n_folds=0)
    assert fold_table(bare).is_empty()
    row = score_table(bare).row(0, named=True)
    assert row["heldout_bits_per_trial"] is None
    assert row["heldout_bits_se"] is None


def test_a_fold_without_a_choice_is_left_out():
    fit = FITS[1]
    empty = replace(fit.cv_metrics[0], test_trial_count=0, test_log_likelihood_per_trial=np.nan)
    fits = replace(FITS, fits=(replace(fit, cv_metrics=(empty, *fit.cv_metrics[1:])),))
    assert fold_table(fits)["fold_index"].to_list() == [1, 2, 3, 4]
    assert np.isfinite(score_table(fits)["heldout_bits_per_trial"].item())


def test_restart_traces_end_at_their_objectives_and_know_the_best():
    table = restart_table(FITS)
    assert dict(table.schema) == RESTART_SCHEMA
    for fit in FITS.fits:
        part = table.filter(num_states=fit.num_states)
        ends = part.sort("iteration").group_by("restart", maintain_order=True).last()
        ends = ends.sort("restart")
        np.testing.assert_array_equal(ends["objective"], fit.restart_objectives)
        np.testing.assert_array_equal(ends["iteration"], fit.restart_iterations)
        np.testing.assert_array_equal(ends["converged"], fit.restart_converged)
        assert ends["reached_best"].sum() == scores.restarts_at_best(fit)
        np.testing.assert_allclose(
            part["below_best"], fit.restart_objectives.max() - part["objective"].to_numpy()
        )
        assert ends["below_best"].min() == 0


def test_cohort_has_a_row_per_subject_and_model_whatever_the_order():
    members = [FITS, subject("a", 2, models=(1, 3)), subject("c", 3, models=(3,), n_folds=0)]
    table = cohort_summary(members, [Excluded("aa", "fewer than 30 sessions")])
    assert table.select("subject", "num_states").rows() == [
        ("a", 1),
        ("a", 3),
        ("aa", None),
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("c", 3),
    ]
    assert_frame_equal(
        cohort_summary(members[::-1], [Excluded("aa", "fewer than 30 sessions")]), table
    )
    left = table.filter(subject="aa").row(0, named=True)
    assert left["excluded"] == "fewer than 30 sessions"
    assert left["objective"] is None
    assert table.filter(pl.col("subject") != "aa")["excluded"].is_null().all()


def test_cohort_columns_of_states_are_those_of_the_state_table():
    table = cohort_summary([FITS, subject("a", 2)])
    states = state_table(FITS).filter(num_states=3)
    row = table.filter(subject="b", num_states=3).row(0, named=True)
    for label, soft, dwell in states.select(
        "state_label", "occupancy_soft", "expected_dwell"
    ).rows():
        assert row[f"occupancy_{label.replace(' ', '_')}"] == soft
        assert row[f"dwell_{label.replace(' ', '_')}"] == dwell
    assert row["min_occupancy"] == states["occupancy_soft"].min()
    assert row["min_dwell"] == states["expected_dwell"].min()
    two = table.filter(subject="b", num_states=2).row(0, named=True)
    assert two["occupancy_biased_right"] is None


def test_cohort_carries_notes_and_doubts():
    noted = replace(FITS, notes=("4 states were left out.", "No folds."))
    table = cohort_summary([noted, subject("a", 2)])
    assert set(table.filter(subject="b")["notes"]) == {"4 states were left out. No folds."}
    assert table.filter(subject="a")["notes"].is_null().all()
    odd = IBL._replace(emission_weights=IBL.emission_weights * [[[0.1, 1, 1, 1]]])
    cleaned, _ = simulate(IBL, 4, 30, seed=3, subject="odd")
    doubt = cohort_summary([make_subject(cleaned, [odd], subject="odd", n_folds=2)])
    assert doubt["labels_ambiguous"].to_list() == [True]
    assert "No state is engaged" in doubt["label_reason"].item()


def test_a_cohort_of_nobody_has_the_same_columns():
    table = cohort_summary([], [Excluded("x", "no sessions")])
    assert table.height == 1
    assert set(SCORE_SCHEMA) <= set(table.columns)


def test_states_of_one_subject_alone_are_not_shared_between_subjects():
    table = pl.DataFrame(
        {
            "state_match": [None, "state 2", "engaged", "biased right", "engaged"],
            "state_rank": [1, 2, 0, 3, 1],
        }
    )
    assert shared_names(table) == ["engaged", "state 2", "biased right"]


def test_means_over_subjects_are_those_of_numpy():
    rng = np.random.default_rng(0)
    table = pl.DataFrame(
        {
            "subject": [f"s{i}" for i in range(12)] * 2,
            "group": ["a"] * 12 + ["b"] * 12,
            "v": rng.normal(size=24),
        }
    )
    summary = over_subjects(table.sample(fraction=1, shuffle=True, seed=1), ["group"], ["v"])
    for i, group in enumerate("ab"):
        values = table.filter(group=group)["v"].to_numpy()
        row = summary.row(i, named=True)
        assert row["group"] == group
        assert row["subjects"] == 12
        assert row["v_mean"] == pytest.approx(values.mean())
        assert row["v_se"] == pytest.approx(values.std(ddof=1) / np.sqrt(12))
        quartiles = [row[f"v_{q}"] for q in ("q25", "median", "q75")]
        np.testing.assert_allclose(quartiles, np.quantile(values, [0.25, 0.5, 0.75]))
    assert over_subjects(table.head(1), ["group"], ["v"])["v_se"].item() is None


def test_only_converged_fits_of_the_same_model_count_over_subjects():
    def other(name, **changes):
        fits = replace(FITS, subject=name)
        return replace(fits, fits=tuple(replace(fit, **changes) for fit in fits.fits))

    unfinished = other("c", restart_converged=np.zeros_like(FITS[3].restart_converged))
    names = FITS[3].emission_names
    changed = replace(FITS[3].specification, emission_names=(*names[:-1], "another"))
    stranger = other("d", specification=changed)
    short = replace(FITS, subject="e", fits=FITS.fits[:2])
    everyone = [replace(FITS, subject="a"), FITS, unfinished, stranger, short]
    counted, left_out = members(everyone, 3, ["f"])
    assert [one.subject for one in counted] == ["a", "b"]
    assert left_out == {
        "without fits": ["f"],
        "without a model of 3 states": ["e"],
        "whose fit did not converge": ["c"],
        "with other regressors": ["d"],
    }
    assert members([FITS], 3) == ([FITS], {})
    assert members([], 3)[0] == []
