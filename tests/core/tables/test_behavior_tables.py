"""Accuracy and psychometric curves by state, weighted by the posterior."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import (
    CONTRASTS,
    IBL,
    SCALE,
    make_subject,
    permuted,
    shuffled,
    simpler,
    simulate,
)
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.special import expit
from scipy.stats import binomtest

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.tables.behavior import (
    ACCURACY_SCHEMA,
    ALL,
    PSYCHOMETRIC_SCHEMA,
    accuracy_table,
    psychometric_table,
    wilson,
)

CLEANED, TRUTH = simulate(IBL, 120, 90, seed=11)
FITS = make_subject(CLEANED, [IBL], n_folds=2, n_restarts=2)
SMALL, _ = simulate(IBL, 6, 40, seed=12, missing=0.05)
FEW = make_subject(SMALL, [simpler(IBL, 1), IBL], n_folds=2, n_restarts=2)


def certain(fits, state, truth=None):
    """The same fits with posteriors of 0 and 1: ``state`` throughout, or the true states."""
    fit = fits.fits[-1]
    states = np.full(len(fit.y), state) if truth is None else truth
    return replace(fits, fits=(replace(fit, smoothed_state_probs=np.eye(3)[states]),))


def test_weighted_accuracy_recovers_that_of_the_true_states():
    table = accuracy_table(FITS, CLEANED, "contrast")
    assert dict(table.schema) == ACCURACY_SCHEMA
    seen = ((CLEANED["contrast"] != 0) & CLEANED["choice"].is_not_null()).to_numpy()
    correct = (CLEANED["feedback"] == 1).to_numpy()
    for k in range(3):
        row = table.filter(state_idx=k).row(0, named=True)
        true = correct[seen & (k == TRUTH)]
        error = np.sqrt(true.mean() * (1 - true.mean()) / len(true))
        assert abs(row["accuracy"] - true.mean()) < 2.5 * error
        assert row["lower"] < row["accuracy"] < row["upper"]
        if k:  # assigning trials by their posterior sorts errors into the biased states
            assert row["accuracy_certain"] < true.mean() - 3 * error
    overall = table.filter(state_label=ALL)["accuracy"].item()
    assert overall == pytest.approx(correct[seen].mean())


def test_accuracy_of_known_states_is_a_plain_mean():
    table = accuracy_table(certain(FITS, None, TRUTH), CLEANED, "contrast")
    rows = CLEANED.with_columns(z=pl.Series(TRUTH)).filter(
        pl.col("contrast") != 0, pl.col("choice").is_not_null()
    )
    for k in range(3):
        own = rows.filter(z=k)
        row = table.filter(state_idx=k).row(0, named=True)
        assert row["accuracy"] == pytest.approx((own["feedback"] == 1).mean())
        assert row["accuracy"] == pytest.approx(row["accuracy_certain"])
        assert row["effective_trials"] == pytest.approx(own.height)
        assert row["certain_trials"] == own.height


def test_accuracy_is_unknown_where_no_outcome_is_known_or_a_state_has_no_trial():
    blind = SMALL.with_columns(feedback=pl.lit(None, pl.Int8))
    assert accuracy_table(FEW, blind, "contrast")["accuracy"].is_null().all()
    table = accuracy_table(certain(FEW, 0), SMALL, "contrast")
    assert table.filter(state_idx=1)["accuracy"].item() is None
    assert table.filter(state_idx=0)["accuracy"].item() is not None


def test_without_a_stimulus_every_known_outcome_counts():
    silent = SMALL.with_columns(contrast=pl.lit(None, pl.Float64))
    of_column = accuracy_table(FEW, silent, "contrast")
    assert_frame_equal(accuracy_table(FEW, silent, None), of_column)
    counted = SMALL.filter("in_chain", pl.col("choice").is_not_null())["feedback"]
    everything = of_column.filter(num_states=1, state_rank=-1)["accuracy"].item()
    assert everything == pytest.approx((counted > 0).mean())


def test_a_stimulus_that_is_never_known_is_named():
    silent = SMALL.with_columns(contrast=pl.lit(None, pl.Float64))
    with pytest.raises(InputError, match="no trial has a known 'contrast'"):
        psychometric_table(FEW, silent, "contrast")


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_is_that_of_scipy(hits, n):
    hits = min(hits, n)
    truth = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(hits / n, n), (truth.low, truth.high), atol=1e-6)


def test_points_of_all_trials_are_the_shares_of_choices():
    table = psychometric_table(FEW, SMALL, "contrast")
    assert dict(table.schema) == PSYCHOMETRIC_SCHEMA
    points = table.filter(num_states=3, kind="data", state_label=ALL, class_name="right")
    truth = (
        SMALL.drop_nulls("choice")
        .group_by("contrast")
        .agg(p=(pl.col("choice") == 1).mean(), n=pl.len())
        .sort("contrast")
    )
    np.testing.assert_allclose(points["stimulus"], truth["contrast"])
    np.testing.assert_allclose(points["probability"], truth["p"])
    np.testing.assert_allclose(points["effective_trials"], truth["n"])
    shares = table.group_by("num_states", "state_label", "kind", "bin").agg(
        pl.col("probability").sum()
    )
    np.testing.assert_allclose(shares["probability"], 1)


def test_a_condition_has_the_points_and_the_curve_of_its_own_trials():
    drug = pl.when(pl.col("trial") % 3 == 0).then(pl.lit("saline")).otherwise(pl.lit("ketamine"))
    cleaned = SMALL.with_columns(drug=drug).sample(fraction=1, shuffle=True, seed=1)
    saline = pl.col("drug") == "saline"
    table = psychometric_table(FEW, cleaned, "contrast", among=saline).filter(class_name="right")
    own = SMALL.with_columns(drug=drug)
    here = own["drug"].eq("saline").to_numpy() & FEW[3].mask
    for k in range(3):
        points = table.filter(num_states=3, kind="data", state_idx=k)
        for x, p in points.select("stimulus", "probability").rows():
            at = here & np.isclose(SMALL["contrast"], x)
            w = FEW[3].smoothed_state_probs[at, k]
            assert p == pytest.approx(w @ FEW[3].y[at] / w.sum())
    everyone = psychometric_table(FEW, cleaned, "contrast", among=saline | ~saline)
    assert everyone.equals(psychometric_table(FEW, cleaned, "contrast"))
    curve = table.filter(num_states=3, kind="model", state_idx=0)["probability"]
    rest = psychometric_table(FEW, cleaned, "contrast", among=~saline)
    others = rest.filter(num_states=3, kind="model", state_idx=0, class_name="right")
    whole = everyone.filter(num_states=3, kind="model", state_idx=0, class_name="right")
    share = FEW[3].smoothed_state_probs[here, 0].sum()
    share /= FEW[3].smoothed_state_probs[FEW[3].mask, 0].sum()
    mixed = share * curve + (1 - share) * others["probability"]
    np.testing.assert_allclose(mixed, whole["probability"])


def test_a_condition_without_trials_is_named():
    with pytest.raises(InputError, match="no trial where"):
        psychometric_table(FEW, SMALL, "contrast", among=pl.col("trial") < 0)


def test_points_of_a_state_are_weighted_by_its_posterior():
    table = psychometric_table(FEW, SMALL, "contrast").filter(
        num_states=3, kind="data", class_name="right"
    )
    fit = FEW[3]
    for k in range(3):
        for x in CONTRASTS:
            here = (SMALL["contrast"] == x).to_numpy() & fit.mask
            w = fit.smoothed_state_probs[here, k]
            row = table.filter(state_idx=k, stimulus=x).row(0, named=True)
            assert row["probability"] == pytest.approx(w @ (fit.y[here] == 1) / w.sum())
            assert row["effective_trials"] == pytest.approx(w.sum() ** 2 / (w @ w))


def test_curve_without_history_is_the_state_s_logistic_function():
    weights = IBL.emission_weights * [[[1, 1, 0, 0]]]
    fits = make_subject(SMALL, [IBL._replace(emission_weights=weights)], n_folds=2, n_restarts=2)
    table = psychometric_table(fits, SMALL, "contrast").filter(kind="model", class_name="right")
    for k in range(3):
        curve = table.filter(state_idx=k)
        slope, bias = weights[k, 0, :2]
        truth = expit(slope * SCALE * curve["stimulus"].to_numpy() + bias)
        np.testing.assert_allclose(curve["probability"], truth)
    left = psychometric_table(fits, SMALL, "contrast").filter(kind="model", class_name="left")
    np.testing.assert_allclose(left["probability"], 1 - table["probability"].to_numpy())


def test_curve_averages_over_the_history_of_the_state_s_own_trials():
    table = psychometric_table(FEW, SMALL, "contrast").filter(
        num_states=3, kind="model", class_name="right"
    )
    fit = FEW[3]
    X = fit.X.copy()
    for k in range(3):
        middle = table.filter(state_idx=k).filter(pl.col("stimulus").abs() < 1e-9)
        X[:, 0] = 0.0
        p = expit(X @ IBL.emission_weights[k, 0])[fit.mask]
        w = fit.smoothed_state_probs[fit.mask, k]
        assert middle["probability"].item() == pytest.approx(w @ p / w.sum())
    # Of all trials it is what was predicted before each choice, not what was known behind it.
    middle = table.filter(state_label=ALL).filter(pl.col("stimulus").abs() < 1e-9)
    laws = expit(X @ IBL.emission_weights[:, 0].T)
    overall = (fit.predictive_state_probs * laws).sum(1)[fit.mask].mean()
    assert middle["probability"].item() == pytest.approx(overall)


def test_where_the_regressor_is_no_line_the_curve_stands_at_the_points():
    fit = FEW[3]
    X = fit.X.copy()
    X[:, 0] = np.tanh(3 * X[:, 0])
    bent = replace(FEW, fits=(replace(fit, X=X),))
    table = psychometric_table(bent, SMALL, "contrast").filter(class_name="right")
    data, model = (table.filter(kind=kind) for kind in ("data", "model"))
    assert_frame_equal(
        data.select("state_label", "stimulus"), model.select("state_label", "stimulus")
    )
    here = (SMALL["contrast"] == 0.125).to_numpy() & fit.mask
    p = expit(X[here] @ IBL.emission_weights[1, 0])
    w = fit.smoothed_state_probs[here, 1]
    one = model.filter(state_idx=1, stimulus=0.125)["probability"].item()
    assert one == pytest.approx(w @ p / w.sum())
    laws = expit(X[here] @ IBL.emission_weights[:, 0].T)
    overall = (fit.predictive_state_probs[here] * laws).sum(1).mean()
    one = model.filter(state_label=ALL, stimulus=0.125)["probability"].item()
    assert one == pytest.approx(overall)


def test_points_lie_on_the_curve_of_the_model_that_made_them():
    table = psychometric_table(FITS, CLEANED, "contrast").filter(class_name="right")
    inside = []
    for (_,), state in table.group_by("state_label"):
        curve = state.filter(kind="model").sort("stimulus")
        data = state.filter(kind="data")
        p = np.interp(data["stimulus"], curve["stimulus"], curve["probability"])
        inside += list((data["lower"].to_numpy() < p) & (p < data["upper"].to_numpy()))
    assert np.mean(inside) > 0.85


def test_a_continuous_stimulus_is_cut_into_bins_of_equal_count():
    rng = np.random.default_rng(0)
    smooth = SMALL.with_columns(contrast=pl.Series(rng.normal(size=SMALL.height)))
    points = psychometric_table(FEW, smooth, "contrast").filter(
        num_states=3, kind="data", state_label=ALL, class_idx=0
    )
    assert points.height == 9
    counts = points["effective_trials"].to_numpy()
    assert counts.max() - counts.min() <= 2
    assert counts.sum() == pytest.approx(FEW[3].num_choices)
    assert points["stimulus"].is_sorted()


def test_trials_without_a_known_stimulus_are_left_out():
    gone = pl.when(pl.col("trial") == 0).then(None).otherwise(pl.col("contrast"))
    table = psychometric_table(FEW, SMALL.with_columns(contrast=gone), "contrast")
    points = table.filter(num_states=3, kind="data", state_label=ALL, class_idx=0)
    use = FEW[3].mask & (SMALL["trial"] != 0).to_numpy()
    assert points["effective_trials"].sum() == pytest.approx(use.sum())
    assert table["probability"].is_finite().all()


@pytest.mark.parametrize("make", [accuracy_table, psychometric_table])
def test_neither_row_order_nor_state_numbers_matter(make):
    plain = make(FEW, SMALL, "contrast")
    mixed = SMALL.sample(fraction=1.0, shuffle=True, seed=3)
    assert_frame_equal(make(FEW, mixed, "contrast"), plain)
    assert_frame_equal(make(shuffled(FEW), SMALL, "contrast"), plain)
    moved = make_subject(SMALL, [permuted(IBL, [2, 0, 1])], n_folds=2, n_restarts=2)
    three = plain.filter(num_states=3).drop("state_idx")
    assert_frame_equal(make(moved, SMALL, "contrast").drop("state_idx"), three)


def test_masked_choices_do_not_count():
    fit = FEW[3]
    mask = fit.mask & (np.arange(len(fit.y)) % 2 == 0)
    half = replace(FEW, fits=(replace(fit, mask=mask, y=np.where(mask, fit.y, -1)),))
    overall = accuracy_table(half, SMALL, "contrast").filter(state_label=ALL)
    use = mask & (SMALL["contrast"] != 0).to_numpy()
    assert overall["effective_trials"].item() == pytest.approx(use.sum())
    points = psychometric_table(half, SMALL, "contrast").filter(
        kind="data", state_label=ALL, class_idx=0
    )
    assert points["effective_trials"].sum() == pytest.approx(mask.sum())


def test_three_choices_have_a_curve_each():
    rng = np.random.default_rng(1)
    params = Parameters(np.ones(2) / 2, np.full((2, 2), 0.5), rng.normal(size=(2, 2, 4)))
    names = ("left", "center", "right")
    fits = make_subject(SMALL, [params], choice_names=names, baseline=1, n_folds=2)
    table = psychometric_table(fits, SMALL, "contrast")
    zero = table.filter(kind="model", state_idx=1).filter(pl.col("stimulus").abs() < 1e-9)
    fit = fits.fits[0]
    X = fit.X[fit.mask].copy()
    X[:, 0] = 0
    logits = np.insert(X @ params.emission_weights[1].T, 1, 0.0, axis=1)
    laws = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    w = fit.smoothed_state_probs[fit.mask, 1]
    np.testing.assert_allclose(zero.sort("class_idx")["probability"], w @ laws / w.sum())
