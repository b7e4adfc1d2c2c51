"""Cleaning: the rules in their order, and a report in which every trial is accounted for."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import (
    Extra,
    FewNoChoice,
    KeepBlocks,
    MaskUnless,
    MinSessions,
    SessionBlocks,
)
from glmhmm_core.trials.cleaning import Exclusion, clean
from glmhmm_core.trials.report import REPORT_SCHEMA
from glmhmm_core.trials.schema import CLEANING_SCHEMA
from glmhmm_core.trials.sessions import trial_schema

TASK = replace(
    load_task("two_afc"),
    block_column="block",
    extras=(Extra("laser", "laser"), Extra("drug", "drug", is_text=True)),
)


def with_rules(*rules):
    return replace(TASK, rules=rules)


def trials_of(sessions, subject="ann"):
    """Trials from {session: [(choice, block), ...]}, None for no choice."""
    rows = [
        {
            "subject": subject,
            "session": session,
            "trial": t,
            "choice": c,
            "block": b,
            "stimulus": 0.5,
        }
        for session, trials in sessions.items()
        for t, (c, b) in enumerate(trials)
    ]
    return pl.DataFrame(rows, schema=trial_schema(TASK))


def kept(cleaned):
    return cleaned["session"].unique(maintain_order=True).to_list()


BLOCKS = {
    "all": [(1, 0.5), (0, 0.5), (1, 0.2), (0, 0.8)],
    "two": [(1, 0.5), (0, 0.2)],
    "more": [(1, 0.5), (0, 0.2), (1, 0.8), (0, 1.0)],
    "nearly": [(1, 0.5), (0, float(np.float32(0.2))), (1, 0.8)],
    "near miss": [(1, 0.5), (0, 0.21), (1, 0.8)],
}


def test_sessions_need_exactly_the_blocks():
    cleaned, report = clean(trials_of(BLOCKS), with_rules(SessionBlocks((0.2, 0.5, 0.8))))
    assert kept(cleaned) == ["all", "nearly"]
    rows = {row["session"]: row for row in report.to_dicts()}
    assert rows.keys() == {"two", "more", "near miss"}
    assert rows["two"]["reason"] == "its blocks are 0.2 and 0.5, not exactly 0.2, 0.5 and 0.8"
    assert rows["more"]["n_trials"] == 4


def test_sessions_are_counted_where_the_rule_stands():
    trials = trials_of({"a": [(1, 0.5)], "b": [(None, 0.5)], "c": [(0, 0.5)]})
    few, enough = FewNoChoice(1), MinSessions(3)
    cleaned, report = clean(trials, with_rules(enough, few))
    assert kept(cleaned) == ["a", "c"]
    cleaned, report = clean(trials, with_rules(few, enough))
    assert cleaned.is_empty()
    assert "2 sessions are left at this rule, fewer than 3" in report["reason"].to_list()


def test_no_choice_is_counted_in_the_chain_alone():
    trials = trials_of({"a": [(1, 0.5), (None, 0.2), (None, 0.2)], "b": [(None, 0.5), (1, 0.2)]})
    cleaned, _ = clean(trials, with_rules(KeepBlocks((0.5,)), FewNoChoice(1)))
    assert kept(cleaned) == ["a"]


def test_a_rule_about_trials_takes_them_out_of_the_chain_and_keeps_them_in_the_table():
    trials = trials_of({"a": [(1, 0.5), (0, 0.2), (1, 0.2), (0, 0.5), (1, 0.8)]})
    cleaned, report = clean(trials, with_rules(KeepBlocks((0.5,))))
    assert_frame_equal(cleaned.drop(*CLEANING_SCHEMA), trials)
    assert cleaned["in_chain"].to_list() == [True, False, False, True, False]
    runs = report.select("level", "session", "first_trial", "last_trial", "n_trials").rows()
    assert runs == [("trial", "a", 1, 2, 2), ("trial", "a", 4, 4, 1)]


def test_a_trial_taken_out_of_the_chain_is_not_masked_too():
    trials = trials_of({"a": [(1, 0.5), (0, 0.2)]})
    rules = with_rules(MaskUnless("block", min=0.4), KeepBlocks((0.5,)))
    cleaned, _ = clean(trials, rules)
    assert cleaned["masked"].to_list() == [False, False]


def test_a_session_without_a_chain_trial_goes():
    cleaned, report = clean(
        trials_of({"a": [(1, 0.5)], "b": [(1, 0.2)]}), with_rules(KeepBlocks((0.5,)))
    )
    assert kept(cleaned) == ["a"]
    assert report.filter(rule="empty_session")["session"].to_list() == ["b"]


@pytest.mark.parametrize(
    ("rule", "masked"),
    [
        (MaskUnless("response_time", min=0.1, max=1.0), [False, True, True, False, True]),
        (MaskUnless("response_time", max=1.0), [False, False, True, False, True]),
        (MaskUnless("laser", values=(0.0,)), [True, False, False, False, True]),
        (MaskUnless("drug", values=("none", "saline")), [False, False, True, False, False]),
        (MaskUnless("feedback", values=(1.0,)), [True, True, False, False, True]),
    ],
)
def test_trial_filters_mask_choices_and_leave_the_chain(rule, masked):
    """The fourth trial has no choice to mask; what is unknown is masked."""
    trials = trials_of({"a": [(1, 0.5), (0, 0.5), (1, 0.5), (None, 0.5), (0, 0.5)]}).with_columns(
        response_time=pl.Series([0.5, 0.01, 3.0, 9.0, None]),
        laser=pl.Series([1.0, 0.0, 0.0, 1.0, None]),
        drug=pl.Series(["none", "saline", None, "x", "none"]),
        feedback=pl.Series([-1, -1, 1, None, None], dtype=trial_schema(TASK)["feedback"]),
    )
    cleaned, report = clean(trials, with_rules(rule))
    assert cleaned["in_chain"].all()
    assert cleaned["masked"].to_list() == masked
    assert report["n_trials"].sum() == sum(masked)


def test_a_trial_of_unknown_stimulus_is_masked():
    trials = trials_of({"a": [(1, 0.5), (0, 0.5), (None, 0.5)]}).with_columns(
        stimulus=pl.Series([0.5, None, None])
    )
    cleaned, report = clean(trials, TASK)
    assert cleaned["masked"].to_list() == [False, True, False]
    assert report["rule"].to_list() == ["unknown_stimulus"]


def test_exclusions_by_hand_come_first_and_keep_their_reason():
    trials = trials_of({"a": [(1, 0.5)], "b": [(1, 0.5)]})
    by_hand = [
        Exclusion("ann", "b", "wheel was loose"),
        Exclusion("bob", "a", "not this one"),
        Exclusion("ann", "z", "a typing error"),
    ]
    cleaned, report = clean(trials, with_rules(MinSessions(1)), by_hand)
    assert kept(cleaned) == ["a"]
    assert report["rule"].to_list() == ["excluded", "excluded"]
    assert report["warning"].to_list() == [False, True]  # nothing was dropped for the typing error
    assert "wheel was loose" in report["reason"][0]
    assert "no such session" in report["reason"][1]
    cleaned, _ = clean(trials, with_rules(MinSessions(2)), by_hand)
    assert cleaned.is_empty()


@pytest.mark.parametrize(
    ("choice", "stimulus", "said"),
    [(None, 0.5, "0 of 2 trials have a choice"), (1, None, "2 of 2 trials have a choice, and all")],
)
def test_a_subject_without_a_choice_that_counts_is_left_out(choice, stimulus, said):
    trials = trials_of({"a": [(choice, 0.5)] * 2}).with_columns(
        stimulus=pl.lit(stimulus, pl.Float64)
    )
    cleaned, report = clean(trials, TASK)
    assert cleaned.is_empty()
    (row,) = report.filter(rule="no_choices").to_dicts()
    assert said in row["reason"]
    assert (row["level"], row["n_trials"], row["dropped"]) == ("subject", 2, True)


def test_a_whole_subject_is_excluded_by_hand():
    cleaned, report = clean(
        trials_of({"a": [(1, 0.5)]}), TASK, [Exclusion("ann", None, "moved away")]
    )
    assert cleaned.is_empty()
    assert report.select("level", "reason").rows() == [("subject", "excluded by hand: moved away")]


def test_a_subject_of_whom_nothing_is_left_has_a_row():
    cleaned, report = clean(trials_of({"a": [(1, 0.2)]}), with_rules(KeepBlocks((0.5,))))
    assert cleaned.is_empty()
    assert set(CLEANING_SCHEMA) < set(cleaned.columns)
    assert report["level"].to_list()[-1] == "subject"


SESSIONS = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.lists(
        st.tuples(st.sampled_from([0, 1, 1, None]), st.sampled_from([0.2, 0.5, 0.5, None])),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
)
RULES = st.lists(
    st.sampled_from(
        [
            SessionBlocks((0.2, 0.5)),
            MinSessions(2),
            KeepBlocks((0.5,)),
            FewNoChoice(2),
            MaskUnless("block", max=0.4),
        ]
    )
)


@given(SESSIONS, RULES)
def test_every_trial_is_in_the_chain_or_in_the_report(sessions, rules):
    trials = trials_of(sessions)
    cleaned, report = clean(trials, with_rules(*rules))
    assert report.schema == pl.Schema(REPORT_SCHEMA)
    lost = trials.join(cleaned.filter("in_chain"), on=["session", "trial"], how="anti")
    rows = report.filter(~pl.col("rule").is_in(["mask_unless", "unknown_stimulus"])).to_dicts()
    whole = any(row["level"] == "subject" for row in rows)
    for session, trial in lost.select("session", "trial").iter_rows():
        assert whole or any(
            row["session"] == session
            and (row["level"] == "session" or row["first_trial"] <= trial <= row["last_trial"])
            for row in rows
        )
    masked = report.filter(rule="mask_unless").to_dicts()
    assert cleaned["masked"].sum() <= sum(row["n_trials"] for row in masked)
    # what stays is as recorded, in whole sessions and in order
    stays = trials.filter(pl.col("session").is_in(kept(cleaned)))
    assert_frame_equal(cleaned.drop(*CLEANING_SCHEMA), stays)
    assert not cleaned.filter("masked").select((~pl.col("in_chain")).any()).item()
