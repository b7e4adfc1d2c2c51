"""Sampling within a mode: beside the curvature and the session bootstrap, and its bookkeeping."""

import importlib.util

import numpy as np
import pytest
from core.engine.climbs import _TRUE, TWO
from core.fitting.fitted import fit, two
from core.oracles import simulate

from glmhmm_core.comparison import nuts
from glmhmm_core.comparison.bootstrap import bootstrap_sessions
from glmhmm_core.comparison.nuts import WITHIN_MODE_SCHEMA, sample_within_mode
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import free_parameters
from glmhmm_core.fitting.uncertainty import UNCERTAINTY_SCHEMA, standard_errors
from glmhmm_core.states.matching import reorder


@pytest.mark.slow
def test_curvature_bootstrap_and_sampling_agree_where_there_are_many_trials():
    # 40 sessions of 60 trials, weights within 10, flat transitions.
    trials = simulate(np.random.default_rng(1), _TRUE[TWO], (60,) * 40)[0]
    result = fit(trials, emission_prior_scale=10.0, transition_concentration=1.0, n_restarts=2)
    known = standard_errors(result).table
    sampled = sample_within_mode(result, draws=300, warmup=150)
    resampled = bootstrap_sessions(result, 80)

    assert dict(sampled.table.schema) == UNCERTAINTY_SCHEMA | WITHIN_MODE_SCHEMA
    assert sampled.draws.shape == (4, 300, known.height)
    assert (sampled.divergences, sampled.relabelled) == (0, 0)
    assert sampled.table["r_hat"].max() < 1.02
    assert sampled.table["effective_draws"].min() > 200
    se = known["se"].to_numpy()
    # A sampled standard deviation is known to 4 %, one of 80 resamples to 8 %, and sessions
    # vary by themselves; all as factors of the curvature's.
    ratio = sampled.table["se"].to_numpy() / se
    assert np.all((ratio > 0.85) & (ratio < 1.18)), ratio
    ratio = resampled.table["se"].to_numpy() / se
    assert np.all((ratio > 0.7) & (ratio < 1.4)), ratio
    # Ends of the intervals, in standard errors. That of the rarely made transition lies .84 further
    # out, its posterior being skewed (10,000 draws); 1,200 tell it to .13, four samples gave .64
    # to .98. The second or third of 80 resamples is a rough one too.
    for table, near in ((sampled.table, 1.2), (resampled.table, 1.0)):
        for end in ("lower", "upper"):
            assert np.abs((table[end] - known[end]).to_numpy() / se).max() < near
    # The posterior is skewed, and its Dirichlets count one transition more.
    middle = sampled.draws.mean((0, 1)) - known["estimate"].to_numpy()
    assert np.abs(middle / se).max() < 0.4


def test_draws_of_the_other_numbering_are_turned_back():
    named = free_parameters(two())
    mode = named.values(two().fitted_params)
    other = named.values(reorder(two().fitted_params, [1, 0]))
    assert np.abs(mode - other).max() > 1
    draws, relabelled = nuts._relabel(two(), named, np.array([[mode, other], [other, mode]]))
    assert relabelled == 2
    np.testing.assert_allclose(draws, np.broadcast_to(mode, draws.shape), rtol=1e-9, atol=1e-9)


def test_what_is_wrong_is_said():
    named = free_parameters(two())
    mode = named.values(two().fitted_params)
    rng = np.random.default_rng(0)
    apart = rng.normal(size=(2, 500, len(mode)))
    fine = nuts._told(named, mode, apart, 0, 0)
    assert fine.remarks == ()
    np.testing.assert_allclose(fine.table["se"], apart.reshape(-1, len(mode)).std(0, ddof=1))
    apart[1, :, 0] += 1.0
    doubts = nuts._told(named, mode, apart, 3, 0).remarks
    assert "3 draws diverged" in doubts[0]
    assert "do not agree" in doubts[1]
    assert "effective draws" in doubts[2]


def test_without_blackjax_or_draws_it_says_what_is_missing(monkeypatch):
    with pytest.raises(InputError, match="1 chains"):
        sample_within_mode(two(), chains=1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'glmhmm\[nuts\]'"):
        sample_within_mode(two())
