"""Limits of TOML files, files that are none, and where what a task inherits is said to be from."""

import os

import pytest

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.toml_table import read_toml

OWN = 'extends = "two_afc"\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "own.toml"


def refusal(file):
    with pytest.raises(InputError) as told:
        read_toml(file, f"file {file}")
    assert str(file) in str(told.value)
    assert len(str(told.value)) < 600
    return told.value.problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 2000 + "]" * 2000, "inside each other"),
        ("a = " + "[" * 12 + "]" * 12, "inside each other"),
        (".".join("a" * 12) + " = 1", "inside each other"),
        ("a = " + "{a=" * 2000 + "1" + "}" * 2000, "inside each other"),
        (f"a = {'9' * 5000}", "not valid TOML"),
        (f"a = {2**63}", "an integer in a"),
        (f"a = 0x{'f' * 5000}", "an integer in a"),
        (f"[t]\na = '{'x' * 1001}'", "a text of 1,001 characters in t.a"),
        (f"{'x' * 1001} = 1", "a text of 1,001 characters in a key"),
        ("a = '" + "x" * 10_001 + "'", "a line of"),
        ("a = [" + "1,\n" * 5001 + "]", "5,001 items in a"),
        ("".join(f"k{i} = 1\n" for i in range(5001)), "5,001 items"),
        ("# remark\n" * 120_000, "bytes"),
        ('a = "b\\u0000c"', "control character U+0000 in a"),
        ('"a\\u001b" = 1', "control character U+001B in a key"),
    ],
)
def test_what_no_file_needs_is_refused_in_few_words(file, text, said):
    file.write_text(text)
    assert said in refusal(file)


def test_bytes_that_are_no_text_are_told(file):
    file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(file)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_ordinary_file_is_not_opened(file, kind):
    {"pipe": os.mkfifo, "folder": os.mkdir}[kind](file)
    assert refusal(file) == "no ordinary file"


@pytest.mark.parametrize("target", ["nowhere.toml", "own.toml"])
def test_a_link_that_leads_nowhere_is_told(file, target):
    file.symlink_to(target)
    assert "cannot be read" in refusal(file)


def test_many_mistakes_are_told_in_few_words(file):
    file.write_text("\n".join([OWN, *("[[rules]]\nmin_sessions = 0" for _ in range(100))]))
    with pytest.raises(InputError) as told:
        load_task(file)
    assert len(str(told.value)) < 2000


@pytest.mark.parametrize("count", [9_999_999_999, 1001, 0])
def test_lags_have_a_limit(file, count):
    file.write_text(OWN + f'[[regressors]]\nkind = "choice_lags"\ncount = {count}\n')
    with pytest.raises(InputError, match="count"):
        load_task(file)


def test_columns_of_all_regressors_together_have_a_limit(file):
    lags = '[[regressors]]\nkind = "choice_lags"\ncount = 1000\nname = "{}"\n'
    file.write_text(OWN + "".join(lags.format(n) for n in "ab"))
    assert len(load_task(file).feature_names) == 2000
    file.write_text(OWN + "".join(lags.format(n) for n in "abc"))
    with pytest.raises(InputError, match="up to 3,000 columns, of at most 2,000"):
        load_task(file)


def problem(file, text):
    file.write_text(text)
    with pytest.raises(InputError) as told:
        load_task(file)
    return str(told.value)


def test_a_key_that_is_inherited_is_said_to_be(file):
    codes = 'names = ["hit", "miss"]\ncodes = { hit = "h", miss = "m" }\n'
    (file.parent / "base.toml").write_text(OWN + '[choices]\nbaseline = "right"\n')
    said = problem(file, 'extends = "base.toml"\n[choices]\n' + codes)
    assert "baseline is 'right'" in said
    assert f"choices.baseline is inherited from {file.parent / 'base.toml'}" in said
    assert "choices.names" not in said


def test_a_built_in_task_is_said_by_its_name(file):
    said = problem(file, OWN + '[choices]\nnames = ["hit", "miss"]\n')
    assert "choices.codes is inherited from two_afc" in said


def test_a_key_of_the_file_itself_is_not_said_to_be_inherited(file):
    assert "inherited" not in problem(file, OWN + "[columns]\nblock = 3\n").partition(" Known")[0]


def test_what_does_not_fit_with_what_is_inherited_is_told(file):
    said = problem(file, OWN + '[[stimuli]]\nname = "other"\ncolumn = "x"\n' + (
        '[[regressors]]\nkind = "column"\ncolumn = "stimulus"\n'
        '[[rules]]\nkeep_blocks = [0.5]\n'
    ))  # fmt: skip
    assert "columns.choice" in said.partition("(Inherited: ")[2]


def test_extends_follows_the_same_rule_as_a_study(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "base.toml").write_text(OWN + 'title = "of the home"')
    (folder / "own.toml").write_text('extends = "base.toml"')
    assert load_task("own.toml", folder, tmp_path).title == "of the home"
    (folder / "base.toml").write_text(OWN + 'title = "beside"')
    assert load_task("own.toml", folder, tmp_path).title == "beside"
    assert load_task("tasks/own.toml", folder, tmp_path).title == "beside"


def test_a_missing_file_is_told_with_where_it_was_looked_for(tmp_path):
    (tmp_path / "mouse.toml").write_text(OWN)
    with pytest.raises(InputError) as told:
        load_task("mose.toml", tmp_path / "studies", tmp_path)
    assert f"{tmp_path / 'studies' / 'mose.toml'} and {tmp_path / 'mose.toml'}" in str(told.value)
    assert told.value.remedy == "Did you mean 'mouse.toml'?"


def test_a_circle_of_files_is_told(tmp_path):
    for one, other in ("ab", "bc", "cb"):
        (tmp_path / f"{one}.toml").write_text(f'extends = "{other}.toml"')
    with pytest.raises(InputError, match=r"c.toml: it extends itself, by way of b.toml"):
        load_task("a.toml", tmp_path)


def test_a_long_chain_of_files_is_refused(tmp_path):
    for i in range(12):
        (tmp_path / f"t{i}.toml").write_text(f'extends = "t{i + 1}.toml"')
    with pytest.raises(InputError, match="a chain of more than 10 files"):
        load_task("t0.toml", tmp_path)
