"""Standard errors: against the oracle's curvature, closed forms, and data that say nothing."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import DRIVEN, GLM, TWO, trials_of
from core.fitting.fitted import NAMES, driven, fit, two
from core.oracles import gradient, log_likelihood, numeric_gradient, params_at
from core.textbook_em import Priors, log_prior
from polars.testing import assert_frame_equal

from glmhmm_core.engine.coordinates import pack
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.uncertainty import UNCERTAINTY_SCHEMA, standard_errors, staying
from glmhmm_core.states.matching import reorder

DEFAULT = Priors(np.array([2.0, 2.0]), 2.0)


def test_errors_are_those_of_the_oracle_s_objective():
    result, trials = two(), trials_of(TWO)
    params = result.fitted_params
    theta = np.asarray(pack(params))

    def slope(x):
        return gradient(lambda z: log_likelihood(params_at(z, params), trials), x)

    def prior_slope(x):
        return numeric_gradient(lambda z: log_prior(params_at(z, params), DEFAULT), x)

    hessian = numeric_gradient(slope, theta) + numeric_gradient(prior_slope, theta)
    gone = int(np.argmax(params.initial_probs))
    kept = [i for i in range(len(theta)) if i != gone]
    expected = np.linalg.inv(-hessian[np.ix_(kept, kept)])
    known = standard_errors(result)
    np.testing.assert_allclose(known.covariance, expected, rtol=1e-4, atol=1e-7)
    assert known.off_optimum < 1e-3
    assert not known.near_singular
    assert known.remarks == ()
    table = known.table
    assert dict(table.schema) == UNCERTAINTY_SCHEMA
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(expected)), rtol=1e-4)
    np.testing.assert_allclose(table["upper"] - table["lower"], 2 * 1.959964 * table["se"])


def test_rows_carry_the_values_of_the_parameters():
    result = fit(trials_of(DRIVEN, seed=1), n_restarts=1)
    assert result.baseline_class_idx == 1
    params = result.fitted_params
    table = standard_errors(result).table
    for row in table.iter_rows(named=True):
        k, c = row["state_idx"], row["class_idx"]
        if row["parameter"] == "weight":
            place = [x for x in range(3) if x != result.baseline_class_idx].index(c)
            truth = params.emission_weights[k, place, NAMES.index(row["feature"])]
        elif row["parameter"] == "transition":
            law = params.transition_matrix[k]
            truth = np.log(law[row["target_idx"]] / law[k])
        elif row["parameter"] == "transition_weight":
            truth = params.transition_weights[k, 0, ("u0", "u1").index(row["feature"])]
        else:
            truth = np.log(params.initial_probs[k] / params.initial_probs[row["target_idx"]])
        assert row["estimate"] == pytest.approx(truth)
    assert table["parameter"].to_list().count("initial") == 1


def test_a_glm_has_the_errors_of_a_logistic_regression():
    trials = trials_of(GLM)
    table = standard_errors(fit(trials, 1)).table
    X = trials.X[trials.mask]
    w = table["estimate"].to_numpy()
    p = 1 / (1 + np.exp(-X @ w))
    information = (X * (p * (1 - p))[:, None]).T @ X + np.eye(2) / 4
    np.testing.assert_allclose(table["se"], np.sqrt(np.diag(np.linalg.inv(information))))


def test_states_that_are_hidden_cost_information():
    # With the states known, the errors would be those of the M-step's regressions: smaller.
    result = two()
    table = standard_errors(result).table.filter(parameter="weight")
    X, gamma = result.X[result.mask], result.smoothed_state_probs[result.mask]
    for k in range(2):
        w = result.fitted_params.emission_weights[k, 0]
        p = 1 / (1 + np.exp(-X @ w))
        complete = (X * (gamma[:, k] * p * (1 - p))[:, None]).T @ X + np.eye(2) / 4
        errors = table.filter(state_idx=k)["se"].to_numpy()
        assert (errors > 1.05 * np.sqrt(np.diag(np.linalg.inv(complete)))).all()


def test_frozen_weights_have_no_row_and_sharpen_the_others():
    held = {1: {"bias": float(two().fitted_params.emission_weights[1, 0, 1])}}
    frozen = fit(trials_of(TWO), frozen_emissions=held, warm_start=two().fitted_params)
    table = standard_errors(frozen).table
    keys = ["parameter", "state_idx", "target_idx", "feature"]
    both = table.join(standard_errors(two()).table, on=keys, nulls_equal=True, how="inner")
    assert table.filter(state_idx=1, feature="bias").is_empty()
    assert both.height == table.height == 6
    assert (both["se"] <= both["se_right"] * (1 + 1e-6)).all()
    assert both.filter(state_idx=1, feature="stimulus")["se"][0] < both["se_right"].max()


@pytest.mark.parametrize("fitted", [two, driven])
def test_neither_the_states_numbers_nor_the_baseline_s_matter(fitted):
    result = fitted()
    turned = replace(result, fitted_params=reorder(result.fitted_params, [1, 0]))
    keys = ["parameter", "state_idx", "target_idx", "class_idx", "feature"]
    other = pl.col("state_idx", "target_idx").replace({0: 1, 1: 0})
    assert_frame_equal(
        standard_errors(turned).table.with_columns(other).sort(keys),
        standard_errors(result).table.sort(keys),
        rel_tol=1e-5,
    )


def test_units_of_a_regressor_scale_its_errors():
    trials = trials_of(TWO)
    scale = np.array([1e-4, 1.0])
    wide = fit(
        replace(trials, X=trials.X * scale),
        emission_prior_scale=(2e4, 2.0),
        warm_start=two().fitted_params._replace(
            emission_weights=two().fitted_params.emission_weights / scale
        ),
        n_restarts=0,
    )
    known = standard_errors(wide)
    of = pl.col("feature") == "stimulus"
    errors = known.table.filter(of)["se"].to_numpy() * 1e-4
    np.testing.assert_allclose(errors, standard_errors(two()).table.filter(of)["se"], rtol=1e-3)
    assert not known.near_singular


def test_a_regressor_that_says_nothing_and_has_no_prior_is_reported():
    trials = trials_of(TWO)
    names = (*NAMES, "again")
    twice = replace(trials, X=np.column_stack([trials.X, trials.X[:, 1]]))
    known = standard_errors(
        fit(twice, emission_names=names, emission_prior_scale=np.inf, n_restarts=2)
    )
    assert known.near_singular
    assert any("'again'" in remark for remark in known.remarks)
    told = known.table.filter(parameter="weight")
    assert told.filter(pl.col("feature") != "stimulus")["se"].is_null().all()
    assert told.filter(feature="stimulus")["se"].is_not_null().all()
    proper = standard_errors(fit(twice, emission_names=names, n_restarts=2))
    assert not proper.near_singular
    assert proper.table["se"].is_not_null().all()


def test_a_probability_at_zero_has_no_error():
    result = two()
    certain = replace(
        result, fitted_params=result.fitted_params._replace(initial_probs=np.array([1.0, 0.0]))
    )
    known = standard_errors(certain)
    assert known.table.filter(parameter="initial")["se"].to_list() == [None]
    assert "beginning in state 1" in known.remarks[0]
    assert known.table.filter(pl.col("parameter") != "initial")["se"].is_not_null().all()


def test_a_point_off_the_optimum_is_reported():
    result = two()
    moved = replace(
        result,
        fitted_params=result.fitted_params._replace(
            emission_weights=result.fitted_params.emission_weights + 0.1
        ),
    )
    known = standard_errors(moved)
    assert known.off_optimum > 0.1
    assert "off its optimum" in known.remarks[-1]


def test_stays_have_intervals_that_are_possible():
    result = two()
    known = standard_errors(result)
    stays = staying(result, known)
    matrix = result.fitted_params.transition_matrix
    for k, row in enumerate(stays.iter_rows(named=True)):
        se = known.table.filter(parameter="transition", state_idx=k)["se"].item()
        odds = np.log(matrix[k, k] / (1 - matrix[k, k]))
        ends = 1 / (1 + np.exp(-(odds + np.array([-1, 1]) * 1.959964 * se)))
        np.testing.assert_allclose(
            [row["self_transition_lower"], row["self_transition_upper"]], ends
        )
        np.testing.assert_allclose([row["dwell_lower"], row["dwell_upper"]], 1 / (1 - ends))
        assert row["dwell_lower"] < row["dwell"] < row["dwell_upper"]


def test_free_parameters_are_as_many_as_are_counted():
    for result in (two(), driven()):
        assert free_parameters(result).keys.height == result.specification.num_parameters(2)
