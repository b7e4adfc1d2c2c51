"""What a sensor watches: who is there, and a digest that changes when and only when it should."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from alf_files import alf_folder, ibl_columns, write_npy, write_session, write_table
from upath import UPath

import glmhmm_core.trials.alf as alf_reader
import glmhmm_core.trials.tabular as table_reader
from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.report import REPORT_SCHEMA
from glmhmm_core.trials.scan import scan

IBL, OWN = load_task("ibl_2afc"), load_task("two_afc")
HEADER = "subject,session,stimulus,choice,feedback,note\n"


def digests(root, source_format="alf"):
    task = IBL if source_format == "alf" else OWN
    return {n: s.digest for n, s in scan(root, source_format, task).subjects.items()}


def reasons(root, source_format="alf"):
    task = IBL if source_format == "alf" else OWN
    return {
        row["subject"]: row["reason"] for row in scan(root, source_format, task).report.to_dicts()
    }


@pytest.fixture
def mice(tmp_path):
    root = tmp_path / "mice"
    for subject in ("ann", "bob"):
        for number, session in enumerate(("2019-07-01_001", "2019-07-02_001")):
            write_session(root, subject, session, seed=number)
    return root


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text(HEADER + "ann,d0,1,1,1,x\nann,d0,-1,0,1,x\nbob,d0,1,0,0,x\n")
    return file


def test_files_and_newest_time_are_those_of_the_subject(mice):
    found = scan(mice, "alf", IBL)
    assert list(found.subjects) == ["ann", "bob"]
    assert found.report.schema == pl.Schema(REPORT_SCHEMA)
    folder = alf_folder(mice, "ann", "2019-07-02_001")
    os.utime(folder / "_ibl_trials.choice.npy", (2e9, 2e9))
    ann = scan(mice, "alf", IBL).subjects["ann"]
    assert ann.newest == 2e9
    assert len(ann.files) == 18
    assert all(file.exists() for file in ann.files)
    assert scan(mice, "alf", IBL).subjects["bob"].newest < 2e9


def test_the_digest_is_of_content_not_of_times_or_places(mice, rows, tmp_path):
    before = digests(mice), digests(rows, "csv")
    for file in mice.rglob("*.npy"):
        os.utime(file, (1e9, 1e9))
    shutil.move(mice, tmp_path / "elsewhere")
    shutil.move(rows, (tmp_path / "deeper").mkdir() or tmp_path / "deeper" / "rows.csv")
    assert (digests(tmp_path / "elsewhere"), digests(tmp_path / "deeper", "csv")) == before


def test_what_the_task_does_not_read_changes_nothing(mice, rows):
    before = digests(mice), digests(rows, "csv")
    folder = alf_folder(mice, "ann", "2019-07-01_001")
    write_npy(folder, {"rewardVolume": ibl_columns()["choice"]})
    (folder / "spikes.times.npy").write_bytes(b"anything")
    (folder / "._ibl_trials.choice.npy").write_bytes(b"of a file system")
    rows.write_text(rows.read_text().replace(",x\n", ",longer note\n"))
    assert (digests(mice), digests(rows, "csv")) == before


def corrected(folder):
    choice = ibl_columns(seed=0)["choice"]
    choice[3] = -choice[3] if choice[3] else 1
    write_npy(folder, {"choice": choice})


def removed(folder):
    shutil.rmtree(folder.parent)


def renamed(folder):
    folder.parent.rename(folder.parent.parent / "002")


def added_table(folder):
    write_table(folder, {"choice": ibl_columns(seed=0)["choice"]})


@pytest.mark.parametrize("change", [corrected, removed, renamed, added_table])
def test_a_change_of_one_subjects_folders_changes_its_digest_alone(mice, change):
    before = digests(mice)
    change(alf_folder(mice, "ann", "2019-07-01_001"))
    after = digests(mice)
    assert after["ann"] != before["ann"]
    assert after["bob"] == before["bob"]


ROW_CHANGES = {
    "appended": lambda text: text + "ann,d1,0,1,1,x\n",
    "corrected": lambda text: text.replace("ann,d0,1,1,1", "ann,d0,1,0,1"),
    "reordered": lambda text: text.replace(
        "ann,d0,1,1,1,x\nann,d0,-1,0,1,x\n", "ann,d0,-1,0,1,x\nann,d0,1,1,1,x\n"
    ),
    "removed": lambda text: text.replace("ann,d0,1,1,1,x\n", ""),
    "too many fields": lambda text: text.replace("ann,d0,1,1,1,x\n", "ann,d0,1,1,1,x,9\n"),
    "other session": lambda text: text.replace("ann,d0", "ann,d9"),
}


@pytest.mark.parametrize("kind", ROW_CHANGES)
def test_a_change_of_one_subjects_rows_changes_its_digest_alone(rows, kind):
    before = digests(rows, "csv")
    rows.write_text(ROW_CHANGES[kind](rows.read_text()))
    after = digests(rows, "csv")
    assert after["ann"] != before["ann"]
    assert after["bob"] == before["bob"]


def test_a_table_of_the_same_rows_in_a_renamed_file_is_another_content(rows):
    before = digests(rows.parent, "csv")
    rows.rename(rows.with_name("other.csv"))
    assert digests(rows.parent, "csv")["ann"] != before["ann"]


def test_unchanged_files_are_not_read_again(mice, rows, monkeypatch):
    before = digests(mice), digests(rows, "csv")
    read = []

    def note(name):
        original = getattr(*name)
        monkeypatch.setattr(*name, lambda *args: read.append(args) or original(*args))

    note((alf_reader, "sha256"))
    note((table_reader, "read_table"))
    assert (digests(mice), digests(rows, "csv")) == before
    assert not read
    corrected(alf_folder(mice, "ann", "2019-07-01_001"))
    rows.write_text(rows.read_text() + "ann,d1,0,1,1,x\n")
    digests(mice)
    digests(rows, "csv")
    assert len(read) == 2


def test_names_that_are_no_file_names_are_refused_and_the_others_stay(rows):
    rows.write_text(rows.read_text() + "../x,d0,1,1,1,x\na...b,d0,1,1,1,x\n小鼠 1,d0,1,1,1,x\n")
    assert set(digests(rows, "csv")) == {"ann", "bob", "小鼠 1"}
    assert {"../x", "a...b"} == reasons(rows, "csv").keys()
    assert "rename it" in reasons(rows, "csv")["../x"]
    with pytest.raises(InputError, match="not a usable subject name"):
        read_subject(rows, "csv", OWN, "../x")


def test_names_that_differ_in_case_alone_are_both_refused(rows):
    rows.write_text(rows.read_text() + "Ann,d0,1,1,1,x\n")
    assert set(digests(rows, "csv")) == {"bob"}
    assert reasons(rows, "csv").keys() == {"ann", "Ann"}
    assert (
        "differs from 'Ann' in case alone (or in how an accent is encoded): rename"
        in reasons(rows, "csv")["ann"]
    )
    with pytest.raises(InputError, match="case alone"):
        read_subject(rows, "csv", OWN, "ann")


def test_one_name_in_two_labs_is_refused(mice):
    write_npy(alf_folder(mice, "ann", "2019-07-09_001", lab="other"), ibl_columns())
    assert set(digests(mice)) == {"bob"}
    assert "lab/Subjects/ann and other/Subjects/ann" in reasons(mice)["ann"]
    assert set(digests(mice / "lab")) == {"ann", "bob"}


def test_a_subject_without_files_is_reported(mice):
    (mice / "lab" / "Subjects" / "carl" / "2019-07-01" / "001" / "alf").mkdir(parents=True)
    assert set(digests(mice)) == {"ann", "bob"}
    assert "no session files" in reasons(mice)["carl"]


@pytest.mark.parametrize("source_format", ["alf", "csv", "parquet"])
def test_nothing_there_is_an_error_that_says_where(tmp_path, source_format):
    with pytest.raises(InputError, match="no such file or folder"):
        scan(tmp_path / "absent", source_format, IBL)
    (tmp_path / "lab" / "Subjects").mkdir(parents=True)
    with pytest.raises(InputError, match=f"no session file of format {source_format}") as error:
        scan(tmp_path, source_format, IBL)
    assert str(tmp_path) in str(error.value)


def test_a_file_that_cannot_be_opened_stops_no_one(mice, monkeypatch):
    before = digests(mice)
    original = alf_reader.sha256
    closed = alf_folder(mice, "ann", "2019-07-01_001") / "_ibl_trials.choice.npy"
    os.utime(closed, (1e9, 1e9))

    def refuse(path):
        if path == closed:
            raise PermissionError(path)
        return original(path)

    monkeypatch.setattr(alf_reader, "sha256", refuse)
    after = digests(mice)
    assert after["bob"] == before["bob"]
    assert after["ann"] != before["ann"]
    monkeypatch.undo()
    assert digests(mice) == before


def test_a_folder_and_a_table_that_cannot_be_opened_stop_no_one(mice, rows, monkeypatch):
    rows.rename(rows.with_name("a.csv"))
    (rows.parent / "b.csv").write_text(HEADER + "carl,d0,1,1,1,x\n")
    before = digests(mice), digests(rows.parent, "csv")
    closed = (str(alf_folder(mice, "ann", "2019-07-01_001")), str(rows.with_name("a.csv")))

    def refuse(original):
        def call(path, *args):
            if str(path) in closed:
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *args)

        return call

    monkeypatch.setattr(os, "scandir", refuse(os.scandir))
    monkeypatch.setattr(Path, "open", refuse(Path.open))
    os.utime(closed[1], (1e9, 1e9))
    assert set(digests(mice)) == {"bob"}
    assert "Permission denied" in reasons(mice)["ann"]
    assert set(digests(rows.parent, "csv")) == {"carl"}
    problems = scan(rows.parent, "csv", OWN).report.filter(rule="unreadable")["reason"].to_list()
    assert [problem.split(": ")[0] for problem in problems] == ["a.csv", closed[0]]
    with pytest.raises(InputError, match="Permission denied"):
        read_subject(mice, "alf", IBL, "ann")
    monkeypatch.undo()
    assert (digests(mice), digests(rows.parent, "csv")) == before


@pytest.mark.parametrize(
    ("target", "said"), [("gone.csv", "leads nowhere"), ("b.csv", "leads in a circle")]
)
def test_a_table_that_is_a_link_to_nothing_is_reported_and_stops_no_one(rows, target, said):
    before = digests(rows.parent, "csv")
    link = rows.with_name("b.csv")
    link.symlink_to(link.with_name(target))
    assert digests(rows.parent, "csv") == before
    (problem,) = scan(rows.parent, "csv", OWN).report.to_dicts()
    assert (problem["level"], problem["rule"]) == ("file", "unreadable")
    assert problem["reason"].startswith(f"b.csv: is a link that {said}")
    link.unlink()
    link.with_name("there.dat").write_text(HEADER + "carl,d0,1,1,1,x\n")
    link.symlink_to("there.dat")
    assert set(digests(rows.parent, "csv")) == {"ann", "bob", "carl"}


def test_a_session_file_that_is_a_link_to_nothing_says_so(mice):
    link = alf_folder(mice, "ann", "2019-07-01_001") / "_ibl_trials.choice.npy"
    link.unlink()
    link.symlink_to("gone.npy")
    assert set(digests(mice)) == {"ann", "bob"}
    trials, report = read_subject(mice, "alf", IBL, "ann")
    assert trials["session"].unique().to_list() == ["2019-07-02_001"]
    (reason,) = report.filter(session="2019-07-01_001")["reason"]
    assert "choice.npy cannot be opened (No such file" in reason


def test_a_remote_folder_reads_as_a_local_one(mice):
    remote = UPath("memory://bucket/mice")
    for file in mice.rglob("*.npy"):
        copy = remote / file.relative_to(mice).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert digests(remote) == digests(mice)
    here, there = (read_subject(root, "alf", IBL, "ann")[0] for root in (mice, remote))
    assert here.equals(there)
