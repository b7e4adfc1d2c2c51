"""Predictive checks: silent on a model's own data, loud where switching or history is another."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.synthetic_fits import FEATURES, IBL, make_fit, simulate
from polars.testing import assert_frame_equal

from glmhmm_core.comparison import simulated
from glmhmm_core.comparison.predictive_checks import (
    CHECK_SCHEMA,
    choice_autocorrelation,
    choice_run_mean,
    predictive_checks,
)
from glmhmm_core.comparison.simulated import simulate_fit, simulate_many
from glmhmm_core.engine.session_kinds import SessionKinds
from glmhmm_core.errors import InputError

HISTORY = {"previous_choice": [2], "wsls": [3]}
TRIALS, _ = simulate(IBL, 30, 60, seed=4, missing=0.02)
FIT = make_fit(TRIALS, IBL, n_folds=0, n_restarts=1)
REWARDED = (TRIALS["contrast"] > 0).to_numpy().astype(int)


def checks(fit=FIT, **options):
    given = {"history": HISTORY, "rewarded": REWARDED, "num_simulations": 40}
    return predictive_checks(fit, **given | options)


def seen(trials):
    """The model that fits the other data, with these trials."""
    return make_fit(trials, IBL, n_folds=0, n_restarts=1)


def test_a_model_s_own_data_pass():
    table = checks()
    assert dict(table.schema) == CHECK_SCHEMA
    assert table["fails"].mean() < 0.2
    assert (table["p_value"] > 0.02).mean() > 0.8
    assert (table["lower"] <= table["simulated"]).all()
    assert_frame_equal(checks(), table)
    for row in table.iter_rows(named=True):  # the summary is that of the simulated data sets
        made = np.array([v for v in row["simulations"] if v is not None])
        assert row["simulated"] == pytest.approx(made.mean())
        further = min((made <= row["data"]).sum(), (made >= row["data"]).sum())
        assert row["p_value"] == pytest.approx(min(1.0, 2 * (1 + further) / (1 + len(made))))


def test_switching_that_is_clustered_in_sessions_fails():
    # Sessions in turn hardly switch, and switch twice as often: the mean is about the same.
    calm = 0.999 * np.eye(3) + 0.001 / 3
    wild = IBL.transition_matrix @ IBL.transition_matrix
    parts = [
        simulate(IBL._replace(transition_matrix=m), 15, 60, seed=s)[0].with_columns(
            session=pl.lit(f"{s}/") + pl.col("session")
        )
        for s, m in enumerate((calm, wild))
    ]
    fit = seen(pl.concat(parts))
    rewarded = (pl.concat(parts)["contrast"] > 0).to_numpy().astype(int)
    table = checks(fit, rewarded=rewarded)
    share = table.filter(statistic="share_switching").row(0, named=True)
    assert share["fails"]
    assert share["data"] < share["lower"]
    assert share["p_value"] < 0.05
    # A model that has both kinds of sessions makes such data.
    kinds = SessionKinds(
        np.full(2, 0.5),
        np.tile(IBL.initial_probs, (2, 1)),
        np.stack([calm, wild]),
        IBL.emission_weights,
    )
    told = checks(fit, rewarded=rewarded, kinds=kinds)
    assert not told.filter(statistic="share_switching")["fails"].item()


def test_an_engaged_state_that_comes_with_time_fails():
    """Sessions that begin in a biased state and end engaged, of a chain that knows no time."""
    late = IBL._replace(
        initial_probs=np.array([0.02, 0.49, 0.49]),
        transition_matrix=np.array([[0.998, 0.001, 0.001], [0.06, 0.94, 0], [0.06, 0, 0.94]]),
    )
    table = checks(seen(simulate(late, 30, 60, seed=6)[0]))
    rise = table.filter(statistic="occupancy_rise", state_idx=0).row(0, named=True)
    assert rise["fails"]
    assert rise["data"] > rise["upper"]


def test_history_that_the_model_has_not_fails_in_the_choices():
    more = np.array([[[0, 0, 1.5, 0]]])
    stubborn = IBL._replace(emission_weights=IBL.emission_weights + more)
    table = checks(seen(simulate(stubborn, 30, 60, seed=5)[0]))
    first = table.filter(statistic="choice_autocorrelation", lag=1).row(0, named=True)
    assert first["fails"]
    assert first["data"] > first["upper"]
    assert table.filter(statistic="choice_run_mean")["fails"].item()


def test_history_is_fed_back_and_starts_with_each_session():
    made = simulate_fit(FIT, history=HISTORY, rewarded=REWARDED, seed=1).problem
    everything = simulate_fit(
        replace(FIT, mask=np.ones_like(FIT.mask)), history=HISTORY, rewarded=REWARDED, seed=1
    ).problem
    first = made.layout.first
    assert (made.X[first, 2:] == 0).all()
    np.testing.assert_array_equal(
        made.X[1:, 2][~first[1:]], (2 * everything.y[:-1] - 1)[~first[1:]]
    )
    # What the data's own history was does not enter.
    X = FIT.X.copy()
    X[:, 2:] = np.nan
    other = simulate_fit(replace(FIT, X=X), history=HISTORY, rewarded=REWARDED, seed=1).problem
    np.testing.assert_array_equal(other.y, made.y)
    np.testing.assert_array_equal(made.y >= 0, FIT.mask)
    assert FEATURES[2:] == ("previous_choice", "wsls")


def test_autocorrelation_is_that_of_two_choices():
    rng = np.random.default_rng(0)
    y = (rng.normal(size=2000).cumsum() > 0).astype(int)
    early, late = y[:-3], y[3:]
    p = np.concatenate([early, late]).mean()
    pearson = ((early - p) * (late - p)).mean() / (p * (1 - p))
    assert choice_autocorrelation(y, np.zeros(2000), 3) == pytest.approx(pearson)
    independent = rng.integers(0, 3, 20_000)
    assert choice_autocorrelation(independent, np.zeros(20_000), 1) == pytest.approx(0, abs=0.02)


def test_choices_are_compared_within_sessions_and_where_they_were_made():
    y = np.array([0, 0, 1, 1, 1, -1, 1, 0])
    sessions = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    # Pairs at lag 1: 00, 01 | 11, 10; three of each choice... of the eight, 4 zeros and 4 ones.
    assert choice_autocorrelation(y, sessions, 1) == pytest.approx((0.5 - 0.5) / 0.5)
    # Runs 00, 1 | 111 (over the missing one), 0.
    assert choice_run_mean(y, sessions) == pytest.approx(7 / 4)
    assert np.isnan(choice_autocorrelation(np.zeros(5, int), np.zeros(5), 1))
    assert np.isnan(choice_autocorrelation(y, sessions, 7))
    assert np.isnan(choice_run_mean(np.full(3, -1), np.zeros(3)))


@pytest.mark.parametrize("options", [{"num_simulations": 5}, {"lags": (0,)}])
def test_what_says_nothing_is_refused(options):
    with pytest.raises(InputError, match="simulations"):
        checks(**options)


def test_many_simulations_are_like_one_and_do_not_depend_on_how_many_follow(monkeypatch):
    given = {"history": HISTORY, "rewarded": REWARDED, "seed": 3}
    made = list(simulate_many(FIT, 3, **given))
    follows = ~made[0].problem.layout.first[1:] & FIT.mask[:-1]
    for one in made:  # each has the history of its own choices, and of what was rewarded
        X, y = one.problem.X, one.problem.y
        np.testing.assert_array_equal(X[1:, 2][follows], (2 * y[:-1] - 1)[follows])
        np.testing.assert_array_equal(X[1:, 3][follows], (2 * REWARDED[:-1] - 1)[follows])
    for one, other in zip(made, simulate_many(FIT, 5, **given), strict=False):
        np.testing.assert_array_equal(one.problem.X, other.problem.X)
        np.testing.assert_array_equal(one.states, other.states)
    monkeypatch.setattr(simulated, "AT_ONCE", 2 * FIT.X.size)  # two at a time
    made = list(simulate_many(FIT, 4, **given))
    assert len({one.problem.y.tobytes() for one in made}) == 4
    for one in made:
        first = one.problem.layout.first
        assert (one.problem.X[first, 2:] == 0).all()
        np.testing.assert_array_equal(one.problem.y >= 0, FIT.mask)
        np.testing.assert_array_equal(one.problem.X[:, :2], FIT.X[:, :2])
        again = simulate_fit(FIT, history=HISTORY, rewarded=REWARDED).problem
        assert (one.problem.y == 1).mean() == pytest.approx((again.y == 1).mean(), abs=0.1)
