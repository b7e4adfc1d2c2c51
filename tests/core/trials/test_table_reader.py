"""Tables, CSV and Parquet: what a row says is what the trial table holds, and rows are named."""

import csv
import gzip
import io

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.delimited import read_delimited
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

TASK = load_task("two_afc")
HEADER = "subject,session,stimulus,choice,feedback"


def table(subjects=("ann", "bob"), n_sessions=3, n_trials=5, seed=0):
    """Rows of some subjects, one session after the other."""
    rng = np.random.default_rng(seed)
    rows = [(s, f"d{d}") for s in subjects for d in range(n_sessions) for _ in range(n_trials)]
    return pl.DataFrame(rows, schema=["subject", "session"], orient="row").with_columns(
        stimulus=rng.choice([-1.0, -0.25, 0.0, 0.25, 1.0], len(rows)),
        choice=pl.Series(rng.choice([0, 1, -1], len(rows), p=[0.45, 0.45, 0.1])),
        feedback=pl.Series(rng.choice([0, 1], len(rows))),
    )


def read(root, subject="ann", source_format="csv", task=TASK):
    return read_subject(root, source_format, task, subject)


def only_row(report, **fields):
    rows = report.filter(**fields).to_dicts()
    assert len(rows) == 1, report.to_dicts()
    return rows[0]


def file_reasons(root, task=TASK):
    return scan(root, "csv", task).report.filter(level="file")["reason"].to_list()


def test_each_value_is_the_one_in_the_file(tmp_path):
    source = table()
    source.write_csv(tmp_path / "all.csv")
    trials, report = read(tmp_path / "all.csv", "bob")
    own = source.filter(subject="bob")
    assert report.is_empty()
    assert trials["session"].to_list() == own["session"].to_list()
    assert trials["trial"].to_list() == [0, 1, 2, 3, 4] * 3
    assert trials["stimulus"].to_list() == own["stimulus"].to_list()
    assert trials["choice"].to_list() == [{-1: None}.get(c, c) for c in own["choice"]]
    assert trials["feedback"].to_list() == [2 * f - 1 for f in own["feedback"]]
    assert trials["block"].null_count() == trials["response_time"].null_count() == len(trials)


def write_csv(source, folder):
    source.write_csv(folder / "all.csv")
    return "csv"


def write_gzip(source, folder):
    (folder / "all.csv.gz").write_bytes(gzip.compress(source.write_csv().encode()))
    return "csv"


def write_windows(source, folder):
    text = "\ufeff" + source.write_csv().replace("\n", "\r\n")
    (folder / "ALL.CSV").write_text(text, encoding="utf-8", newline="")
    return "csv"


def write_extra_columns(source, folder):
    source.with_columns(note=pl.lit("a, b"), rt=0.3).select(pl.all().reverse().reverse()).write_csv(
        folder / "all.csv", quote_style="always"
    )
    return "csv"


def write_parquet(source, folder):
    source.write_parquet(folder / "all.parquet")
    return "parquet"


def write_parquet_of_other_types(source, folder):
    own = source.cast({"choice": pl.Float32, "stimulus": pl.Float32, "session": pl.Categorical})
    own.with_columns(lists=[[1]] * len(own)).write_parquet(folder / "all.pqt")
    return "parquet"


def write_folder(source, folder):
    for (subject, session), part in source.group_by("subject", "session", maintain_order=True):
        (folder / subject).mkdir(exist_ok=True)
        part.write_csv(folder / subject / f"{session}.csv")
    return "csv"


@pytest.mark.parametrize(
    "write",
    [
        write_gzip,
        write_windows,
        write_extra_columns,
        write_parquet,
        write_parquet_of_other_types,
        write_folder,
    ],
)
def test_the_form_of_the_files_makes_no_difference(tmp_path, write):
    source = table()
    (tmp_path / "plain").mkdir()
    (tmp_path / "other").mkdir()
    write_csv(source, tmp_path / "plain")
    source_format = write(source, tmp_path / "other")
    assert scan(tmp_path / "other", source_format, TASK).report.is_empty()
    for subject in ("ann", "bob"):
        expected, _ = read(tmp_path / "plain", subject)
        found, report = read(tmp_path / "other", subject, source_format)
        assert_frame_equal(found.drop("source_row"), expected.drop("source_row"))
        assert report.is_empty()


def test_files_come_in_natural_order(tmp_path):
    for day in (10, 2, 1):
        table(("ann",), 1).with_columns(session=pl.lit(f"day {day}")).write_csv(
            tmp_path / f"day{day}.csv"
        )
    trials, _ = read(tmp_path)
    assert trials["session"].unique(maintain_order=True).to_list() == ["day 1", "day 2", "day 10"]


def test_subjects_may_alternate_row_by_row(tmp_path):
    one, other = table(("ann",)), table(("bob",))
    mixed = pl.concat([one.with_row_index("i"), other.with_row_index("i")]).sort("i").drop("i")
    mixed.write_csv(tmp_path / "mixed.csv")
    one.write_csv(tmp_path / "own.csv")
    mixed_rows, own_rows = (read(tmp_path / f"{name}.csv")[0] for name in ("mixed", "own"))
    assert mixed_rows["source_row"].to_list() == list(range(1, 2 * len(one), 2))
    assert_frame_equal(mixed_rows.drop("source_row"), own_rows.drop("source_row"))


def test_sessions_of_several_columns(tmp_path):
    task_file = tmp_path / "own.toml"
    task_file.write_text('extends = "two_afc"\n[columns]\nsession = ["day", "part"]\n')
    own = table(("ann",), 1, 4).with_columns(day=pl.lit("mon"), part=pl.Series([1, 1, 2, 2]))
    own.write_csv(tmp_path / "a.csv")
    trials, _ = read(tmp_path, task=load_task(task_file))
    assert trials["session"].to_list() == ["mon_1", "mon_1", "mon_2", "mon_2"]


# -- one bad session and the rest goes on ------------------------------------------------------

SECOND = slice(5, 10)  # rows of ann's second session, d1


def spoiled(column, value, row=6):
    """Change one value of ann's second session; ``row`` counts from 0."""

    def change(source):
        values = source[column].cast(pl.String).to_list()
        values[row] = value
        return source.with_columns(pl.Series(column, values, dtype=pl.String))

    return change


SPOILED = {
    "choice": (spoiled("choice", "3"), "choice_codes", "'3' at row 7"),
    "word as choice": (spoiled("choice", "lft"), "choice_codes", "'lft' at row 7"),
    "outcome": (spoiled("feedback", "2"), "feedback_codes", "'2' at row 7"),
    "stimulus": (spoiled("stimulus", "1,5"), "not_numeric", "'1,5' at row 7"),
}


@pytest.mark.parametrize("kind", SPOILED)
@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_a_bad_value_costs_its_session_and_is_named_with_its_row(tmp_path, kind, source_format):
    change, rule, said = SPOILED[kind]
    source = table()
    source.write_csv(tmp_path / "good.csv")
    bad = change(source)
    file = tmp_path / f"bad.{source_format}"
    bad.write_csv(file) if source_format == "csv" else bad.write_parquet(file)
    for subject in ("ann", "bob"):
        expected, _ = read(tmp_path / "good.csv", subject)
        trials, report = read(file, subject, source_format)
        lost = ["d1"] if subject == "ann" else []
        assert_frame_equal(trials, expected.filter(~pl.col("session").is_in(lost)))
        if lost:
            row = only_row(report)
            assert (row["rule"], row["session"], row["n_trials"]) == (rule, "d1", 5)
            assert said in row["reason"]
            assert file.name in row["reason"]


def test_an_empty_choice_is_no_choice(tmp_path):
    spoiled("choice", "")(table()).write_csv(tmp_path / "a.csv")
    trials, report = read(tmp_path)
    assert report.is_empty()
    assert trials["choice"][6] is None


def rows_of(*rows):
    return "\n".join([HEADER, *rows]) + "\n"


def test_rows_of_another_length_than_the_header_cost_their_session(tmp_path):
    (tmp_path / "a.csv").write_text(
        rows_of("ann,d0,1,1,1", "ann,d1,1,1,1,9", "", "ann,d2,1,1,1", "bob,d0,1,1")
    )
    trials, report = read(tmp_path)
    assert trials["session"].to_list() == ["d0", "d2"]
    assert "row 2 has 6 fields" in only_row(report, session="d1")["reason"]
    assert "row 5 has 4 fields" in only_row(read(tmp_path, "bob")[1], session="d0")["reason"]


def test_the_same_session_in_two_files_is_refused_unless_it_is_a_copy(tmp_path):
    table().write_csv(tmp_path / "a.csv")
    expected, _ = read(tmp_path)
    table().write_csv(tmp_path / "copy of a.csv")
    trials, report = read(tmp_path)
    assert_frame_equal(trials, expected)
    assert report["rule"].to_list() == ["duplicate_session"] * 3
    table(seed=1).write_csv(tmp_path / "copy of a.csv")
    trials, report = read(tmp_path)
    assert trials.is_empty()
    assert report.filter(rule="duplicate_session").height == 6


# -- whole files ------------------------------------------------------------------------------

FILES = {
    "empty": (b"", "is empty"),
    "no text": (b"subject,session\xff\x00\x01", "is no text"),
    "broken UTF-16": (b"\xff\xfex\x00y", "no UTF-16 text"),
    "broken gzip": (gzip.compress(HEADER.encode())[:-9], "damaged gzip file"),
    "Excel workbook": (b"PK\x03\x04\0\0", "Excel workbook"),
    "Parquet": (b"PAR1\0\0", 'format = "parquet"'),
    "open quote": (rows_of("ann,d0,1,1,1", 'ann,d0,"1,1,1').encode(), "row 2 opens a quote"),
    "no rows": (HEADER.encode() + b"\n", "no row below its header"),
    "no choices": (b"subject,session,stimulus,chioce,feedback\n", "'choice' may be 'chioce'"),
    "no outcomes": (b"subject,session,stimulus,choice\nann,d0,1,1\n", "no column 'feedback'"),
    "column twice": (HEADER.encode() + b",choice\n", "two columns that are called 'choice'"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_such_table_is_named_and_the_others_stay(tmp_path, kind):
    data, said = FILES[kind]
    table().write_csv(tmp_path / "good.csv")
    before = read(tmp_path)[0]
    (tmp_path / "bad.csv").write_bytes(data)
    (reason,) = file_reasons(tmp_path)
    assert reason.startswith("bad.csv: ")
    assert said in reason
    assert_frame_equal(read(tmp_path)[0], before)


def test_a_parquet_file_that_is_none_is_named(tmp_path):
    table().write_parquet(tmp_path / "good.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    found = scan(tmp_path, "parquet", TASK)
    assert set(found.subjects) == {"ann", "bob"}
    assert "bad.parquet" in only_row(found.report)["reason"]


def test_rows_without_a_key_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.csv").write_text(rows_of("ann,d0,1,1,1", ",d0,1,1,1", "ann,,1,1,1", "", ""))
    assert read(tmp_path)[0].height == 1
    (reason,) = file_reasons(tmp_path)
    assert "no subject or no session and is left out, and so are 1 more rows" in reason
    assert "row 2 has no subject" in reason


def test_a_column_that_the_task_can_do_without_is_noted_once_per_subject(tmp_path):
    task_file = tmp_path / "own.toml"
    task_file.write_text(
        'extends = "two_afc"\n[columns]\nblock = "block"\nresponse_time = "rt"\n'
        '[extras]\nlaser = "laser"\n[labels]\ndrug = "drug"\n'
    )
    task = load_task(task_file)
    table().with_columns(drug=pl.lit("saline")).write_csv(tmp_path / "a.csv")
    trials, report = read(tmp_path, task=task)
    assert trials["drug"].unique().to_list() == ["saline"]
    assert trials["laser"].null_count() == len(trials)
    row = only_row(report)
    assert (row["level"], row["rule"]) == ("subject", "missing_column")
    assert all(name in row["reason"] for name in ("block", "rt", "laser"))


def test_an_extra_that_is_a_regressor_cannot_be_missing(tmp_path):
    task_file = tmp_path / "own.toml"
    task_file.write_text(
        'extends = "two_afc"\n[extras]\nhabit = "h"\n'
        '[[regressors]]\nkind = "stimulus"\ncolumn = "habit"\n'
    )
    table().write_csv(tmp_path / "a.csv")
    found = scan(tmp_path, "csv", load_task(task_file))
    assert not found.subjects
    assert "'h'" in only_row(found.report, rule="unreadable")["reason"]


def test_an_outcome_from_the_sign_of_the_stimulus(tmp_path):
    task_file = tmp_path / "own.toml"
    task_file.write_text(
        'extends = "two_afc"\n[columns]\nfeedback = { sign_of = "stimulus" }\n'
        '[[stimuli]]\nname = "stimulus"\ncolumn = "rate"\ncenter = 12\n'
    )
    rates = "12,13,11,13,11,13"
    choices = "1,1,1,0,0,-1"
    (tmp_path / "a.csv").write_text(
        "subject,session,rate,choice\n"
        + "".join(
            f"ann,d0,{r},{c}\n" for r, c in zip(rates.split(","), choices.split(","), strict=True)
        )
    )
    trials, _ = read(tmp_path, task=load_task(task_file))
    assert trials["stimulus"].to_list() == [0, 1, -1, 1, -1, 1]
    assert trials["feedback"].to_list() == [None, 1, -1, -1, 1, None]


def test_people_of_the_motion_task_read_with_a_small_task_file(tmp_path, test_data):
    task_file = tmp_path / "motion.toml"
    task_file.write_text(
        """
        extends = "two_afc"
        title = "random-dot motion"
        [columns]
        subject = "subj_idx"
        choice = "response"
        feedback = { sign_of = "motion" }
        response_time = "rt"
        [extras]
        native_trial = "trial"
        native_block = "block"
        [[stimuli]]
        name = "motion"
        column = "stimulus"
        """
    )
    task = load_task(task_file)
    file = test_data / "humans_motion_2afc.csv.gz"
    subjects = scan(file, "csv", task).subjects
    assert len(subjects) == 32
    tables = [read(file, name, task=task) for name in subjects]
    assert sum(len(trials) for trials, _ in tables) == 46_843
    assert sum(trials["session"].n_unique() for trials, _ in tables) == 93
    assert all(report.is_empty() for _, report in tables)
    assert not any(clean(trials, task)[1]["warning"].any() for trials, _ in tables)
    trials = pl.concat([trials for trials, _ in tables])
    assert trials["native_trial"].null_count() == 0
    by_level = trials.group_by("motion").agg(pl.col("choice").mean(), pl.len()).sort("motion")
    common = by_level.filter(pl.col("len") > 500)["choice"]
    assert common[0] < 0.1 < 0.9 < common[-1]


@pytest.mark.parametrize(
    ("missing", "table"),
    [("stimulus", "[[stimuli]]"), ("choice", "[columns]"), ("laser", "[extras]")],
)
def test_a_missing_column_is_to_be_named_where_the_task_names_it(tmp_path, missing, table):
    own = tmp_path / "task.toml"
    own.write_text(
        'extends = "two_afc"\n[extras]\nlaser = "laser"\n'
        '[[regressors]]\nkind = "stimulus"\n[[regressors]]\nkind = "column"\ncolumn = "laser"\n'
    )
    header = [name for name in (*HEADER.split(","), "laser") if name != missing]
    (tmp_path / "a.csv").write_text(f"{','.join(header)}\n")
    (reason,) = file_reasons(tmp_path / "a.csv", load_task(own))
    assert f"correct the name in {table} of the task" in reason


def test_codes_that_the_task_does_not_know_are_listed(tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "\n" + "ann,1,0.5,1,1\nann,1,-0.5,2,1\n")
    _, report = read(tmp_path)
    reason = only_row(report, rule="choice_codes")["reason"]
    assert "'choice' is '2' at row 2" in reason
    assert "the column has 1, 2" in reason


# -- against Python's own reader ----------------------------------------------------------------

FIELDS = st.sampled_from(["", "a", "1.5", 'say "x"', "a,b", "two\nlines", " pad ", "é"])


@given(st.lists(st.lists(FIELDS, max_size=5), max_size=8), st.booleans())
def test_rows_are_those_of_pythons_csv_reader(rows, quote_all):
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, quoting=quoting, lineterminator="\n")
    writer.writerows([["x", "y", "z"], *rows])
    found = read_delimited(text.getvalue().encode(), ["x", "y", "z"])
    expected = list(csv.reader(io.StringIO(text.getvalue(), newline="")))[1:]
    assume(found.names == ["x", "y", "z"])  # else all rows have a name that the header lacks
    assert len(found.n_fields) == len(expected)
    columns = pl.DataFrame(found.columns).rows()
    for row, n_fields, fields in zip(columns, found.n_fields, expected, strict=True):
        is_blank = len(fields) < 2 and not "".join(fields).strip()
        padded = [None] * 3 if is_blank else [f or None for f in fields[:3]]
        assert list(row) == padded + [None] * (3 - len(padded))
        is_fault = not is_blank and (len(fields) < 3 or any(fields[3:]))
        assert n_fields == (len(fields) if is_fault else None)


def test_the_task_is_asked_for_where_no_subject_is_left(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    found = scan(tmp_path, "csv", TASK)
    assert not found.subjects
    assert "[columns] and [[stimuli]] of the task" in only_row(found.report)["reason"]
    with pytest.raises(InputError):
        read(tmp_path)
