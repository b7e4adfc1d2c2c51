"""Subject names: whatever is accepted is one path component and breaks no partition range."""

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.errors import InputError
from glmhmm_core.trials.names import check_subject_name, name_key

REFUSED = [
    "../x", "a...b", "a..b", "a/b", "a|b", "a\\b", "", ".", "..", ".a", "a.", " a", "a ", " ",
    "a\nb", "a\tb", "a:b", "a,b", "a*b", "a\x00b", "a\u200bb", "a\u00a0b", "\u0301a", "x" * 201,
]  # fmt: skip
ALLOWED = [
    "CSHL_001", "IBL-T1", "a.b.c", "mouse 7", "a  b", "小鼠1", "Жук", "मूषक", "e\u0301", "é", "_",
    "-x", "١٢",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_could_leave_their_folder_or_break_a_range_are_refused(name):
    with pytest.raises(InputError):
        check_subject_name(name)


@pytest.mark.parametrize("name", ALLOWED)
def test_names_of_any_script_are_allowed(name):
    check_subject_name(name)


@given(st.text(max_size=12) | st.text("ab./\\| -_é", max_size=8))
def test_an_accepted_name_is_one_plain_component(name):
    try:
        check_subject_name(name)
    except InputError:
        return
    assert Path("folder", name).name == name
    assert PureWindowsPath("folder", name).name == name
    assert ".." not in name
    assert name == name.strip()
    assert not set(name) & set('|,:*?"<>\n\r\t\0')


def test_case_and_composition_do_not_tell_names_apart():
    assert name_key("Mouse") == name_key("mOUSE")
    assert name_key("e\u0301") == name_key("É")
    assert name_key("a_b") != name_key("a-b")
