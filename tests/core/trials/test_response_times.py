"""Response times from event times, against a loop over trials."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.trials.response_times import LONGEST_MEDIAN, from_event_times

GAPS = st.lists(st.tuples(*[st.floats(0.01, 3)] * 4, st.integers(0, 15)), min_size=1, max_size=30)


@given(GAPS)
def test_it_is_the_earliest_end_minus_the_earliest_start(trials):
    """Times of two start and two end events; the bits of the integer say which are unknown."""
    rows, clock = [], 0.0
    for *gaps, unknown in trials:
        clock += 20.0
        times = [clock, clock + gaps[0], clock + 5 + gaps[1], clock + 5 + gaps[2]]
        rows.append([np.nan if unknown >> i & 1 else t for i, t in enumerate(times)])
    columns = np.array(rows).T
    found = from_event_times(columns[:2], columns[2:])
    for row, seconds in zip(rows, found.seconds, strict=True):
        known = [[t for t in side if not np.isnan(t)] for side in (row[:2], row[2:])]
        if all(known):
            assert seconds == min(known[1]) - min(known[0])
        else:
            assert np.isnan(seconds)
    assert found.problem is None
    assert not found.ends_before_start.any()


def test_every_trial_that_ends_before_its_start_is_unknown_not_the_first_alone():
    start = np.array([0.0, 10.0, 20.0, 30.0])
    found = from_event_times([start], [start + np.array([1.0, -1.0, 2.0, -3.0])])
    np.testing.assert_array_equal(found.seconds, [1, np.nan, 2, np.nan])
    np.testing.assert_array_equal(found.ends_before_start, [False, True, False, True])


@pytest.mark.parametrize("which", [0, 1])
def test_times_that_do_not_increase_make_the_session_unknown(which):
    times = [np.arange(5.0), np.arange(5.0) + 0.5]
    times[which] = times[which][[0, 1, 3, 2, 4]]
    found = from_event_times(times[:1], times[1:])
    assert np.isnan(found.seconds).all()
    assert "do not increase" in (found.problem or "")


@pytest.mark.parametrize(
    ("seconds", "is_known"), [(LONGEST_MEDIAN - 0.1, True), (LONGEST_MEDIAN, False)]
)
def test_a_session_of_very_long_responses_is_unknown(seconds, is_known):
    start = np.arange(7) * 100.0
    found = from_event_times([start], [start + seconds])
    assert np.isnan(found.seconds).all() != is_known


def test_all_unknown_is_no_problem():
    unknown = np.full(3, np.nan)
    assert from_event_times([unknown], [unknown]).problem is None
