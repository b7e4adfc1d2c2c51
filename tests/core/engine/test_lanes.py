"""Lanes hold every trial once, in order, and mark where sessions begin."""

import numpy as np
import pytest
from core.engine.laid_out import in_rows
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.engine.lanes import WIDTH, arrange, blocks_of, fill, hold_out, round_up

session_ids = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(np.array)


@given(session_ids)
def test_every_trial_has_a_place_of_its_own_behind_the_one_before_it(ids):
    layout = arrange(ids)
    places = set(zip(layout.step.tolist(), layout.lane.tolist(), strict=True))
    assert len(places) == len(ids)
    assert all(s < layout.shape[0] and lane < layout.shape[1] for s, lane in places)
    for session in np.unique(ids):
        rows = np.flatnonzero(ids == session)
        assert len(set(layout.lane[rows])) == 1
        np.testing.assert_array_equal(np.diff(layout.step[rows]), 1)
        np.testing.assert_array_equal(layout.first[rows], [True] + [False] * (len(rows) - 1))


@given(session_ids)
def test_lanes_have_no_holes_between_sessions(ids):
    layout = arrange(ids)
    for lane in np.unique(layout.lane):
        steps = np.sort(layout.step[layout.lane == lane])
        np.testing.assert_array_equal(steps, np.arange(len(steps)))


@given(session_ids, st.randoms(use_true_random=False))
def test_what_stands_in_lanes_is_what_was_given_and_nothing_stands_elsewhere(ids, random):
    rng = np.random.default_rng(random.randrange(2**32))
    n, C, baseline = len(ids), 3, int(rng.integers(3))
    X, U = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    y, mask = rng.integers(0, C, n), rng.random(n) < 0.7
    layout = arrange(ids)
    lanes = fill(layout, X, U, y, mask, C, baseline)

    np.testing.assert_array_equal(in_rows(lanes.X, layout), X)
    np.testing.assert_array_equal(in_rows(lanes.U, layout), U)
    np.testing.assert_array_equal(in_rows(lanes.start, layout), layout.first)
    np.testing.assert_array_equal(in_rows(lanes.link, layout), ~layout.first)
    np.testing.assert_array_equal(in_rows(lanes.reset, layout), layout.first)
    one_hot = in_rows(lanes.y, layout)
    np.testing.assert_array_equal(one_hot.sum(1), mask)
    classes = [baseline, *(c for c in range(C) if c != baseline)]
    np.testing.assert_array_equal(np.array(classes)[one_hot[mask].argmax(1)], y[mask])

    empty = np.ones(layout.shape, bool)
    empty[layout.step, layout.lane] = False
    assert lanes.reset[empty].all()
    for array in (lanes.X, lanes.U, lanes.y):
        assert not array[:, empty].any()
    assert not lanes.start[empty].any()
    assert not lanes.link[empty].any()
    # Nothing leads into the first step of a lane.
    assert not lanes.link[0].any()


@given(session_ids, st.sets(st.integers(0, 6)))
def test_held_out_sessions_count_nowhere_and_the_others_as_before(ids, out):
    n = len(ids)
    rng = np.random.default_rng(n)
    layout = arrange(ids)
    arrays = rng.normal(size=(n, 1)), np.empty((n, 0)), rng.integers(0, 2, n), np.ones(n, bool)
    lanes = fill(layout, *arrays, 2, 0)
    held_out = np.isin(ids, list(out))
    kept = hold_out(lanes, layout, held_out)
    for name in ("y", "start", "link"):
        before, after = (in_rows(getattr(a, name), layout) for a in (lanes, kept))
        assert not after[held_out].any()
        np.testing.assert_array_equal(after[~held_out], before[~held_out])
    for name in ("X", "U", "reset"):
        assert getattr(kept, name) is getattr(lanes, name)


@given(st.integers(1, 10**6), st.sampled_from([2, 4, 8]))
def test_sizes_are_rounded_up_by_less_than_one_part(n, parts):
    rounded = round_up(n, parts)
    assert n <= rounded < n * (1 + 1 / parts) + 1
    assert round_up(rounded, parts) == rounded


@pytest.mark.parametrize("sessions", [129, 170, 257, 300, 513, 1025, 2017])
def test_many_lanes_fill_equal_blocks_with_little_to_spare(sessions):
    lanes = arrange(np.arange(sessions)).shape[1]
    assert sessions <= lanes <= 1.25 * sessions
    assert lanes % blocks_of(lanes) == 0
    assert WIDTH / 2 < lanes / blocks_of(lanes) <= WIDTH


def test_an_added_session_seldom_changes_the_shape():
    shapes = {arrange(np.repeat(np.arange(s), 90)).shape for s in range(33, 65)}
    assert len(shapes) == 2


def test_one_long_session_does_not_inflate_the_rest():
    ids = np.repeat(np.arange(101), [9000, *[90] * 100])
    steps, lanes = arrange(ids).shape
    assert steps * lanes < 1.5 * len(ids)


@pytest.mark.parametrize("dtype", [int, str, float])
def test_sessions_may_have_names_of_any_kind(dtype):
    layout = arrange(np.array([1, 1, 2, 1]).astype(dtype))
    np.testing.assert_array_equal(layout.first, [True, False, True, False])
