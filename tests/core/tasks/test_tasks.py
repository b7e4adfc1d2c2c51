"""Tasks: the built-in ones as specified, files of one's own, and every mistake in its words."""

import re
from pathlib import Path

import numpy as np
import pytest

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import BUILT_IN, load_task
from glmhmm_core.tasks.task import FewNoChoice, KeepBlocks, MaskUnless, MinSessions, SessionBlocks

MINIMAL = """
title = "a task"
[columns]
choice = "choice"
[choices]
names = ["left", "right"]
codes = { left = 0, right = 1 }
[[stimuli]]
name = "evidence"
column = "evidence"
[[regressors]]
kind = "stimulus"
"""


@pytest.fixture
def task_file(tmp_path):
    def write(text: str, name: str = "own.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_ibl_task_is_the_cohort_rule_and_design_of_ashwood_2022():
    task = load_task("ibl_2afc")
    assert task.choices == ("left", "right")
    assert task.baseline_class_idx == 0
    assert task.choice_codes == ((1.0,), (-1.0,))
    assert task.no_choice_codes == (0.0,)
    assert task.feature_names == ("stimulus", "bias", "previous_choice", "wsls")
    assert task.rules == (
        SessionBlocks((0.2, 0.5, 0.8)),
        MinSessions(30),
        KeepBlocks((0.5,)),
        FewNoChoice(10),
    )
    assert [r.scale for r in task.regressors if r.kind == "stimulus"] == [2.0943]
    assert task.stimuli[0].name == "signed_contrast"
    np.testing.assert_array_equal(task.prior_scales, [10, 3, 2, 2])


def test_built_in_tasks_load_and_are_named_by_their_file():
    assert set(BUILT_IN) == {"ibl_2afc", "two_afc"}
    for name in BUILT_IN:
        assert load_task(name).name == name


def test_a_task_is_the_same_wherever_its_file_lies(task_file):
    here, there = (
        load_task(task_file(MINIMAL, f"{folder}/own.toml")) for folder in ("one", "other")
    )
    assert here == there
    assert repr(here) == repr(there)


def test_extending_changes_tables_key_by_key_and_lists_as_a_whole(task_file):
    base, own = (
        load_task("two_afc"),
        load_task(
            task_file(
                """
            extends = "two_afc"
            title = "dots"
            [columns]
            subject = "subj_idx"
            feedback = { sign_of = "coherence" }
            [[stimuli]]
            name = "coherence"
            column = "stimulus"
            [[regressors]]
            kind = "stimulus"
            scale = 0.1
            """
            )
        ),
    )
    assert (own.subject_column, own.session_columns) == ("subj_idx", base.session_columns)
    assert (own.feedback_column, own.feedback_sign_of) == (None, "coherence")
    assert own.choice_codes == base.choice_codes
    assert own.feature_names == ("stimulus",)
    assert own.regressors[0].column == "coherence"


def test_extending_follows_files_beside_each_other(task_file):
    task_file(MINIMAL, "base.toml")
    task_file('extends = "base.toml"\ntitle = "middle"', "middle.toml")
    own = load_task(task_file('extends = "middle.toml"\n[columns]\nblock = "b"', "own.toml"))
    assert (own.title, own.block_column) == ("middle", "b")


def test_the_table_that_names_a_column_is_known(task_file):
    own = task_file(MINIMAL + '[extras]\nlaser = "laser_on"\n[labels]\ndrug = "dose"\n')
    task = load_task(own)
    columns = {"choice": "[columns]", "evidence": "[[stimuli]]", "laser_on": "[extras]"}
    for source, table in {**columns, "dose": "[labels]", "subject": "[columns]"}.items():
        assert task.tables_of([source]) == table
    assert task.tables_of(["subject", "choice", "evidence"]) == "[columns] and [[stimuli]]"


def test_a_circle_of_extensions_is_refused(task_file):
    task_file('extends = "b.toml"', "a.toml")
    with pytest.raises(InputError, match="extends itself"):
        load_task(task_file('extends = "a.toml"', "b.toml"))


THREE = MINIMAL.replace(
    '["left", "right"]', '["left", "none", "right"]\nbaseline = "none"'
).replace("{ left = 0, right = 1 }", "{ left = 0, none = 1, right = 2 }")


def test_previous_choice_has_a_column_per_choice_but_the_baseline(task_file):
    task = load_task(task_file(THREE + '[[regressors]]\nkind = "previous_choice"\nprior_scale = 5'))
    assert task.feature_names == ("stimulus", "previous_choice_left", "previous_choice_right")
    np.testing.assert_array_equal(task.prior_scales, [10, 5, 5])


def test_wsls_of_three_choices_is_refused_with_a_way_out(task_file):
    feedback = THREE.replace('choice = "choice"', 'choice = "choice"\nfeedback = "outcome"')
    with pytest.raises(InputError, match="previous_choice_outcome"):
        load_task(task_file(feedback + '[[regressors]]\nkind = "wsls"'))
    way_out = load_task(task_file(feedback + '[[regressors]]\nkind = "previous_choice_outcome"'))
    assert len(way_out.feature_names) == 3


def test_lags_cosines_and_columns_have_names_of_their_own(task_file):
    task = load_task(
        task_file(
            THREE
            + """
            [[regressors]]
            kind = "choice_lags"
            count = 2
            [[transition_regressors]]
            kind = "session_cosines"
            name = "early"
            trials = 50
            count = 2
            [[transition_regressors]]
            kind = "column"
            column = "laser"
            prior_scale = 0.5
            [[transition_regressors]]
            kind = "stimulus"
            [extras]
            laser = "laser_on"
            """
        )
    )
    lags = [f"choice_lags_{i}_{side}" for i in (1, 2) for side in ("left", "right")]
    assert task.feature_names == ("stimulus", *lags)
    assert task.transition_names == ("early_1", "early_2", "laser", "stimulus")
    np.testing.assert_array_equal(task.transition_scales, [2, 2, 0.5, 2])
    assert "laser_on" in task.needed_columns


UNKNOWN_KEYS = [
    ('title = "a task"', 'title = "a task"\nregresors = []', "regressors"),
    ('choice = "choice"', 'choice = "choice"\nfeedbak = "f"', "feedback"),
    ('choice = "choice"', 'choice = "choice"\nfeedback = { signof = "f" }', "sign_of"),
    ('choice = "choice"', 'choice = "c"\nresponse_time = { started = ["a"] }', "start"),
    ("[choices]", "[choices]\nbase_line = 'left'", "baseline"),
    ('column = "evidence"', 'column = "evidence"\ncentre = 1', "center"),
    ('kind = "stimulus"', 'kind = "stimulus"\nscal = 1', "scale"),
    ("[[stimuli]]", "[[rules]]\nmin_session = 3\n[[stimuli]]", "min_sessions"),
    ("[[stimuli]]", "[[rules]]\nmask_unless = { colum = 'x' }\n[[stimuli]]", "column"),
]


@pytest.mark.parametrize(("old", "new", "nearest"), UNKNOWN_KEYS)
def test_an_unknown_key_is_refused_with_the_nearest_valid_one(task_file, old, new, nearest):
    path = task_file(MINIMAL.replace(old, new, 1))
    with pytest.raises(InputError, match=f"Did you mean '{nearest}'") as error:
        load_task(path)
    assert str(path) in str(error.value)


RULE = "[[rules]]\n"
MISFITS = [
    ("names = ['left', 'right']", "names = ['left']", "at least 2"),
    ("names = ['left', 'right']", "names = ['left', 'left']", "same name"),
    ("names = ['left', 'right']", "names = ['left', 'right']\nbaseline = 'up'", "baseline is 'up'"),
    ("right = 1 }", "up = 1 }", "a code for each"),
    ("right = 1 }", "right = 0 }", "has two meanings"),
    ("right = 1 }", "right = 1 }\nnone = [1]", "has two meanings"),
    ("column = 'evidence'", "", "give 'column', or 'plus' and 'minus'"),
    ("column = 'evidence'", "plus = 'a'", "give 'column', or 'plus' and 'minus'"),
    ("column = 'evidence'", "column = 'a'\nmissing = 0", "difference of two"),
    ("name = 'evidence'", "name = 'block'", "cannot be called 'block'"),
    ("kind = 'stimulus'", "kind = 'bias'\nscale = 2", "'scale' is not for the kind bias"),
    ("kind = 'stimulus'", "kind = 'choice_trace'", "needs 'half_life' or 'tau'"),
    ("kind = 'stimulus'", "kind = 'choice_trace'\ntau = 1\nhalf_life = 2", "not both"),
    ("kind = 'stimulus'", "kind = 'choice_trace'\ntau = 0", "greater than 0"),
    ("kind = 'stimulus'", "kind = 'choice_lags'", "needs 'count'"),
    ("kind = 'stimulus'", "kind = 'column'", "needs 'column'"),
    ("kind = 'stimulus'", "kind = 'column'\ncolumn = 'response_time'", "no column of numbers"),
    ("kind = 'stimulus'", "kind = 'column'\ncolumn = 'block'", "columns.block"),
    (
        "kind = 'stimulus'",
        "kind = 'previous_value'\ncolumn = 'response_time'",
        "columns.response_time",
    ),
    ("kind = 'stimulus'", "kind = 'outcome_trace'\ntau = 2", "needs the outcome"),
    ("kind = 'stimulus'", "kind = 'choice_lags'\ncount = 2\noutcome = 'rewarded'", "needs the out"),
    (
        "kind = 'stimulus'",
        "kind = 'bias'\n[[transition_regressors]]\nkind = 'bias'",
        "the chain has its own",
    ),
    (
        "kind = 'stimulus'",
        "kind = 'bias'\n" + 2 * "[[transition_regressors]]\nkind = 'choice_trace'\ntau = 2\n",
        "two transition regressors",
    ),
    ("kind = 'stimulus'", "kind = 'stimulus'\ncolumn = 'elsewhere'", "no column of numbers"),
    ("kind = 'stimulus'", "kind = 'stimulus'\nprior_scale = 0", "greater than 0"),
    ("kind = 'stimulus'", "kind = 'bias'\n[[regressors]]\nkind = 'bias'", "called 'bias'"),
    ("kind = 'stimulus'", "kind = 'wsls'", "needs the outcome"),
    ("kind = 'stimulus'", "kind = 'bias'\n" + RULE + "keep_blocks = [1]", "no block column"),
    ("kind = 'stimulus'", "kind = 'bias'\n" + RULE, "one rule"),
    ("kind = 'stimulus'", "kind = 'bias'\n" + RULE + "min_sessions = 0", "greater than"),
    (
        "kind = 'stimulus'",
        "kind = 'bias'\n" + RULE + "mask_unless = { column = 'laser', values = [0] }",
        "no column of the trial table",
    ),
    (
        "kind = 'stimulus'",
        "kind = 'bias'\n" + RULE + "mask_unless = { column = 'evidence', values = ['a'] }",
        "holds numbers",
    ),
    (
        "kind = 'stimulus'",
        "kind = 'bias'\n[labels]\ndrug = 'drug'\n"
        + RULE
        + "mask_unless = { column = 'drug', min = 1 }",
        "holds text",
    ),
    ("choice = 'choice'", "choice = 'choice'\nfeedback = { sign_of = 'x' }", "no stimulus"),
    ("choice = 'choice'", "choice = 'choice'\nfeedback = {}", "give a column name"),
]


@pytest.mark.parametrize(("old", "new", "said"), MISFITS)
def test_what_does_not_fit_together_is_refused(task_file, old, new, said):
    text = MINIMAL.replace('"', "'")
    assert old in text
    with pytest.raises(InputError, match=re.escape(said)):
        load_task(task_file(text.replace(old, new, 1)))


def test_a_missing_file_broken_toml_and_an_unknown_name_are_told_apart(task_file, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_task(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="not valid TOML"):
        load_task(task_file("title ="))
    with pytest.raises(InputError, match="Did you mean 'two_afc'"):
        load_task("two_acf")


def test_rules_keep_their_order_and_values(task_file):
    own = load_task(
        task_file(
            MINIMAL
            + """
            [[rules]]
            mask_unless = { column = "response_time", min = 0.08, max = 10 }
            [[rules]]
            no_choice_fewer_than = 3
            [[rules]]
            mask_unless = { column = "laser", values = [0] }
            [extras]
            laser = "laser_on"
            """
        )
    )
    assert own.rules == (
        MaskUnless("response_time", 0.08, 10.0),
        FewNoChoice(3),
        MaskUnless("laser", values=(0.0,)),
    )


def test_what_the_built_in_file_shows_as_a_comment_can_be_said(task_file):
    """Every commented line of ``two_afc`` uncommented, but the ones that are about the other."""
    text = BUILT_IN["two_afc"].read_text(encoding="utf-8")
    body = text[text.index("title") :]
    own = load_task(task_file(re.sub(r"(?m)^# +(?=\[|\w+ = )", "", body)))
    assert len(own.rules) == 5
    assert own.stimuli[0].range == (-1, 1)
    assert own.regressors[0].prior_scale == 10
    cosines = [f"session_cosines_{i}" for i in (1, 2, 3)]
    assert own.transition_names == ("choice_trace", *cosines)
    assert own.transition_regressors[0].decay ** 4 == pytest.approx(0.5)
    assert [extra.is_text for extra in own.extras] == [False, True]
    assert own.response_time is not None
