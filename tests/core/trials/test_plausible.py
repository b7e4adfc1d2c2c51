"""A sign or code that looks wrong is reported once, and the remedy that it names works."""

import re

import numpy as np
import polars as pl
import pytest

from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import Exclusion, clean
from glmhmm_core.trials.readers import read_subject

#: Place of a remedy, and its content: TOML tables, keys separated by ";".
REMEDY = re.compile(r"\[(?:\[stimuli\]|choices|feedback)\] .+?(?=; or, if|, and \[|\. |$)")


def behave(n=200, seed=0, sessions=1, slope=4.0, bias=0.0):
    """Trials of a subject that mostly follows the stimulus, as two_afc has them."""
    rng = np.random.default_rng(seed)
    stimulus = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n)
    right = (rng.random(n) < 1 / (1 + np.exp(-slope * stimulus - bias))).astype(int)
    correct = np.where(stimulus == 0, rng.integers(0, 2, n), stimulus > 0)
    return pl.DataFrame(
        {
            "subject": "ann",
            "session": [f"s{i * sessions // n}" for i in range(n)],
            "stimulus": stimulus,
            "choice": right,
            "feedback": (right == correct).astype(int),
        }
    )


@pytest.fixture
def look(tmp_path):
    """Write a table, read and clean it; give the warnings as (rule, session, reason)."""

    def look(table, toml='extends = "two_afc"\n', exclude=()):
        (tmp_path / "task.toml").write_text(toml)
        table.write_csv(tmp_path / "all.csv")
        task = load_task(tmp_path / "task.toml")
        trials, _ = read_subject(tmp_path / "all.csv", "csv", task, "ann")
        _, report = clean(trials, task, exclude)
        warned = report.filter("warning")
        return list(warned.select("rule", "session", "reason").iter_rows())

    return look


def only(warnings):
    (one,) = warnings
    return one


def remedies(reason):
    """Remedies that a warning names, each as lines of TOML."""
    return ["\n".join(re.split(r"(?<=\]) |; ", text)) + "\n" for text in REMEDY.findall(reason)]


def test_a_subject_that_follows_the_stimulus_is_not_warned_of(look):
    assert look(behave()) == []


# -- sign -------------------------------------------------------------------------------------


def turned(table, where=True):
    stimulus = pl.when(where).then(-pl.col("stimulus")).otherwise("stimulus")
    return table.with_columns(stimulus.alias("stimulus"))


def test_a_reversed_stimulus_is_told(look):
    rule, session, reason = only(look(turned(behave())))
    assert (rule, session) == ("reversed_sign", None)
    assert "the correct side (by choice and outcome) is not that of 'stimulus'" in reason
    assert "its sign looks reversed" in reason


@pytest.mark.parametrize("which", [0, 1])
def test_each_remedy_for_a_reversed_stimulus_mends_it(look, which):
    table = turned(behave())
    named = remedies(only(look(table))[2])
    assert len(named) == 2
    assert look(table, f'extends = "two_afc"\n{named[which]}') == []


SIDES = """extends = "two_afc"
[[stimuli]]
name = "contrast"
plus = "{}"
minus = "{}"
missing = 0
range = [-1, 0.5]
center = 0.25
"""


def test_two_columns_are_swapped(look):
    table = behave().with_columns(
        r=0.25 + pl.max_horizontal("stimulus", 0.0), l=pl.max_horizontal(-pl.col("stimulus"), 0.0)
    )
    assert look(table, SIDES.format("r", "l")) == []
    table = table.rename({"r": "l", "l": "r"})
    reason = only(look(table, SIDES.format("r", "l")))[2]
    assert 'plus = "l"; minus = "r"; center = -0.25; missing = 0; range = [-0.5, 1]' in reason
    assert look(table, f'extends = "two_afc"\n{remedies(reason)[0]}') == []


def test_a_direction_in_a_column_of_its_own_is_turned(look):
    side = pl.when(pl.col("stimulus") > 0).then(pl.lit("L")).otherwise(pl.lit("R"))
    table = behave().with_columns(pl.col("stimulus").abs(), side=side)
    directions = '{ column = "side", negative = "L", positive = "R" }'
    toml = (
        'extends = "two_afc"\n[[stimuli]]\nname = "stimulus"\ncolumn = "stimulus"\n'
        f"sign_of = {directions}\n"
    )
    reason = only(look(table, toml))[2]
    assert 'sign_of = { column = "side", negative = "R", positive = "L" }' in reason
    assert look(table, f'extends = "two_afc"\n{remedies(reason)[0]}') == []


def test_a_column_that_was_turned_in_vain_is_turned_back(look):
    toml = 'extends = "two_afc"\n[[stimuli]]\nname = "x"\nminus = "stimulus"\n'
    reason = only(look(behave(), toml))[2]
    assert look(behave(), f'extends = "two_afc"\n{remedies(reason)[0]}') == []


def test_swapped_outcomes_are_told_apart_from_a_reversed_stimulus(look):
    table = behave().with_columns(feedback=1 - pl.col("feedback"))
    rule, _, reason = only(look(table))
    assert rule == "reversed_sign"
    assert "the codes of the outcome look swapped" in reason
    (remedy,) = remedies(reason)
    assert look(table, f'extends = "two_afc"\n{remedy}') == []


def test_choices_against_the_stimulus_are_told_without_an_outcome(look):
    table = turned(behave().drop("feedback"))
    toml = 'extends = "two_afc"\n[columns]\nfeedback = {sign_of = "stimulus"}\n'
    rule, _, reason = only(look(table, toml))
    assert rule == "reversed_sign"
    assert "choices go against the sign of 'stimulus'" in reason
    assert look(table, toml + remedies(reason)[0]) == []


def test_a_stimulus_and_outcomes_that_are_both_reversed_are_told(look):
    table = turned(behave()).with_columns(feedback=1 - pl.col("feedback"))
    reason = only(look(table))[2]
    both = remedies(reason)
    assert [text.splitlines()[0] for text in both] == ["[[stimuli]]", "[feedback]"]
    assert look(table, f'extends = "two_afc"\n{both[1]}{both[0]}') == []


def test_a_task_file_of_ones_own_is_not_asked_to_be_made(look):
    assert "In the task file write" in only(look(turned(behave())))[2]


def test_a_few_reversed_trials_say_nothing(look):
    assert look(turned(behave(9))) == []


def test_a_mixture_of_rules_is_not_reversed(look):
    half = pl.int_range(pl.len()) % 2 == 0
    assert look(turned(behave(), half)) == []


def test_a_bias_against_frequent_stimuli_is_no_reversed_sign(look):
    table = behave(slope=0.0, bias=4.0).with_columns(
        stimulus=pl.when(pl.int_range(pl.len()) % 5 > 0).then(-1.0).otherwise(1.0)
    )
    toml = 'extends = "two_afc"\n[columns]\nfeedback = {sign_of = "stimulus"}\n'
    assert look(table, toml) == []


def test_a_subject_at_chance_is_not_reversed(look):
    assert look(behave(slope=0.0)) == []


def test_sessions_that_are_reversed_alone_are_named(look):
    table = behave(400, sessions=4)
    warnings = look(turned(table, pl.col("session").is_in(["s1", "s3"])))
    assert [(rule, session) for rule, session, _ in warnings] == [
        ("reversed_sign", "s1"),
        ("reversed_sign", "s3"),
    ]
    assert "2 of 4 sessions" in warnings[0][2]


def test_the_few_that_are_not_reversed_are_the_exception(look):
    table = behave(400, sessions=4)
    warnings = look(turned(table, pl.col("session") != "s1"))
    assert [session for _, session, _ in warnings] == ["s0", "s2", "s3"]


def test_sessions_that_are_all_reversed_are_told_once(look):
    assert only(look(turned(behave(400, sessions=4))))[1] is None


def test_a_session_excluded_by_hand_is_not_told(look):
    table = turned(behave(400, sessions=4), pl.col("session") == "s1")
    assert look(table, exclude=[Exclusion("ann", "s1", "turned")]) == []


def test_masked_trials_do_not_count(look):
    table = behave(400).with_columns(anti=(pl.int_range(pl.len()) >= 100).cast(int))
    table = turned(table, pl.col("anti") == 1)
    toml = 'extends = "two_afc"\n[extras]\nanti = "anti"\n'
    assert len(look(table, toml)) == 1
    assert look(table, toml + '[[rules]]\nmask_unless = {column = "anti", values = [0]}\n') == []


# -- codes ------------------------------------------------------------------------------------


def test_minus_one_and_one_read_as_none_and_right_are_told(look):
    table = behave().with_columns(choice=2 * pl.col("choice") - 1)
    rule, _, reason = only(look(table))
    assert rule == "choice_codes"
    assert re.search(r"all \d+ choices are 'right' and \d+ of 200 trials have none", reason)
    (remedy,) = remedies(reason)
    assert remedy.startswith('[choices]\ncodes = { "left" = -1, "right" = 1 }\nnone = 0')
    assert look(table, f'extends = "two_afc"\n{remedy}') == []


def test_zero_and_one_read_as_none_and_one_side_are_told(look):
    toml = 'extends = "two_afc"\n[choices]\ncodes = {left = 1, right = 2}\nnone = 0\n'
    reason = only(look(behave(), toml))[2]
    assert look(behave(), f'extends = "two_afc"\n{remedies(reason)[0]}') == []


def test_choices_of_one_side_alone_are_told(look):
    table = behave().with_columns(choice=pl.lit(1), feedback=(pl.col("stimulus") > 0).cast(int))
    rules = [rule for rule, _, _ in look(table)]
    assert "choice_codes" in rules
    (reason,) = [reason for rule, _, reason in look(table) if rule == "choice_codes"]
    assert "all 200 choices are 'right'. Compare" in reason
    assert '[choices] codes = { "left" = 0, "right" = 1 }' in reason


def test_a_choice_of_three_that_never_occurs_is_named(look):
    toml = """extends = "two_afc"
regressors = [{kind = "bias"}]
[choices]
names = ["left", "right", "wait"]
codes = {left = 0, right = 1, wait = 7}
"""
    rule, _, reason = only(look(behave(), toml))
    assert rule == "choice_codes"
    assert "'wait' (code 7) never occurs among 200 choices" in reason


def test_half_of_the_trials_without_a_choice_are_told(look):
    some = pl.int_range(pl.len()) % 2 == 0
    table = behave().with_columns(choice=pl.when(some).then("choice"))
    rule, _, reason = only(look(table))
    assert rule == "without_choice"
    assert "100 of 200 trials have no choice" in reason


def test_fewer_than_half_without_a_choice_are_not_told(look):
    some = pl.int_range(pl.len()) % 2 == 0
    later = pl.int_range(pl.len()) > 10
    table = behave().with_columns(choice=pl.when(some & later).then(-1).otherwise("choice"))
    assert look(table) == []


def test_a_session_in_other_codes_is_named(look):
    own = pl.col("session") == "s2"
    codes = pl.when(own).then(2 * pl.col("choice") - 1).otherwise("choice")
    rule, session, reason = only(look(behave(400, sessions=4).with_columns(choice=codes)))
    assert (rule, session) == ("choice_codes", "s2")
    assert "the codes of the choices look misread" in reason


# -- outcomes ---------------------------------------------------------------------------------


def test_an_outcome_that_is_a_copy_of_the_choice_is_told(look):
    warnings = look(behave().with_columns(feedback="choice"))
    (reason,) = [reason for rule, _, reason in warnings if rule == "outcome_is_choice"]
    assert "rewarded exactly where 'right' was chosen" in reason
    assert "'feedback' looks like a copy of 'choice'" in reason


def test_outcomes_where_the_same_side_is_always_correct_are_no_copy(look):
    table = behave(slope=2.0).with_columns(stimulus=pl.col("stimulus").abs() + 0.5)
    rules = [rule for rule, _, _ in look(table.with_columns(feedback="choice"))]
    assert "outcome_is_choice" not in rules


def test_outcomes_that_are_always_rewarded_are_told(look):
    warnings = look(behave(slope=1.0).with_columns(feedback=pl.lit(1)))
    (reason,) = [reason for rule, _, reason in warnings if rule == "outcome_constant"]
    assert reason.startswith("all 200 outcomes are rewarded (codes 1 and [0, -1])")


def test_outcomes_that_are_never_rewarded_are_told(look):
    warnings = look(behave().with_columns(feedback=pl.lit(0)))
    assert "outcome_constant" in [rule for rule, _, _ in warnings]


def test_a_perfect_subject_is_not_warned_of(look):
    assert look(behave(slope=300).filter(pl.col("stimulus") != 0)) == []


# -- stimulus ---------------------------------------------------------------------------------


def test_a_constant_stimulus_is_told(look):
    (reason,) = [
        r
        for rule, _, r in look(behave().with_columns(stimulus=pl.lit(0.5)))
        if rule == "stimulus_constant"
    ]
    assert "'stimulus' is 0.5 on all 200 trials (from 'stimulus')" in reason


def test_a_strength_without_a_side_is_told(look):
    rule, _, reason = only(look(behave().with_columns(pl.col("stimulus").abs())))
    assert rule == "one_sided_stimulus"
    assert "'stimulus' is never negative" in reason


def test_sides_coded_as_one_and_two_are_told_and_a_center_mends_them(look):
    table = behave().filter(pl.col("stimulus") != 0)
    table = table.with_columns(stimulus=pl.when(pl.col("stimulus") > 0).then(2).otherwise(1))
    assert "one_sided_stimulus" in [rule for rule, _, _ in look(table)]
    toml = 'extends = "two_afc"\n[[stimuli]]\nname = "x"\ncolumn = "stimulus"\ncenter = 1.5\n'
    assert look(table, toml) == []


def test_a_task_of_detection_is_not_told(look):
    """Without a stimulus the other choice is correct."""
    rng = np.random.default_rng(0)
    table = behave().with_columns(stimulus=pl.Series(rng.choice([0.0, 0.2, 0.5, 1.0], 200)))
    there = pl.col("stimulus") > 0
    table = table.with_columns(choice=there.cast(int), feedback=pl.lit(1))
    table = table.with_columns(
        choice=pl.when(pl.int_range(pl.len()) % 9 == 0)
        .then(1 - pl.col("choice"))
        .otherwise("choice")
    )
    table = table.with_columns(feedback=(pl.col("choice") == there).cast(int))
    assert look(table) == []
