"""Lags, traces and session time: against loops over trials, and what they may not depend on."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from core.design.test_build_design import TASK, designed, random_trials
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.design.build import build_design
from glmhmm_core.design.session_time import raised_cosines
from glmhmm_core.design.store import load_design, save_design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.pool import pool
from glmhmm_core.tasks.task import Regressor
from glmhmm_core.trials.cleaning import clean

HALF, SLOW = 0.5, 0.9
KINDS = (
    Regressor("choice_trace", "choices", 2.0, decay=HALF),
    Regressor("choice_trace", "wins", 2.0, decay=SLOW, outcome="rewarded"),
    Regressor("choice_trace", "losses", 2.0, decay=HALF, outcome="unrewarded"),
    Regressor("choice_trace", "sides", 2.0, decay=HALF, outcome="signed"),
    Regressor("outcome_trace", "outcomes", 2.0, decay=SLOW),
    Regressor("stimulus_trace", "stimuli", 2.0, column="stimulus", scale=3.0, decay=HALF),
    Regressor("choice_lags", "choice_lag", 2.0, count=3),
    Regressor("choice_lags", "win_lag", 2.0, count=2, outcome="rewarded"),
    Regressor("outcome_lags", "outcome_lag", 2.0, count=2),
    Regressor("previous_outcome", "outcome", 2.0),
    Regressor("previous_value", "last_time", 2.0, column="response_time", scale=2.0),
)
CLOCK = (
    Regressor("session_time", "time", 2.0, trials=10.0),
    Regressor("session_cosines", "early", 2.0, trials=6.0, count=2),
)
DRIVEN = replace(TASK, transition_regressors=KINDS + CLOCK)
THREE = replace(
    DRIVEN,
    choices=("left", "none", "right"),
    choice_codes=((0.0,), (1.0,), (2.0,)),
    baseline_class_idx=1,
    regressors=(TASK.regressors[0],),
)


def codes_of(choice, task):
    """Code of a choice in the plainest words."""
    if task.num_classes == 2:
        return np.array([2.0 * choice - 1])
    others = [c for c in range(task.num_classes) if c != task.baseline_class_idx]
    if choice == task.baseline_class_idx:
        return -np.ones(len(others))
    return np.array([float(choice == c) for c in others])


def weight(outcome, feedback):
    if outcome == "any":
        return 1.0
    if outcome == "signed":
        return feedback or 0.0
    return float(feedback == (1 if outcome == "rewarded" else -1))


def events(regressor, trials, task):
    """What each trial leaves behind: an array, or None where there is nothing to remember."""
    for row in trials.iter_rows(named=True):
        if regressor.column is not None:
            value = row[regressor.column]
            yield None if value is None else np.array([value * regressor.scale])
        elif row["choice"] is None:
            yield None
        elif "outcome" in regressor.kind:
            yield np.array([float(row["feedback"] or 0)])
        else:
            yield codes_of(row["choice"], task) * weight(regressor.outcome, row["feedback"])


def by_loop(regressor, trials, task):
    """The regressor's columns, one trial at a time, from the definition."""
    rows = []
    for session in trials.partition_by("session", maintain_order=True):
        past = []
        for event in events(regressor, session, task):
            size = len(task.columns_of(regressor))
            if regressor.decay is not None:
                decay, n = regressor.decay, len(past)
                terms = [(1 - decay) * decay ** (n - 1 - i) * e for i, e in enumerate(past)]
                rows.append(sum(terms, np.zeros(size)))
            else:
                last = np.concatenate([np.empty(0), *past[::-1]])[:size]
                rows.append(np.pad(last, (0, size - len(last))))
            past += [] if event is None else [event]
    return np.array(rows)


def whole(trials, task=DRIVEN):
    """Design of every recorded trial, whatever the rules of the task."""
    return build_design(trials.with_columns(in_chain=True, masked=False), task)


def columns(design, task, regressor):
    at = [design.transition_names.index(name) for name in task.columns_of(regressor)]
    return design.U[:, at]


def of_three(trials, seed):
    choices = np.random.default_rng(seed).choice([0, 1, 2, None], len(trials)).tolist()
    return trials.with_columns(choice=pl.Series(choices, dtype=pl.Int8))


@pytest.mark.parametrize("regressor", KINDS, ids=lambda r: r.name)
@pytest.mark.parametrize("seed", range(3))
def test_each_is_what_a_loop_over_trials_gives(regressor, seed):
    trials = random_trials(seed, lengths=(9, 1, 12, 5, 20))
    np.testing.assert_allclose(
        columns(whole(trials), DRIVEN, regressor), by_loop(regressor, trials, DRIVEN), atol=1e-14
    )
    more = of_three(trials, seed)
    np.testing.assert_allclose(
        columns(whole(more, THREE), THREE, regressor), by_loop(regressor, more, THREE), atol=1e-14
    )


@given(st.integers(0, 3), st.data())
def test_a_trial_and_what_follows_change_no_regressor_at_or_before_it(seed, data):
    trials = random_trials(seed)
    t = data.draw(st.integers(0, len(trials) - 1))
    later = pl.int_range(pl.len()) >= t
    changed = trials.with_columns(
        choice=pl.when(later).then(1 - pl.col("choice").fill_null(0)).otherwise("choice"),
        feedback=pl.when(later).then(-pl.col("feedback")).otherwise("feedback"),
        response_time=pl.when(later).then(9.0).otherwise("response_time"),
    )
    before, after = whole(trials), whole(changed)
    np.testing.assert_array_equal(after.U[: t + 1], before.U[: t + 1])


def test_all_but_the_clock_are_zero_at_the_start_of_a_session():
    design = whole(random_trials())
    first = design.keys["trial"].to_numpy() == 0
    assert design.transition_names[-3:] == ("time", "early_1", "early_2")
    assert not design.U[first, :-3].any()
    assert design.U[~first, :-3].any(0).all()
    np.testing.assert_array_equal(design.U[first, -3:], [[0, 1, 0]] * first.sum())


def test_a_trace_of_one_value_for_ever_is_that_value():
    n = 400
    trials = random_trials(lengths=(n,)).with_columns(
        choice=pl.lit(1, pl.Int8), feedback=pl.lit(-1, pl.Int8)
    )
    design = whole(trials)
    for name, value in (("choices", 1), ("wins", 0), ("losses", 1), ("sides", -1)):
        assert design.U[-1, design.transition_names.index(name)] == pytest.approx(value)


def test_they_are_of_the_whole_recorded_session_and_of_the_chain_s_rows():
    trials = random_trials()
    design, cleaned = designed(trials, DRIVEN)
    chain = cleaned["in_chain"].to_numpy()
    assert not chain.all()
    np.testing.assert_array_equal(design.U, whole(cleaned).U[chain])


def test_the_same_kinds_are_regressors_of_the_choice():
    trials = random_trials()
    task = replace(TASK, regressors=KINDS + CLOCK)
    np.testing.assert_array_equal(whole(trials, task).X, whole(trials).U)


def test_an_unknown_present_value_masks_its_trial_and_no_other():
    task = replace(TASK, rules=(), regressors=TASK.regressors[1:])
    driven = replace(
        task, transition_regressors=(Regressor("column", "stimulus", 2.0, column="stimulus"),)
    )
    trials = random_trials()
    cleaned, report = clean(trials, driven)
    assert cleaned["masked"].to_list() == trials["stimulus"].is_null().to_list()
    assert report["rule"].unique().to_list() == ["unknown_stimulus"]
    only_past = replace(driven, transition_regressors=KINDS)
    assert not clean(trials, only_past)[0]["masked"].any()


@given(st.floats(1, 200), st.integers(1, 8))
def test_cosines_sum_to_one_up_to_the_last_top_and_end_where_they_should(trials, count):
    last = trials * (count - 1) / count
    at = np.linspace(0, last, 50)
    np.testing.assert_allclose(raised_cosines(at, trials, count).sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(raised_cosines([trials, trials + 50], trials, count), 0, atol=1e-12)


def test_files_and_pools_keep_them(tmp_path):
    design = whole(random_trials())
    save_design(tmp_path / "ann.npz", design)
    other = load_design(tmp_path / "ann.npz")
    pooled = pool([design, replace(design, subject="bob")])
    assert other.transition_names == pooled.transition_names == design.transition_names
    np.testing.assert_array_equal(other.U, design.U)
    np.testing.assert_array_equal(pooled.U, np.vstack([design.U, design.U]))
    np.testing.assert_array_equal(other.transition_scales, [2.0] * design.U.shape[1])


def test_a_design_gives_those_that_are_named_in_that_order():
    design = whole(random_trials())
    driven = design.driven_by(["time", "wins"])
    at = [design.transition_names.index(name) for name in ("time", "wins")]
    np.testing.assert_array_equal(driven.U, design.U[:, at])
    assert design.driven_by([]).U.shape == (len(design.y), 0)
    with pytest.raises(InputError, match="no transition regressor 'win'"):
        design.driven_by(["win"])
