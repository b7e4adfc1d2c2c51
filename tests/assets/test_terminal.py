"""Names and reasons from the files of others on a terminal."""

import io

import polars as pl
from rich.console import Console

from glmhmm_assets.check import Check, render
from glmhmm_assets.terminal import Terminal, shown
from glmhmm_core.trials.report import REPORT_SCHEMA


def test_control_codes_are_spelled_out():
    assert shown("a\x1b[2J\x07\r\n\u202eb\x9b") == "a\\x1b[2J\\x07\\r\\n\\u202eb\\x9b"


def test_letters_of_all_scripts_and_lines_of_a_message_stay():
    assert shown("Mäuse 鼠 👩\u200d🔬\nnext", lines=True) == "Mäuse 鼠 👩\u200d🔬\nnext"


def test_a_name_that_is_not_utf8_can_be_shown():
    assert shown("a\udcff") == "a\\udcff"


def test_nothing_printed_is_taken_for_a_style(capsys):
    Terminal().print("[red]mouse[/nonsense] :mouse: \x1b[31m")
    assert capsys.readouterr().out == "[red]mouse[/nonsense] :mouse: \\x1b[31m\n"


def table_of(*subjects: str, width: int = 80) -> str:
    rows = [
        {
            "subject": subject,
            "sessions_kept": 12,
            "sessions_dropped": 3,
            "trials": 4567,
            "no_choice": 89,
            "chose_last": 0.512,
            "left_out": None,
        }
        for subject in subjects
    ]
    check = Check(("left", "right"), pl.DataFrame(rows), pl.DataFrame(schema=REPORT_SCHEMA))
    console = Console(file=io.StringIO(), width=width)
    console.print(render(check))
    return console.file.getvalue()


def test_a_long_name_pushes_no_number_out_of_the_table():
    said = table_of("m" * 300, "b")
    assert said.count("m") >= 300
    for number in ("12", "3", "4567", "89", "0.512"):
        assert said.split().count(number) == 2, said


def test_control_codes_of_a_name_are_shown_in_the_table():
    said = table_of("\x1b]0;owned\x07", width=120)
    assert "\x1b" not in said
    assert "\\x1b]0;owned\\x07" in said
