"""Tables of transition regressors, against the formulas written out."""

import numpy as np
import polars as pl
import pytest
from core.driven_fits import NAMES, with_regressors
from core.plots.cases import textbook

from glmhmm_core.states.labels import order_and_label
from glmhmm_core.tables.driven import (
    AT_ZERO,
    driven_transition_table,
    staying_table,
    transition_weight_table,
)

FITS = with_regressors(textbook().fits[0], frozen=True)
K = 3


def law(params, state, u):
    """P(next state) from the log-odds of leaving for each other state over staying."""
    odds = np.array(params.transition_matrix[state] / params.transition_matrix[state, state])
    others = [j for j in range(len(odds)) if j != state]
    for row, j in enumerate(others):
        odds[j] *= np.exp(params.transition_weights[state, row] @ u)
    return odds / odds.sum()


def test_every_weight_has_its_edge_and_its_regressor():
    table = transition_weight_table(FITS)
    fit, labels = FITS[K], order_and_label(FITS[K], FITS.choice_names)
    rows = table.filter(num_states=K)
    assert len(rows) == K * (K - 1) * (len(NAMES) + 1)
    params = fit.fitted_params
    for row in rows.iter_rows(named=True):
        i, j = row["source_idx"], row["target_idx"]
        assert i != j
        assert (row["source_label"], row["target_label"]) == (labels.labels[i], labels.labels[j])
        expected = np.log(params.transition_matrix[i, j] / params.transition_matrix[i, i])
        if row["feature"] != AT_ZERO:
            at = [k for k in range(K) if k != i].index(j)
            expected = params.transition_weights[i, at, NAMES.index(row["feature"])]
        assert row["weight"] == pytest.approx(expected)
        assert row["frozen"] == (i == 0 and row["feature"] == NAMES[0])


def test_errors_stand_beside_the_weight_that_they_are_of():
    made = {"parameter": [], "state_idx": [], "target_idx": [], "feature": [], "se": []}
    for i in range(K):
        for j in range(K):
            for feature in (None, *NAMES):
                if i != j:
                    kind = "transition" if feature is None else "transition_weight"
                    number = 1.0 + i + 10 * j + 100 * (0 if feature is None else len(feature))
                    for name, value in zip(made, (kind, i, j, feature, number), strict=True):
                        made[name].append(value)
    errors = pl.DataFrame(made).with_columns(lower=-pl.col("se"), upper=pl.col("se") + 1)
    table = transition_weight_table(FITS, None, {K: errors})
    assert table.filter(pl.col("num_states") != K)["se"].null_count() > 0
    for row in table.filter(num_states=K).iter_rows(named=True):
        size = 0 if row["feature"] == AT_ZERO else len(row["feature"])
        expected = 1.0 + row["source_idx"] + 10 * row["target_idx"] + 100 * size
        assert (row["se"], row["lower"], row["upper"]) == (expected, -expected, expected + 1)


def test_averages_are_over_the_trials_that_have_a_transition():
    fit = FITS[K]
    first = ~pl.Series(fit.session_ids).is_first_distinct().to_numpy()
    table = driven_transition_table(FITS).filter(num_states=K)
    for row in table.iter_rows(named=True):
        i, j = row["source_idx"], row["target_idx"]
        every = [law(fit.fitted_params, i, u)[j] for u in fit.U[first]]
        assert row["average"] == pytest.approx(np.mean(every), abs=1e-12)
        assert row["at_zero"] == pytest.approx(fit.fitted_params.transition_matrix[i, j])
        assert row["lowest"] <= row["average"] <= row["highest"]
    sums = table.group_by("source_idx").agg(pl.col("average", "at_zero").sum())
    np.testing.assert_allclose(sums.select("average", "at_zero").to_numpy(), 1)


def test_staying_is_along_one_regressor_with_the_others_at_their_means():
    fit = FITS[K]
    led = fit.U[~pl.Series(fit.session_ids).is_first_distinct().to_numpy()]
    curves = staying_table(FITS).filter(num_states=K)
    for column, name in enumerate(NAMES):
        one = curves.filter(feature=name, state_idx=1)
        ends = (led[:, column].min(), led[:, column].max())
        assert (one["value"].min(), one["value"].max()) == pytest.approx(ends)
        for value, stay in one.select("value", "stay").iter_rows():
            u = led.mean(0)
            u[column] = value
            assert stay == pytest.approx(law(fit.fitted_params, 1, u)[1])
