"""Stimuli of tasks that are not the built-in one: strength with a direction, or none at all."""

import numpy as np
import polars as pl
import pytest

from glmhmm_core.design.build import build_design
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.rewarded import rewarded_class

BANDIT = """
stimuli = []
extends = "two_afc"
regressors = [
    { kind = "bias" }, { kind = "previous_choice" }, { kind = "wsls" },
]
"""
MOTION = """
extends = "two_afc"
[[stimuli]]
name = "signed_coherence"
column = "coherence"
sign_of = DIRECTION
"""


@pytest.fixture
def task_of(tmp_path):
    """Write a task file and load it."""

    def load(text):
        file = tmp_path / "own.toml"
        file.write_text(text)
        return load_task(file)

    return load


@pytest.fixture
def read(tmp_path):
    """Write columns of one session as CSV and read them with a task."""

    def read(task, **columns):
        n_trials = len(columns["choice"])
        table = {"subject": ["ann"] * n_trials, "session": ["d1"] * n_trials, **columns}
        pl.DataFrame(table).write_csv(tmp_path / "rows.csv")
        return read_subject(tmp_path / "rows.csv", "csv", task, "ann")

    return read


def motion(direction):
    return MOTION.replace("DIRECTION", direction)


def test_evidence_is_strength_with_the_sign_of_its_direction(task_of, read):
    task = task_of(motion('"side"'))  # the codes of the choices
    trials, _ = read(
        task, coherence=[0.1, 0.5, 0.5], side=[0, 0, 1], choice=[0, 1, 1], feedback=[1, 0, 1]
    )
    assert trials["signed_coherence"].to_list() == [-0.1, -0.5, 0.5]


def test_a_direction_may_have_codes_of_its_own(task_of, read):
    task = task_of(motion('{ column = "side", negative = ["L", "l"], positive = "R" }'))
    trials, _ = read(
        task, coherence=[0.1, 0.5, 0.2], side=["L", "R", "l"], choice=[0, 1, 1], feedback=[1, 1, 0]
    )
    assert trials["signed_coherence"].to_list() == [-0.1, 0.5, -0.2]


def test_without_strength_no_direction_is_needed(task_of, read):
    task = task_of(motion('"side"'))
    trials, _ = read(
        task, coherence=[0.0, 0.5, 0.2], side=[None, 0, None], choice=[0] * 3, feedback=[1] * 3
    )
    assert trials["signed_coherence"].to_list() == [0.0, -0.5, None]


def test_an_unknown_direction_names_the_row_and_where_its_codes_are_given(task_of, read):
    _, report = read(
        task_of(motion('"side"')), coherence=[0.1, 0.5], side=[0, 2], choice=[0, 1], feedback=[1, 1]
    )
    (row,) = report.filter(rule="direction_codes").to_dicts()
    assert "'side' is '2' at row 2" in row["reason"]
    assert "sign_of = { column = ..., negative = ..., positive = ... }" in row["reason"]


@pytest.mark.parametrize(
    ("direction", "said"),
    [
        ('{ column = "side", negative = 0 }', "give the codes of both directions"),
        ('{ column = "side", negative = 0, positive = [1, 0] }', "the code 0 has two meanings"),
    ],
)
def test_directions_that_cannot_be_told_apart_are_refused(task_of, direction, said):
    with pytest.raises(InputError, match=said):
        task_of(motion(direction))


def test_a_difference_takes_no_direction(task_of):
    text = motion('"side"').replace('column = "coherence"', 'plus = "right"\nminus = "left"')
    with pytest.raises(InputError, match="'sign_of' gives a direction to 'column'"):
        task_of(text)


def test_a_bandit_needs_no_stimulus(task_of, read):
    task = task_of(BANDIT)
    trials, report = read(task, choice=[0, 1, 1], feedback=[1, 0, 1])
    cleaned, _ = clean(trials, task)
    design = build_design(cleaned, task)
    assert report.is_empty()
    assert design.mask.all()
    assert np.array_equal(design.X, [[1, 0, 0], [1, -1, -1], [1, 1, -1]])


def test_a_stimulus_regressor_of_a_task_without_stimulus_is_refused_with_a_way_out(task_of):
    with pytest.raises(InputError, match="the task has none") as raised:
        task_of('stimuli = []\nextends = "two_afc"\n')
    assert "leave the regressor out" in str(raised.value)


def test_a_stimulus_that_nothing_uses_may_be_absent(task_of, read):
    task = task_of(BANDIT.replace("stimuli = []", ""))
    trials, report = read(task, choice=[0, 1, 1], feedback=[1, 0, 1])
    assert trials["stimulus"].null_count() == 3
    assert "no column stimulus (the stimulus)" in report["reason"].item()


def test_a_stimulus_that_a_rule_uses_may_not_be_absent(task_of, read):
    rule = 'rules = [{ mask_unless = { column = "stimulus", min = 0 } }]\n'
    task = task_of(BANDIT.replace("stimuli = []", rule))
    with pytest.raises(InputError, match="'ann' cannot be read"):
        read(task, choice=[0, 1, 1], feedback=[1, 0, 1])


def test_without_a_stimulus_a_trial_without_outcome_takes_the_side_rewarded_most(task_of, read):
    task = task_of(BANDIT)
    trials, _ = read(task, choice=[0, 1, 1, None], feedback=[1, 0, 1, None])
    assert rewarded_class(trials, task).tolist() == [0, 0, 1, 0]
