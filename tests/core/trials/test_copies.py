"""Copies of sessions are pointed out; sessions that are equal for another reason are not."""

import numpy as np
import polars as pl
import pytest

from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.copies import copies
from glmhmm_core.trials.schema import TRIAL_SCHEMA

TASK = load_task("two_afc")


def session(name, stimulus, choice, times=None):
    right = np.asarray(choice)
    return pl.DataFrame(
        {
            "subject": "ann",
            "session": name,
            "trial": np.arange(len(right)),
            "source_row": np.arange(len(right)) + 1,
            "choice": right,
            "feedback": np.where(right == (np.asarray(stimulus) > 0), 1, -1),
            "response_time": times,
            "block": None,
            "stimulus": np.asarray(stimulus, float),
        },
        schema={**TRIAL_SCHEMA, "stimulus": pl.Float64},
    )


def drawn(name, seed, slope=3.0, stimuli_of=None):
    """A session of 60 trials; ``slope`` inf is a subject that makes no mistake."""
    shown = np.random.default_rng(seed if stimuli_of is None else stimuli_of)
    stimulus = shown.choice([-1.0, -0.5, 0.5, 1.0], 60)
    chance = np.random.default_rng(seed + 100).random(60)
    right = stimulus > 0 if np.isinf(slope) else chance < 1 / (1 + np.exp(-slope * stimulus))
    return session(name, stimulus, right.astype(int))


def named(*sessions):
    return [row.session for row in copies(pl.concat(sessions), TASK)]


def renamed(table, name):
    return table.with_columns(session=pl.lit(name))


def test_a_copy_is_a_warning_that_names_both():
    one = drawn("s1", 1)
    (row,) = copies(pl.concat([one, drawn("s2", 2), renamed(one, "s3")]), TASK)
    assert (row.session, row.rule, row.warning) == ("s3", "same_content", True)
    assert "it equals session s1" in row.reason


def test_a_copy_is_told_where_no_other_session_is_there():
    one = drawn("s1", 1)
    assert named(one, renamed(one, "s2")) == ["s2"]


def test_sessions_that_differ_in_one_choice_are_no_copies():
    one = drawn("s1", 1)
    other = renamed(one, "s2").with_columns(
        choice=pl.when(pl.col("trial") == 30).then(1 - pl.col("choice")).otherwise("choice")
    )
    assert named(one, other) == []


def test_the_same_trials_in_another_order_are_no_copy():
    one = drawn("s1", 1)
    assert named(one, renamed(one[::-1], "s2")) == []


def test_perfect_sessions_with_the_same_side_always_are_no_copies():
    one = session("s1", [1.0] * 30, [1] * 30)
    assert named(one, renamed(one, "s2"), renamed(one, "s3"), drawn("s4", 4)) == []


def test_perfect_sessions_of_sides_in_turn_are_no_copies():
    one = session("s1", [-1.0, 1.0] * 20, [0, 1] * 20)
    assert named(one, renamed(one, "s2"), drawn("s3", 3)) == []


def test_perfect_sessions_of_one_list_of_stimuli_are_no_copies():
    """Another session shows that the list comes again without the choices."""
    one, mistaken = drawn("s1", 1, np.inf), drawn("s3", 3, 2.0, stimuli_of=1)
    assert named(one, renamed(one, "s2"), mistaken) == []


def test_a_perfect_session_is_a_copy_where_stimuli_are_drawn_anew():
    one = drawn("s1", 1, np.inf)
    assert named(one, renamed(one, "s2"), drawn("s3", 3, np.inf)) == ["s2"]


def test_perfect_sessions_with_the_same_response_times_are_copies():
    times = np.random.default_rng(0).gamma(2.0, 0.3, 30)
    one = session("s1", [1.0] * 30, [1] * 30, times)
    assert named(one, renamed(one, "s2")) == ["s2"]


@pytest.mark.parametrize("num", [3, 40])
def test_a_copy_is_no_chance_among_many_sessions_either(num):
    tables = [drawn(f"s{i}", i) for i in range(num)]
    assert named(*tables, renamed(tables[0], "twin")) == ["twin"]


def test_sessions_too_short_to_tell_are_not_pointed_out():
    one = drawn("s1", 1)[:8]
    assert named(one, renamed(one, "s2"), drawn("s3", 3)[:8]) == []
