"""Data that say nothing of a weight: a finite fit, and a sentence that names the regressor."""

from dataclasses import replace

import numpy as np
import pytest
from core.engine.climbs import DRIVEN, TWO, never_falls, trials_of
from core.fitting.fitted import NAMES, fit, two
from core.oracles import by_recursion
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st


def assert_sound(result):
    assert np.isfinite(result.objective_log_probability)
    assert never_falls(result.log_probability)
    for name in ("smoothed_state_probs", "predictive_state_probs", "choice_probs"):
        array = getattr(result, name)
        assert np.isfinite(array).all(), name
        np.testing.assert_allclose(array.sum(1), 1.0, rtol=1e-9)
    for array in result.fitted_params:
        assert array is None or np.isfinite(array).all()


def with_columns(trials, *columns):
    return replace(trials, X=np.column_stack(columns))


T = 400
STIMULUS = trials_of(TWO).X[:, 0]
DEPENDENT = {
    "zero": (STIMULUS, np.zeros(T)),
    "copied": (STIMULUS, -3 * STIMULUS),
    "all but copied": (STIMULUS, STIMULUS * (1 + 1e-12)),
}


@pytest.mark.parametrize("columns", DEPENDENT.values(), ids=DEPENDENT)
@pytest.mark.parametrize("sigma", [2.0, np.inf])
def test_dependent_regressors_are_named(columns, sigma):
    result = fit(with_columns(trials_of(TWO), *columns), emission_prior_scale=sigma)
    assert_sound(result)
    assert any("'bias'" in remark for remark in result.remarks)
    assert not any("'stimulus'" in remark for remark in result.remarks)
    assert result.converged


def test_distinct_regressors_are_not():
    result = fit(with_columns(trials_of(TWO), STIMULUS, STIMULUS + 1e-3 * np.sin(np.arange(T))))
    assert result.remarks == ()
    assert two().remarks == ()


def test_a_constant_transition_regressor_is_named():
    trials = trials_of(DRIVEN)
    result = fit(replace(trials, U=np.column_stack([trials.U[:, 0], np.full(T, 3.0)])))
    assert_sound(result)
    assert any("'u1'" in remark for remark in result.remarks)
    assert not any("'u0'" in remark for remark in result.remarks)


@pytest.mark.parametrize("sigma", [2.0, np.inf])
def test_separable_choices_are_named_where_no_prior_holds_them(sigma):
    trials = replace(trials_of(TWO), y=(STIMULUS > 0.2).astype(int))
    result = fit(trials, emission_prior_scale=sigma)
    assert_sound(result)
    assert result.converged
    said = any("'stimulus'" in r and "no finite optimum" in r for r in result.remarks)
    assert said == np.isinf(sigma)


@pytest.mark.parametrize("sigma", [2.0, np.inf])
@pytest.mark.parametrize("never", [0, 2])
def test_a_choice_that_is_never_made_is_named(never, sigma):
    trials = trials_of(DRIVEN)
    kept = replace(trials, y=np.where(trials.y == never, -1, trials.y))
    result = fit(kept, emission_prior_scale=sigma)
    assert_sound(result)
    assert any(remark.startswith(f"Choice {never} is never made") for remark in result.remarks)
    assert result.choice_probs[:, never].max() < 0.5


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("column", [0, 1])
def test_a_regressor_of_an_extreme_scale_ends_in_the_same_optimum(scale, column):
    """The weight is per unit, and choices, posteriors and every restart's end are the same."""
    trials = trials_of(TWO)
    ordinary = fit(trials, emission_prior_scale=np.inf)
    unit = np.where(np.arange(2) == column, scale, 1.0)
    result = fit(replace(trials, X=trials.X * unit), emission_prior_scale=np.inf)
    assert result.restart_converged.all()
    np.testing.assert_allclose(result.restart_objectives, ordinary.restart_objectives, rtol=1e-8)
    at = result.fitted_params
    same = by_recursion(at._replace(emission_weights=at.emission_weights * unit), trials)
    assert same.log_likelihood == pytest.approx(ordinary.raw_log_likelihood, rel=1e-8)
    named = [remark for remark in result.remarks if "as large as" in remark]
    assert len(named) == (scale > 1)
    assert all(f"Regressor {NAMES[column]!r}" in remark for remark in named)


def test_a_session_without_a_choice_is_named_and_counts_for_nothing():
    trials = trials_of(TWO)
    silent = replace(trials, y=np.where(trials.session_ids == "s4", -1, trials.y))
    result = fit(silent)
    assert_sound(result)
    assert result.remarks == ("Session 's4' has no choice at all.",)
    kept = trials.rows(trials.session_ids != "s4")
    assert result.raw_log_likelihood == pytest.approx(
        by_recursion(result.fitted_params, kept).log_likelihood, rel=1e-12
    )


def test_as_many_choices_as_parameters():
    """The least that can be fitted: two choices bear the two weights of one state."""
    trials = trials_of(TWO)
    rows = [trials.sessions[0][0], trials.sessions[1][2]]
    y = np.full(T, -1)
    y[rows] = 0, 1
    for sigma in (2.0, np.inf):
        result = fit(replace(trials, y=y), 1, emission_prior_scale=sigma)
        assert_sound(result)
        assert result.converged


HARD = st.sampled_from(["as drawn", "huge", "tiny", "constant", "zero", "copied", "one trial"])


@given(seed=st.integers(0, 2**32 - 1), columns=st.tuples(HARD, HARD), flat=st.booleans())
@examples(max_examples=15)
def test_no_regressors_end_in_a_nan(seed, columns, flat):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(T, 2))
    for j, kind in enumerate(columns):
        X[:, j] = {
            "as drawn": X[:, j],
            "huge": X[:, j] * 1e8,
            "tiny": X[:, j] * 1e-8,
            "constant": np.full(T, 3.0),
            "zero": np.zeros(T),
            "copied": 2 * X[:, 0],
            "one trial": (np.arange(T) == 7).astype(float),
        }[kind]
    result = fit(
        replace(trials_of(TWO), X=X), emission_prior_scale=np.inf if flat else 2.0, n_restarts=2
    )
    assert_sound(result)
