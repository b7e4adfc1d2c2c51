"""History regressors against a loop over trials, and what they may not depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.design.history import choice_codes, history_columns, last_choice_rows

KINDS = ("previous_choice", "wsls", "previous_choice_outcome")


@st.composite
def recorded(draw):
    """Choices (-1 for none), outcomes and sessions of up to five sessions; C and the baseline."""
    num_classes = draw(st.integers(2, 4))
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    n = sum(lengths)
    choices = draw(st.lists(st.integers(-1, num_classes - 1), min_size=n, max_size=n))
    feedback = draw(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=n, max_size=n))
    sessions = np.repeat([f"s{i}" for i in range(len(lengths))], lengths)
    baseline = draw(st.integers(0, num_classes - 1))
    return np.array(choices), np.array(feedback), sessions, num_classes, baseline


def by_loop(kind, choices, feedback, sessions, num_classes, baseline):
    """The same, trial by trial, in the plainest words."""
    names = [1] if num_classes == 2 else [c for c in range(num_classes) if c != baseline]
    rows = []
    for t in range(len(choices)):
        row = [0.0] * len(names)
        for s in range(t - 1, -1, -1):
            if sessions[s] != sessions[t]:
                break
            if choices[s] < 0:
                continue
            opposite = 0 if num_classes == 2 else baseline
            row = [
                1.0 if choices[s] == c else -1.0 if choices[s] == opposite else 0.0 for c in names
            ]
            if kind != "previous_choice":
                row = [value * feedback[s] for value in row]
            break
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("kind", KINDS)
@given(record=recorded())
def test_it_is_what_a_loop_over_trials_gives(kind, record):
    found = history_columns(kind, *record)
    np.testing.assert_array_equal(found, by_loop(kind, *record))


@given(recorded(), st.data())
def test_a_trial_and_what_follows_never_change_its_history(record, data):
    choices, feedback, sessions, num_classes, baseline = record
    t = data.draw(st.integers(0, len(choices) - 1))
    other = choices.copy()
    n = len(choices) - t
    other[t:] = data.draw(st.lists(st.integers(-1, num_classes - 1), min_size=n, max_size=n))
    outcome = feedback.copy()
    outcome[t:] *= -1
    for kind in KINDS:
        before = history_columns(kind, choices, feedback, sessions, num_classes, baseline)
        after = history_columns(kind, other, outcome, sessions, num_classes, baseline)
        np.testing.assert_array_equal(after[: t + 1], before[: t + 1])


@given(recorded())
def test_sessions_know_nothing_of_each_other(record):
    choices, feedback, sessions, num_classes, baseline = record
    for kind in KINDS:
        whole = history_columns(kind, *record)
        parts = [
            history_columns(kind, choices[own], feedback[own], sessions[own], num_classes, baseline)
            for own in (sessions == name for name in np.unique(sessions))
        ]
        np.testing.assert_array_equal(whole, np.concatenate(parts))


@given(recorded())
def test_the_first_trial_of_a_session_has_no_history(record):
    sessions = record[2]
    first = np.concatenate([[True], sessions[1:] != sessions[:-1]])
    assert (last_choice_rows(record[0], sessions)[first] == -1).all()
    for kind in KINDS:
        assert not history_columns(kind, *record)[first].any()


def test_wsls_is_the_side_that_was_correct():
    """Won on the right or lost on the left: right (Ashwood et al. 2022)."""
    choices = np.array([1, 1, 0, 0, 1])
    feedback = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    wsls = history_columns("wsls", choices, feedback, np.zeros(5), 2, 0)
    np.testing.assert_array_equal(wsls[:, 0], [0, 1, -1, -1, 1])


@given(st.integers(2, 5), st.data())
def test_codes_of_choices_sum_to_zero_so_that_no_history_is_none_of_them(num_classes, data):
    codes = choice_codes(num_classes, data.draw(st.integers(0, num_classes - 1)))
    np.testing.assert_array_equal(codes.sum(axis=0), 0)
    assert len(np.unique(codes, axis=0)) == num_classes
    assert codes.any(axis=1).all()
