"""What comes back from resampled sessions and from simulations of a fit."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.engine.climbs import GLM, trials_of
from core.fitting.fitted import fit, two
from polars.testing import assert_frame_equal

from glmhmm_core.comparison import bootstrap, recovery
from glmhmm_core.comparison.bootstrap import BOOTSTRAP_SCHEMA, bootstrap_sessions
from glmhmm_core.comparison.recovery import (
    DECODED_SCHEMA,
    RECOVERED_SCHEMA,
    recover,
    recovery_summary,
)
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import KEY_SCHEMA, interchangeable
from glmhmm_core.fitting.refit import problem_of, refit, resampled
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.states.matching import SHARES, assign, reorder


def swapped_refits(module, monkeypatch):
    """Refits that number their states otherwise than the fit."""

    def swap(*args, **kwargs):
        climb = refit(*args, **kwargs)
        return replace(climb, params=reorder(climb.params, [1, 0]))

    monkeypatch.setattr(module, "refit", swap)


def test_sessions_are_drawn_whole_and_each_time_anew():
    problem = problem_of(two())
    drawn = resampled(problem, np.array([3, 3, 0]))
    rows = [np.flatnonzero(problem.session_index == s) for s in (3, 3, 0)]
    np.testing.assert_array_equal(drawn.X, problem.X[np.concatenate(rows)])
    np.testing.assert_array_equal(drawn.y, problem.y[np.concatenate(rows)])
    assert drawn.layout.first.sum() == 3
    again = resampled(problem, np.arange(len(problem.sessions)))
    one, all_ = (p.posteriors(two().fitted_params).log_likelihood for p in (problem, again))
    np.testing.assert_allclose(all_, one)


def test_spread_over_sessions_is_about_the_curvature_s():
    found = bootstrap_sessions(two(), 40)
    assert dict(found.table.schema) == BOOTSTRAP_SCHEMA
    assert found.not_converged == 0
    known = standard_errors(two()).table
    assert found.table.select(*KEY_SCHEMA).equals(known.select(*KEY_SCHEMA))
    sure = (known["parameter"] != "initial").to_numpy()  # ten sessions begin ten times
    ratio = (found.table["se"] / known["se"]).to_numpy()[sure]
    assert np.all((ratio > 0.5) & (ratio < 1.8))
    assert (found.table["lower"] < found.table["upper"]).all()
    # A resample depends on its number alone.
    fewer = bootstrap_sessions(two(), 5)
    np.testing.assert_array_equal(fewer.values, found.values[:5])


def test_resamples_whose_states_change_numbers_are_relabelled(monkeypatch):
    plain = bootstrap_sessions(two(), 5)
    swapped_refits(bootstrap, monkeypatch)
    assert_frame_equal(bootstrap_sessions(two(), 5).table, plain.table)


def test_refits_that_do_not_converge_are_counted_and_left_out(monkeypatch):
    plain = bootstrap_sessions(two(), 6)
    calls = []

    def sometimes(*args, **kwargs):
        calls.append(0)
        return replace(refit(*args, **kwargs), converged=len(calls) % 3 > 0)

    monkeypatch.setattr(bootstrap, "refit", sometimes)
    found = bootstrap_sessions(two(), 6)
    assert found.not_converged == 2
    np.testing.assert_array_equal(found.values, plain.values[[0, 1, 3, 4]])
    monkeypatch.setattr(
        bootstrap, "refit", lambda *a, **k: replace(refit(*a, **k), converged=False)
    )
    with pytest.raises(InputError, match="3 of 3 refits"):
        bootstrap_sessions(two(), 3)


def test_too_little_to_resample_is_refused():
    with pytest.raises(InputError, match="1 resamples"):
        bootstrap_sessions(two(), 1)


def test_parameters_and_states_come_back():
    found = recover(two(), history={}, num_simulations=3, n_restarts=4)
    table, decoding = found.parameters, found.decoding
    assert dict(table.schema) == RECOVERED_SCHEMA
    assert dict(decoding.schema) == DECODED_SCHEMA
    assert table.height == 3 * two().specification.num_parameters(2)
    np.testing.assert_allclose(table["error"], table["estimate"] - table["truth"])
    # Where ten sessions all seem to begin in one state, nothing is known of the odds.
    sure = table.drop_nulls("se")
    assert table.filter(pl.col("parameter") != "initial")["se"].null_count() == 0
    z = (sure["error"] / sure["se"]).to_numpy()
    assert np.abs(z).max() < 4
    np.testing.assert_array_equal(sure["covered"], np.abs(z) <= 1.959964)
    assert table.filter(pl.col("se").is_null())["covered"].null_count() == table["se"].null_count()
    assert decoding["converged"].all()
    assert decoding["found_optimum"].all()
    assert not decoding["ambiguous"].any()
    # The truth decodes best on average; on one data set a fit may be lucky.
    assert decoding["decoded"].mean() <= decoding["ceiling"].mean() + 0.01
    assert decoding["decoded"].min() > 0.7
    summary = recovery_summary(found)
    assert summary["simulations"].to_list() == [3] * 7
    assert summary["unknown"].sum() == table["se"].null_count() > 0
    assert summary["bias"].abs().max() < 2
    one = table.filter(parameter="weight", state_idx=0, feature="bias")["error"].to_numpy()
    row = summary.filter(parameter="weight", state_idx=0, feature="bias")
    assert row["bias"].item() == pytest.approx(one.mean())
    assert row["rmse"].item() == pytest.approx(np.sqrt((one**2).mean()))


def test_errors_are_taken_after_matching(monkeypatch):
    plain = recover(two(), history={}, num_simulations=1, n_restarts=2)
    swapped_refits(recovery, monkeypatch)
    turned = recover(two(), history={}, num_simulations=1, n_restarts=2)
    assert_frame_equal(turned.parameters, plain.parameters, rel_tol=1e-6)
    assert_frame_equal(turned.decoding, plain.decoding)


def test_a_glm_comes_back():
    found = recover(fit(trials_of(GLM), 1), history={}, num_simulations=1, n_restarts=1)
    assert found.parameters["parameter"].to_list() == ["weight", "weight"]
    assert found.decoding["decoded"].to_list() == [1.0]


def test_states_with_other_frozen_weights_do_not_change_numbers():
    assert interchangeable(two()).all()
    held = {0: {"bias": 0.0}}
    frozen = replace(two(), specification=replace(two().specification, frozen_emissions=held))
    allowed = interchangeable(frozen)
    np.testing.assert_array_equal(allowed, np.eye(2, dtype=bool))
    # However alike the crossed pairs are.
    crossed = dict.fromkeys(SHARES, np.eye(2))
    assert assign(crossed).reference.tolist() == [1, 0]
    assert assign(crossed, allowed).reference.tolist() == [0, 1]


def test_nothing_to_recover_is_refused():
    with pytest.raises(InputError, match="0 simulations"):
        recover(two(), history={}, num_simulations=0)
