"""Text tables as laboratories have them: read as they are meant, and every guess is said."""

import gzip
import io

import polars as pl
import pytest

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.delimited import read_delimited
from glmhmm_core.trials.files import Unreadable
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

TASK = load_task("two_afc")
HEADER = "subject,session,stimulus,choice,feedback,note"
ROWS = ["ann,d0,0.5,1,1,x", "ann,d0,-0.25,0,1,x", "ann,d1,1,1,0,x", "ann,d1,-1,0,0,x"]
PLAIN = "\n".join([HEADER, *ROWS]) + "\n"
STIMULI = [0.5, -0.25, 1.0, -1.0]


def stimuli(folder, data, name="a.csv"):
    """Write a file; give what is read of ann's stimuli, and the report of the folder."""
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    report = scan(folder, "csv", TASK).report
    return read_subject(folder, "csv", TASK, "ann")[0]["stimulus"].to_list(), report


def reason(report, rule):
    (found,) = report.filter(rule=rule)["reason"].to_list()
    return found


FORMS = {
    "semicolons": (PLAIN.replace(",", ";"), "separated by semicolons"),
    "tabs": (PLAIN.replace(",", "\t"), "separated by tabs"),
    "bars": (PLAIN.replace(",", "|"), "separated by vertical bars"),
    "Excel's own line": ("sep=;\n" + PLAIN.replace(",", ";"), "separated by semicolons"),
    "spaces": (PLAIN.replace(",", " "), "separated by spaces"),
    "aligned with spaces": ("  " + PLAIN.replace(",", "   "), "separated by spaces"),
    "a comment above": ("# rig 3, of 4\n" + PLAIN, "the lines above the header are passed over"),
    "a title above": ("My mice\n\n" + PLAIN, "the lines above the header are passed over"),
    "a header in between": (
        "\n".join([HEADER, *ROWS[:2], HEADER, *ROWS[2:]]),
        "row 3 repeats the header and is passed over",
    ),
    "row names": ("\n".join([HEADER, *(f"{i},{r}" for i, r in enumerate(ROWS))]), "as R writes"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_taken_for_granted_is_said(tmp_path, form):
    data, said = FORMS[form]
    found, report = stimuli(tmp_path, data)
    assert found == STIMULI
    assert said in reason(report, "text_form")


SAME = {
    "lone CR": PLAIN.replace("\n", "\r"),
    "CR LF": PLAIN.replace("\n", "\r\n"),
    "space around names": PLAIN.replace(HEADER, HEADER.replace(",", " ,\t")),
    "two marks": "\ufeff\ufeff" + PLAIN,
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    "UTF-16 with a mark": PLAIN.encode("utf-16"),
    "blank lines": "\n  \n" + PLAIN.replace("\n", "\n\n"),
    "no last line end": PLAIN.rstrip("\n"),
    "empty fields at the end": PLAIN.replace("x\n", "x,,\n"),
    "quoted": "\n".join('"' + line.replace(",", '","') + '"' for line in PLAIN.split("\n")[:-1]),
    "quotes in a field": PLAIN.replace(",x", ',5" screen'),
    "text behind a closed quote": PLAIN.replace(",x", ',"5" screen'),
    "very long field": PLAIN.replace(",x", "," + "x" * 300_000, 1),
    "NUL in a note": PLAIN.replace(",x", ",\0", 1),
    "gzip": gzip.compress(PLAIN.encode()),
}


@pytest.mark.parametrize("form", SAME)
def test_forms_that_leave_no_doubt_are_read_without_a_word(tmp_path, form):
    found, report = stimuli(tmp_path, SAME[form])
    assert found == STIMULI
    assert report.is_empty()


@pytest.mark.parametrize("name", ["a.tsv", "a.txt", "a.tsv.gz", "A.TSV"])
def test_tables_of_other_suffixes_are_read(tmp_path, name):
    data = PLAIN.replace(",", "\t").encode()
    found, _ = stimuli(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    assert found == STIMULI


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("cp1252", "Windows-1252"), ("latin-1", "Latin-1"), ("utf-16-le", "UTF-16")],
)
def test_an_encoding_that_is_guessed_is_a_warning(tmp_path, encoding, said):
    text = PLAIN.replace("note", "Größe" if encoding != "latin-1" else "Gr\x81ße")
    found, report = stimuli(tmp_path, text.encode(encoding))
    assert found == STIMULI
    assert report["warning"].to_list() == [True]
    assert said in reason(report, "looks_wrong")


# -- decimal commas --------------------------------------------------------------------------------


def numbers(*values, delimiter=";"):
    data = "\n".join(f"{value}{delimiter}y" for value in ("x", *values)).encode()
    found = read_delimited(data, ["x"], ["x"])
    return found.columns["x"].to_list(), found.notes


def test_decimal_commas_become_points_and_are_said(tmp_path):
    german = PLAIN.replace(",", ";").replace(".", ",")
    found, report = stimuli(tmp_path, german)
    assert found == STIMULI
    assert any("decimal commas in 'stimulus'" in r for r in report["reason"])


def test_commas_that_may_separate_thousands_are_left_alone():
    assert numbers("1,500", "12,250")[0] == ["1,500", "12,250"]


def test_one_certain_decimal_comma_decides_for_the_column():
    assert numbers("1,500", "0,5", "-3", "n/a")[0] == ["1.500", "0.5", "-3", "n/a"]


def test_a_column_with_points_keeps_its_commas():
    assert numbers("0,5", "0.5")[0] == ["0,5", "0.5"]


# -- what looks wrong, and what is refused ---------------------------------------------------------


def test_rows_that_a_stray_quote_swallows_are_pointed_out(tmp_path):
    lines = [f"ann,d{i // 10},0.5,1,1,x" for i in range(60)]
    lines[10], lines[50] = (line.replace(",x", ',"x') for line in (lines[10], lines[50]))
    lines[50] = lines[50].replace('"x', 'x"')
    found, report = stimuli(tmp_path, "\n".join([HEADER, *lines]))
    assert len(found) == 20
    (row,) = report.to_dicts()
    assert row["warning"]
    assert "'note' of row 11 runs over 41 lines" in row["reason"]
    assert "40 lines are read as text, not as rows, though they look like rows" in row["reason"]


def test_a_note_of_two_lines_does_not_look_like_rows(tmp_path):
    found, report = stimuli(tmp_path, PLAIN.replace(",x", ',"two\nlines"', 1))
    assert found == STIMULI
    assert "runs over 2 lines: 1 line is read as text" in reason(report, "looks_wrong")


REFUSED = {
    "open quote": (PLAIN.replace("-1,0,0,x", '-1,0,0,"x'), 'row 4 opens a quote (") that is never'),
    "endless line": ("subject," + "x" * (2**25 + 1), "a line is longer than"),
    "gzip bomb": (gzip.compress(bytes(2**27)), "unpacks to more than"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_named(kind):
    data, said = REFUSED[kind]
    with pytest.raises(Unreadable) as error:
        read_delimited(data if isinstance(data, bytes) else data.encode(), ["subject"])
    assert said in str(error.value)


def test_a_message_does_not_repeat_a_long_value(tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN.replace("0.5", "x" * 100_000))
    report = read_subject(tmp_path, "csv", TASK, "ann")[1]
    (found,) = report.filter(rule="not_numeric")["reason"]
    assert len(found) < 300


def test_a_message_lists_a_few_of_many_columns(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(f"column{i}" for i in range(5000)) + "\n1\n")
    (found,) = scan(tmp_path, "csv", TASK).report["reason"]
    assert len(found) < 600
    assert "and 4988 more" in found


# -- files that are not read -----------------------------------------------------------------------

NOT_READ = {
    "data.xlsx": "does not end in .csv, .csv.gz, .tsv",
    ".hidden.csv": "hidden",
    "a (Ann's conflicted copy 2024-05-06).csv": "a copy that a conflict left",
    "a.sync-conflict-20240506-101010-ABCDEFG.csv": "a copy that a conflict left",
    "README.txt": "no column 'subject'",
}


@pytest.mark.parametrize("name", NOT_READ)
def test_every_file_that_is_not_read_is_named_with_its_reason(tmp_path, name):
    (tmp_path / name).write_text(PLAIN if name.endswith("csv") else "Notes on the mice\n")
    found, report = stimuli(tmp_path, PLAIN)
    assert found == STIMULI
    assert reason(report, "not_read").startswith(f"{name}: is not read: ")
    assert NOT_READ[name] in reason(report, "not_read")


def test_a_folder_of_other_files_alone_says_what_is_there(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.mat: is not read: its name does not end in"):
        scan(tmp_path, "csv", TASK)


def test_a_folder_that_is_named_like_a_table_is_looked_into(tmp_path):
    (tmp_path / "all.csv").mkdir()
    (tmp_path / "empty.csv").mkdir()
    found, report = stimuli(tmp_path / "all.csv", PLAIN, "part-0.csv")
    report = scan(tmp_path, "csv", TASK).report
    assert reason(report, "not_read").startswith("empty.csv: is not read: it is a folder")
    assert read_subject(tmp_path, "csv", TASK, "ann")[0].height == len(found)


def test_the_columns_that_pandas_finds_are_those_found_here():
    pandas = pytest.importorskip("pandas")
    for text in (SAME["quotes in a field"], SAME["text behind a closed quote"], SAME["quoted"]):
        found = read_delimited(text.encode(), HEADER.split(","))
        expected = pandas.read_csv(io.StringIO(text), dtype=str)
        assert pl.DataFrame(found.columns).to_dict(as_series=False) == expected.to_dict("list")
