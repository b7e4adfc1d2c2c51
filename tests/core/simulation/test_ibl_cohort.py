"""The simulated mice: published laws, sessions as real ones, files that read back."""

import json

import numpy as np
import polars as pl
import pytest

from glmhmm_core.errors import InputError
from glmhmm_core.simulation import ibl_files
from glmhmm_core.simulation.ibl_cohort import (
    ASHWOOD_SESSIONS,
    STIMULUS_SCALE,
    simulate_ibl_cohort,
)
from glmhmm_core.simulation.ibl_files import write_ibl_cohort
from glmhmm_core.simulation.ibl_task import CONTRASTS, MIN_TRIALS
from glmhmm_core.simulation.population import ASHWOOD_MICE, TEXTBOOK_MICE, draw_mouse


@pytest.fixture(scope="module")
def mice():
    return simulate_ibl_cohort(3, seed=7, sessions=(4, 8))


def same(one, other):
    for name in ("session_ids", "X", "y", "states", "feedback", "onset", "response"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def sessions_of(mouse):
    return [mouse.session_ids == s for s in dict.fromkeys(mouse.session_ids.tolist())]


def test_a_mouse_depends_on_the_seed_and_its_place_alone(mice):
    again = simulate_ibl_cohort(5, seed=7, sessions=(4, 8))
    for one, other in zip(mice, again, strict=False):
        same(one, other)
    other_seed = simulate_ibl_cohort(1, seed=8, sessions=(4, 8))[0]
    assert not np.array_equal(other_seed.params.emission_weights, mice[0].params.emission_weights)
    weights = [mouse.params.emission_weights.tolist() for mouse in again]
    assert len({str(w) for w in weights}) == 5


def test_more_sessions_change_no_earlier_one(mice):
    longer = simulate_ibl_cohort(1, seed=7, sessions=[12])[0]
    n = len(mice[0].y)
    np.testing.assert_array_equal(longer.y[:n], mice[0].y)
    np.testing.assert_array_equal(longer.session_ids[:n], mice[0].session_ids)


def test_unbiased_trials_alone_are_the_first_of_whole_sessions(mice):
    short = simulate_ibl_cohort(3, seed=7, sessions=(4, 8), trials=90)
    for brief, mouse in zip(short, mice, strict=True):
        first = np.concatenate([np.flatnonzero(rows)[:90] for rows in sessions_of(mouse)])
        np.testing.assert_array_equal(brief.X, mouse.X[first])
        np.testing.assert_array_equal(brief.y, mouse.y[first])
        np.testing.assert_array_equal(brief.states, mouse.states[first])
        np.testing.assert_array_equal(brief.response, mouse.response[first])
        assert set(brief.stimuli.probability_left) == {0.5}


def test_every_session_has_all_blocks_as_real_ones_do():
    (mouse,) = simulate_ibl_cohort(1, sessions=[60], trials=(MIN_TRIALS, MIN_TRIALS + 200))
    for rows in sessions_of(mouse):
        left = mouse.stimuli.probability_left[rows]
        assert set(left) == {0.2, 0.5, 0.8}
        assert (left[:90] == 0.5).all()
        assert (left[90:] != 0.5).all()
        changes = np.flatnonzero(np.diff(left[90:])) + 1
        lengths = np.diff(np.concatenate([[0], changes]))
        assert ((lengths >= 20) & (lengths <= 100)).all()
        assert len(left[90:]) - changes[-1] <= 100
    with pytest.raises(InputError, match="every block"):
        simulate_ibl_cohort(1, trials=(MIN_TRIALS - 1, 500))


def test_stimuli_follow_the_published_law():
    mice = simulate_ibl_cohort(8, sessions=[40], trials=400)
    contrast = np.concatenate([mouse.stimuli.contrast for mouse in mice])
    left = np.concatenate([mouse.stimuli.probability_left for mouse in mice])
    right = np.concatenate([mouse.stimuli.right for mouse in mice])
    shares = [np.mean(contrast == level) for level in CONTRASTS]
    np.testing.assert_allclose(shares, [0.159] + [0.21025] * 4, atol=0.005)
    for block in (0.2, 0.5, 0.8):
        np.testing.assert_allclose(1 - right[left == block].mean(), block, atol=0.008)
    unbiased = np.concatenate([mouse.X[:, 0] for mouse in mice])[left == 0.5]
    np.testing.assert_allclose(unbiased.std(), 1.0, atol=0.01)  # what the factor is for


def test_choices_are_missing_as_often_as_asked_for():
    mice = simulate_ibl_cohort(4, sessions=[50], trials=90)
    missing = np.mean(np.concatenate([mouse.y for mouse in mice]) < 0)
    assert 0.0004 < missing < 0.002
    (stress,) = simulate_ibl_cohort(1, sessions=[50], trials=90, no_choice_prob=(0.02, 0.1, 0.1))
    by_state = [np.mean(stress.y[stress.states == k] < 0) for k in range(3)]
    np.testing.assert_allclose(by_state, [0.02, 0.1, 0.1], atol=0.04)
    assert by_state[0] < min(by_state[1:])


def test_times_are_in_order_and_slower_when_disengaged(mice):
    for mouse in mice:
        seconds = mouse.response - mouse.onset
        assert (seconds > 0).all()
        assert (seconds[mouse.y < 0] == 60).all()
        assert np.median(seconds[mouse.states == 0]) < np.median(seconds[mouse.states > 0])
        for rows in sessions_of(mouse):
            assert (mouse.onset[rows][1:] > mouse.response[rows][:-1]).all()


@pytest.mark.parametrize("population", [ASHWOOD_MICE, TEXTBOOK_MICE])
def test_mice_are_spread_as_the_population(population):
    drawn = [draw_mouse(population, np.random.default_rng(i)) for i in range(2000)]
    weights = np.array([mouse.emission_weights[:, 0] for mouse in drawn])
    assert weights[:, 0, 0].min() >= population.min_engaged_stimulus
    error = weights.mean(axis=0) - population.weight_mean
    error[0, 0] = 0.0  # cut below
    assert (np.abs(error) < 5 * population.weight_sd / np.sqrt(2000)).all()
    matrices = np.array([mouse.transition_matrix for mouse in drawn])
    np.testing.assert_allclose(matrices.sum(axis=2), 1.0, atol=1e-12)
    stay = matrices[:, range(3), range(3)]
    low, middle, high = population.self_transition.T
    assert ((stay >= low - 1e-12) & (stay <= high + 1e-12)).all()
    np.testing.assert_allclose(np.median(stay, axis=0), middle, atol=0.01)


def test_the_published_cohort_has_its_size():
    mice = simulate_ibl_cohort(
        37, population=ASHWOOD_MICE, sessions=ASHWOOD_SESSIONS, trials=1, seed=1
    )
    counts = [len(mouse.y) for mouse in mice]
    assert min(counts) >= 36
    assert max(counts) <= 85
    np.testing.assert_allclose(np.median(counts), 52, atol=6)


def test_files_hold_the_trials_in_the_laboratory_codes(mice, tmp_path):
    root = tmp_path / "below" / "mice"
    write_ibl_cohort(root, mice)
    assert [p.name for p in root.parent.iterdir()] == ["mice"]
    for mouse in mice:
        for rows in sessions_of(mouse):
            date, number = mouse.session_ids[rows][0].split("_")
            alf = root / "simulated" / "Subjects" / mouse.subject / date / number / "alf"
            stored = {p.name.split(".")[1]: np.load(p) for p in alf.iterdir()}
            assert len(stored) == 9
            assert {len(values) for values in stored.values()} == {rows.sum()}
            y = np.select([stored["choice"] == 1, stored["choice"] == -1], [0, 1], -1)
            np.testing.assert_array_equal(y, mouse.y[rows])
            left, right = stored["contrastLeft"], stored["contrastRight"]
            assert (np.isnan(left) != np.isnan(right)).all()
            signed = np.nan_to_num(right) - np.nan_to_num(left)
            np.testing.assert_array_equal(STIMULUS_SCALE * signed, mouse.X[rows, 0])
            rewarded = np.where(np.isnan(left), -1, 1)  # in the codes of choice
            np.testing.assert_array_equal(
                stored["feedbackType"], np.where(stored["choice"] == rewarded, 1, -1)
            )
            assert set(stored["probabilityLeft"]) == {0.2, 0.5, 0.8}

    truth = json.loads((root / "truth.json").read_text())
    for mouse in mice:
        for name, values in truth["subjects"][mouse.subject].items():
            assert values == getattr(mouse.params, name).tolist()
    states = pl.read_parquet(root / "truth_states.parquet")
    for mouse in mice:
        own = states.filter(pl.col("subject") == mouse.subject)
        np.testing.assert_array_equal(own["state_idx"], mouse.states)
        first = own.filter(pl.col("session") == mouse.session_ids[0])
        assert first["trial"].to_list() == list(range(first.height))


def test_files_appear_whole_or_not_at_all(mice, tmp_path, monkeypatch):
    monkeypatch.setattr(ibl_files, "_truth", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_ibl_cohort(tmp_path / "mice", mice)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()

    (tmp_path / "mice").mkdir()
    with pytest.raises(InputError, match="something here"):
        write_ibl_cohort(tmp_path / "mice", mice)
