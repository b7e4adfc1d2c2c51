"""How often states switch and how long they last: by hand, and against the true paths."""

import numpy as np
import pytest
from core.synthetic_fits import IBL, make_fit, simulate

from glmhmm_core.comparison.path_statistics import BY_STATE, OVERALL, path_table, statistics


def test_statistics_by_hand():
    paths = np.array([[0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]])
    sessions = np.array([0, 0, 0, 1, 1, 1])
    found = {key: value.tolist() for key, value in statistics(paths, sessions, 3).items()}
    # The second path changes between sessions alone: that is no switch.
    assert found["switches_per_session", None] == [1.0, 0.0]
    assert found["switches_variance", None] == [0.0, 0.0]
    assert found["share_switching", None] == [1.0, 0.0]
    assert found["occupancy", 0] == [0.5, 0.5]
    # Runs end with their session: 001|110 has runs 00, 1, 11, 0.
    assert found["run_mean", 0] == [1.5, 3.0]
    assert found["run_median", 1] == [1.5, 3.0]
    # Trials with a successor over departures: 2 over 1 and 2 over 1; the second never leaves.
    assert found["dwell", 0] == [2.0, pytest.approx(np.nan, nan_ok=True)]
    assert found["dwell", 1] == [2.0, pytest.approx(np.nan, nan_ok=True)]
    assert found["occupancy", 2] == [0.0, 0.0]
    assert np.isnan(found["run_mean", 2]).all()
    assert set(found) == {(n, None) for n in OVERALL} | {(n, k) for n in BY_STATE for k in range(3)}


def test_variance_is_over_sessions():
    paths = np.array([[0, 1, 0, 0, 0, 0]])
    found = statistics(paths, np.array([0, 0, 0, 1, 1, 1]), 2)
    assert found["switches_per_session", None] == [1.0]
    assert found["switches_variance", None] == [1.0]
    assert found["share_switching", None] == [0.5]


def test_variance_is_no_deviation_and_a_median_no_mean():
    # Runs of state 0: 1, 1, 4, and of state 1: 1, 3; sessions of 3 and 0 switches.
    paths = np.array([[0, 1, 0, 1, 1, 1, 0, 0, 0, 0]])
    found = statistics(paths, np.repeat([0, 1], [6, 4]), 2)
    assert found["switches_variance", None] == [2.25]
    assert found["run_median", 0] == [1.0]
    assert found["run_mean", 0] == [2.0]


def test_a_rise_is_between_the_halves_of_each_session():
    # Halves 01|11 and 00|101: a middle trial is a later one.
    paths = np.array([[0, 1, 1, 1, 0, 0, 1, 0, 1], [1, 1, 1, 1, 0, 0, 0, 0, 0]])
    found = statistics(paths, np.repeat([0, 1], [4, 5]), 2)
    np.testing.assert_allclose(found["occupancy_rise", 1], [4 / 5 - 1 / 4, 2 / 5 - 2 / 4])
    np.testing.assert_allclose(found["occupancy_rise", 0], [1 / 4 - 4 / 5, 2 / 4 - 2 / 5])
    alone = statistics(paths[:, :2], np.array([0, 1]), 2)  # no session has two halves
    assert np.isnan(alone["occupancy_rise", 0]).all()


def test_interleaved_rows_are_put_in_order():
    rng = np.random.default_rng(0)
    paths, sessions = rng.integers(0, 3, (4, 60)), np.repeat(np.arange(6), 10)
    order = np.argsort(rng.random(6))[sessions].argsort(kind="stable")  # sessions rearranged
    woven = np.argsort(np.tile(np.arange(10), 6), kind="stable")
    for rows in (order, woven):
        moved = statistics(paths[:, rows], sessions[rows], 3)
        for key, value in statistics(paths, sessions, 3).items():
            np.testing.assert_allclose(moved[key], value)


def test_drawn_paths_last_as_long_as_the_true_ones_and_decoded_ones_longer():
    trials, states = simulate(IBL, 56, 90, seed=2)
    fit = make_fit(trials, IBL, n_folds=0, n_restarts=1)
    truth = statistics(states[None], np.repeat(np.arange(56), 90), 3)
    table = path_table(fit, 100)
    inside = 0
    for row in table.iter_rows(named=True):
        value = truth[row["statistic"], row["state_idx"]][0]
        assert row["lower"] <= row["mean"] <= row["upper"]
        inside += row["lower"] <= value <= row["upper"]
    assert inside >= 0.8 * table.height
    for k in range(3):
        run = table.filter(statistic="run_mean", state_idx=k).row(0, named=True)
        assert run["decoded"] > run["upper"]
        assert run["decoded"] > 1.1 * truth["run_mean", k][0]
    switches = table.filter(statistic="switches_per_session").row(0, named=True)
    assert switches["decoded"] < switches["lower"]


def test_a_dwell_is_not_cut_short_by_the_end_of_the_session():
    # Sessions of ten trials cut most runs of an engaged state that lasts 39 trials.
    trials, _ = simulate(IBL, 300, 10, seed=3)
    table = path_table(make_fit(trials, IBL, n_folds=0, n_restarts=1), 100)
    engaged = {r["statistic"]: r for r in table.filter(state_idx=0).iter_rows(named=True)}
    assert engaged["run_mean"]["upper"] < 12
    assert engaged["dwell"]["lower"] < 1 / (1 - 0.9743) < engaged["dwell"]["upper"]
