"""The exponential through lag weights: recovery, an oracle on a grid, and what it cannot tell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.errors import InputError
from glmhmm_core.tables.lag_kernel import LONGEST, SHORTEST, fit_lag_kernel

LAGS = np.arange(1.0, 11)


def exponential(tau, scale=1.0, lags=LAGS):
    shape = np.exp(-lags / tau)
    return scale * shape / shape.sum()


@given(
    tau=st.floats(0.5, 20),
    scales=st.lists(st.sampled_from([-3.0, -0.2, 0.1, 1.0, 5.0]), min_size=1, max_size=3),
)
def test_an_exponential_is_recovered_with_one_scale_per_group(tau, scales):
    weights = np.concatenate([exponential(tau, scale) for scale in scales])
    groups = [f"g{i}" for i in range(len(scales)) for _ in LAGS]
    fit = fit_lag_kernel(np.tile(LAGS, len(scales)), weights, groups)
    assert fit.success
    assert fit.message == ""
    assert fit.tau == pytest.approx(tau, rel=1e-5)
    assert fit.half_life == pytest.approx(tau * np.log(2), rel=1e-5)
    np.testing.assert_allclose(list(fit.scales.values()), scales, rtol=1e-5)
    np.testing.assert_allclose(fit.fitted, weights, atol=1e-6)
    assert fit.r2 == pytest.approx(1)


def noisy(seed, tau=3.0):
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.02, 0.2, 20)
    groups = ["a"] * 10 + ["b"] * 10
    truth = np.concatenate([exponential(tau, 1.0), exponential(tau, -0.8)])
    return np.tile(LAGS, 2), truth + errors * rng.normal(size=20), groups, errors


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_the_least_weighted_squares_of_all(seed):
    lags, weights, groups, errors = noisy(seed)
    fit = fit_lag_kernel(lags, weights, groups, errors)
    best = (np.inf, 0.0)
    for tau in np.geomspace(SHORTEST, LONGEST * 10, 1000):
        shape = exponential(tau)
        design = np.kron(np.eye(2), shape[:, None]) / errors[:, None]
        scales, (left,), *_ = np.linalg.lstsq(design, weights / errors, rcond=None)
        best = min(best, (left, tau, *scales))
    assert (((weights - fit.fitted) / errors) ** 2).sum() <= best[0] + 1e-9
    np.testing.assert_allclose([fit.tau, *fit.scales.values()], best[1:], rtol=0.02)


def test_only_the_ratios_of_errors_move_the_fit_and_unknown_weights_do_not():
    lags, weights, groups, errors = noisy(7)
    fit = fit_lag_kernel(lags, weights, groups, errors)
    assert fit_lag_kernel(lags, weights, groups, 3 * errors).tau == pytest.approx(fit.tau)
    plain = fit_lag_kernel(lags, weights, groups)
    assert fit_lag_kernel(lags, weights, groups, np.ones(20)).tau == pytest.approx(plain.tau)
    assert abs(plain.tau - fit.tau) > 0.05
    for unknown in (np.inf, np.nan):
        spoiled = np.append(weights, 9.0)
        more = fit_lag_kernel(
            np.append(lags, 11), spoiled, [*groups, "c"], np.append(errors, unknown)
        )
        assert more.tau == pytest.approx(fit.tau)
        assert np.isnan(more.scales["c"])


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(200):
        fit = fit_lag_kernel(*noisy(seed))
        lower, upper = np.nan_to_num([fit.tau_lower], nan=0)[0], fit.tau_upper
        held += lower <= 3.0 <= (np.inf if np.isnan(upper) else upper)
    assert 0.91 <= held / 200 <= 0.985
    precise = fit_lag_kernel(LAGS, exponential(3.0), errors=np.full(10, 1e-6))
    assert 0 < precise.tau_upper - precise.tau_lower < 1e-3
    assert precise.tau_lower < 3.0 < precise.tau_upper


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (np.ones(10), "does not fade"),
        (LAGS / 10, "does not fade"),
        (np.eye(10)[0], "one lag alone"),
        (np.zeros(10), "all weights are zero"),
        (np.where(LAGS == 4, np.nan, 1.0), "not finite"),
    ],
)
def test_what_sets_no_time_constant_is_no_success(weights, said):
    fit = fit_lag_kernel(LAGS, weights, errors=np.ones(10))
    assert not fit.success
    assert said in fit.message
    assert np.isnan([fit.tau_lower, fit.tau_upper]).all()


def test_one_lag_is_too_few():
    assert "fewer than two" in fit_lag_kernel([1, 1], [1.0, 2.0], ["a", "b"]).message
    known = fit_lag_kernel(LAGS, exponential(2.0), errors=np.where(LAGS == 1, 1.0, np.inf))
    assert "fewer than two" in known.message
    assert np.isnan(known.tau)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([0, 1], [1.0, 0.5]), "a lag is 0"),
        (([1, 1], [1.0, 0.5]), "a lag twice"),
        (([1, 2], [1.0]), "2 lags, 1 weights"),
        (([1, 2], [1.0, 0.5], None, [0.0, 1.0]), "standard error is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        fit_lag_kernel(*arguments)
