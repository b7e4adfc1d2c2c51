"""Ids: one subject has one, however its files write it, and a missing one is nobody's."""

import polars as pl
import pytest

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import Exclusion, clean
from glmhmm_core.trials.ids import find_id, look_alike
from glmhmm_core.trials.names import check_subject_name
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

TASK = load_task("two_afc")
ROWS = {"stimulus": [1.0, -1.0, 0.5], "choice": [1, 0, 1], "feedback": [1, 1, 1]}


def write(folder, name, subject, session, source_format="csv"):
    n = len(ROWS["choice"])
    table = pl.DataFrame({"subject": [subject] * n, "session": [session] * n, **ROWS})
    file = folder / f"{name}.{source_format}"
    table.write_csv(file) if source_format == "csv" else table.write_parquet(file)


def subjects(folder, source_format="csv"):
    return list(scan(folder, source_format, TASK).subjects)


def rows_of(folder, rule):
    return scan(folder, "csv", TASK).report.filter(rule=rule)


def sessions_of(folder, subject, source_format="csv"):
    trials, _ = read_subject(folder, source_format, TASK, subject)
    return trials["session"].unique(maintain_order=True).to_list()


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_whole_numbers_and_their_decimals_are_one_subject(tmp_path, source_format):
    write(tmp_path, "a", 907, "2024-01-01", source_format)
    write(tmp_path, "b", 907.0, "2024-01-02", source_format)
    assert subjects(tmp_path, source_format) == ["907"]
    assert sessions_of(tmp_path, "907", source_format) == ["2024-01-01", "2024-01-02"]
    report = scan(tmp_path, source_format, TASK).report
    (reason,) = report.filter(rule="same_id")["reason"].to_list()
    assert "'subject' holds whole numbers alone" in reason


def test_both_may_stand_in_one_file(tmp_path):
    lines = ["subject,session,stimulus,choice,feedback", "7,d0,1,1,1", "7.0,d1,1,1,1"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    assert subjects(tmp_path) == ["7"]
    assert sessions_of(tmp_path, "7") == ["d0", "d1"]


def test_sessions_that_are_numbers_likewise(tmp_path):
    write(tmp_path, "a", "ann", 2)
    write(tmp_path, "b", "ann", 10.0)
    assert sessions_of(tmp_path, "ann") == ["2", "10"]


def test_a_column_with_another_id_stays_as_it_is_written_and_what_looks_alike_is_told(tmp_path):
    write(tmp_path, "a", "907", "d0")
    write(tmp_path, "b", "907.0", "d1")
    write(tmp_path, "c", "B6", "d2")
    assert subjects(tmp_path) == ["907", "907.0", "B6"]
    row = rows_of(tmp_path, "similar_ids").row(0, named=True)
    assert row["warning"]
    assert "'907' and '907.0' are taken for two" in row["reason"]


def test_zeros_in_front_stay(tmp_path):
    write(tmp_path, "a", "007", "d0")
    write(tmp_path, "b", "7.0", "d1")
    assert subjects(tmp_path) == ["007", "7"]
    assert "'007' and '7'" in rows_of(tmp_path, "similar_ids")["reason"][0]


def test_parts_of_a_day_that_are_written_as_decimals_stay(tmp_path):
    write(tmp_path, "a", "ann", "1.0")
    write(tmp_path, "b", "ann", "1.1")
    assert sessions_of(tmp_path, "ann") == ["1.0", "1.1"]


def test_space_around_an_id_is_no_part_of_it(tmp_path):
    write(tmp_path, "a", "ann ", " d0")
    assert subjects(tmp_path) == ["ann"]
    assert sessions_of(tmp_path, "ann") == ["d0"]


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NaN", "N/A", "null", "None", "<NA>"])
@pytest.mark.parametrize("key", ["subject", "session"])
def test_a_missing_id_is_nobody_s_and_its_rows_are_counted(tmp_path, missing, key):
    write(tmp_path, "a", "ann", "d0")
    write(tmp_path, "b", *((missing, "d1") if key == "subject" else ("ann", missing)))
    assert subjects(tmp_path) == ["ann"]
    assert sessions_of(tmp_path, "ann") == ["d0"]
    assert rows_of(tmp_path, "missing_id").select("n_trials", "dropped").rows() == [(3, True)]


@pytest.mark.parametrize("name", ["NA", "nan", "None"])
def test_a_folder_of_that_name_is_no_subject_either(name):
    with pytest.raises(InputError, match="a missing value"):
        check_subject_name(name)


def test_another_file_s_ids_change_the_content_of_a_subject(tmp_path):
    write(tmp_path, "a", "ann", "1.0")
    before = scan(tmp_path, "csv", TASK).subjects["ann"].digest
    write(tmp_path, "b", "bob", "pre")
    after = scan(tmp_path, "csv", TASK).subjects["ann"].digest
    assert before != after
    assert sessions_of(tmp_path, "ann") == ["1.0"]


@pytest.mark.parametrize(("subject", "session"), [("907", "1"), ("907.0", "1.0"), ("907", "1.0")])
def test_an_exclusion_finds_the_number_however_it_is_written(tmp_path, subject, session):
    write(tmp_path, "a", 907, 1)
    write(tmp_path, "b", 907.0, 2.0)
    trials, _ = read_subject(tmp_path, "csv", TASK, "907")
    cleaned, report = clean(trials, TASK, [Exclusion(subject, session, "wheel")])
    assert cleaned["session"].unique().to_list() == ["2"]
    assert report.select("rule", "n_trials").rows() == [("excluded", 3)]


def test_the_same_text_is_found_before_the_same_number():
    assert find_id("7.0", ["7", "7.0"]) == "7.0"
    assert find_id("7", ["007"]) is None
    assert find_id("ann", ["Ann"]) is None


def test_what_looks_alike():
    alike = look_alike(["m1", "m01", "m10", "rat 1", "rat_1", "1-1", "11"])
    assert alike == [("m1", "m01"), ("rat 1", "rat_1")]
