"""Files whose bytes or names nobody has checked: each costs itself alone, and is named."""

import contextlib
import datetime
import io
import os
import signal
import socket
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from alf_files import alf_folder, ibl_columns, write_npy, write_session, write_table

from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials import isolated
from glmhmm_core.trials.files import Unreadable, entries
from glmhmm_core.trials.isolated import parse_isolated
from glmhmm_core.trials.npy import read_column
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

IBL, OWN = load_task("ibl_2afc"), load_task("two_afc")
TABLE = "subject,session,stimulus,choice,feedback\nann,d0,1,1,1\nann,d0,-1,0,1\n"
FIRST, SECOND = "2019-07-01_001", "2019-07-02_001"


def told(root, task=OWN, source_format="csv"):
    return scan(root, source_format, task).report["reason"].to_list()


def read(root, subject="ann", task=OWN, source_format="csv"):
    return read_subject(root, source_format, task, subject)[0]


# -- npy -------------------------------------------------------------------------------------------


def npy(descr, shape, data=bytes(80)):
    """Bytes of an .npy file whose header may say anything."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


BAD_ARRAYS = {
    "text of no length": npy("'<U0'", "(1000000000000,)"),
    "more than there is": npy("'<f8'", "(11,)"),
    "far more than there is": npy("'<f8'", "(1000000000000,)"),
    "negative": npy("'<f8'", "(-1,)"),
    "twice negative": npy("'<f8'", "(-2, -5)"),
    "records": npy("[('a', '<f8')]", "(10,)"),
    "arrays of arrays": npy("'(1000000000,)<f8'", "(1,)"),
    "Python objects": npy("'|O'", "(10,)"),
    "dates": npy("'<M8[ns]'", "(10,)"),
    "shape of text": npy("'<f8'", "('x',)"),
    "deep shape": npy("'<f8'", "(" * 300 + ")" * 300),
    "no Python": npy("'<f8'", "__import__('os')"),
    "text that is none": npy("'<U1'", "(20,)", b"\xff" * 80),
    "text of lone surrogates": npy("'<U1'", "(20,)", b"\x00\xd8\x00\x00" * 20),
    "text that is none, damaged": npy("'<U8'", "(2,)", b"a\0\0\0" * 9 + b"\x00\x00\x12\x00" * 11),
    "nothing": b"",
    "only the magic": b"\x93NUMPY\x01\x00",
    "unknown version": b"\x93NUMPY\x09\x00" + bytes(50),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_an_array_that_is_not_one_value_per_trial_is_refused(kind):
    with pytest.raises(Unreadable, match=r"damaged|not one value|not numbers"):
        read_column(BAD_ARRAYS[kind], "x")


@pytest.mark.parametrize("dtype", ["f2", ">f8", "i1", ">u4", "?", "<U3", ">U3", "g"])
def test_an_array_is_read_as_numpy_reads_it(dtype):
    values = np.array([0, 1, 1, 0]).astype(dtype)
    file = io.BytesIO()
    np.save(file, values)
    assert read_column(file.getvalue(), "x").to_list() == values.tolist()


def test_an_array_of_no_trials_is_empty():
    file = io.BytesIO()
    np.save(file, np.zeros(0))
    assert read_column(file.getvalue(), "x").to_list() == []


# -- Parquet ---------------------------------------------------------------------------------------


def parquet(**columns):
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def test_columns_that_nobody_reads_may_hold_anything():
    data = parquet(x=[1, 2], lists=[[1], [2]], records=[{"a": 1}] * 2, raw=[b"\xff"] * 2)
    found = parse_isolated("parquet", data, wanted=["x"], as_text=True)
    assert found.table.to_dict(as_series=False) == {"x": ["1", "2"]}
    assert found.names == ["x", "lists", "records", "raw"]
    assert not found.faults


@pytest.mark.parametrize("values", [[[1], [2]], [{"a": 1}] * 2, [b"\xff"] * 2])
@pytest.mark.parametrize("as_text", [True, False])
def test_columns_that_are_read_hold_one_value_per_row(values, as_text):
    found = parse_isolated("parquet", parquet(x=values), wanted=["x"], as_text=as_text)
    assert "column 'x' holds" in found.faults["x"]
    assert found.table.is_empty()


@pytest.mark.parametrize("dtype", [pl.Int128, pl.Decimal(10, 2), pl.Float32, pl.UInt8])
def test_numbers_of_any_type_are_numbers(dtype):
    data = parquet(x=pl.Series([1, 2, None]).cast(dtype))
    numbers = parse_isolated("parquet", data, wanted=["x"], as_text=False).table["x"]
    assert numbers.to_list() == [1, 2, None]
    assert numbers.dtype in (pl.Int64, pl.UInt64, pl.Float64)


def test_a_list_where_the_task_needs_a_number_costs_that_file(tmp_path):
    good = pl.read_csv(io.StringIO(TABLE))
    good.write_parquet(tmp_path / "good.parquet")
    bad = good.with_columns(subject=pl.lit("bob"), choice=pl.concat_list("choice"))
    bad.write_parquet(tmp_path / "bad.parquet")
    assert read(tmp_path, source_format="parquet").height == 2
    (reason,) = told(tmp_path, source_format="parquet")
    assert reason.startswith("bad.parquet: column 'choice' holds lists")


def test_a_record_where_the_task_needs_a_number_costs_that_session(tmp_path):
    columns = write_session(tmp_path, "ann", FIRST)
    table = pl.DataFrame(columns).with_columns(choice=pl.struct("choice"))
    table.write_parquet(alf_folder(tmp_path, "ann", SECOND) / "_ibl_trials.table.pqt")
    trials, report = read_subject(tmp_path, "alf", IBL, "ann")
    assert trials["session"].unique().to_list() == [FIRST]
    (reason,) = report.filter(session=SECOND)["reason"]
    assert "table.pqt: column 'choice' holds lists or records" in reason


# -- the process apart -----------------------------------------------------------------------------

GOOD = {"wanted": ["x"], "as_text": True}


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_durations_in_a_parquet_file_are_seconds(unit):
    column = pl.Series("x", [datetime.timedelta(seconds=1.5), None]).cast(pl.Duration(unit))
    data = io.BytesIO()
    column.to_frame().write_parquet(data)
    assert parse_isolated("parquet", data.getvalue(), **GOOD).table["x"].to_list() == ["1.5", None]


def test_a_file_that_takes_too_long_is_named_and_the_next_is_read(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "SECONDS", 1e-6)
        with pytest.raises(Unreadable, match="takes longer than"):
            parse_isolated("parquet", parquet(x=[1]), **GOOD)
    assert parse_isolated("parquet", parquet(x=[1]), **GOOD).table.height == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux keeps the limit")
def test_a_file_that_takes_too_much_memory_is_named_and_the_next_is_read(monkeypatch):
    data = parquet(x=np.zeros(20_000_000))
    with monkeypatch.context() as patch:
        patch.setattr(isolated, "MEMORY", 2**26)
        patch.setattr(isolated, "MEMORY_PER_BYTE", 0)
        with pytest.raises(Unreadable, match=r"crashes the parser|damaged"):
            parse_isolated("parquet", data, **GOOD)
    assert parse_isolated("parquet", parquet(x=[1]), **GOOD).table.height == 1


def test_a_process_that_somebody_ended_is_replaced_without_a_word():
    parse_isolated("parquet", parquet(x=[1]), **GOOD)
    assert isolated._process is not None
    os.kill(isolated._process.pid, signal.SIGKILL)
    assert parse_isolated("parquet", parquet(x=[1]), **GOOD).table.height == 1


def test_one_process_reads_all_files():
    parse_isolated("parquet", parquet(x=[1]), **GOOD)
    before = isolated._process
    with pytest.raises(Unreadable, match="damaged"):
        parse_isolated("parquet", b"PAR1 nothing PAR1", **GOOD)
    parse_isolated("parquet", parquet(x=[1]), **GOOD)
    assert isolated._process is before


def test_a_fork_starts_a_process_of_its_own():
    parse_isolated("parquet", parquet(x=[1]), **GOOD)
    before = isolated._process
    isolated._forget()  # what runs in a fork
    try:
        assert parse_isolated("parquet", parquet(x=[2]), **GOOD).table["x"].to_list() == ["2"]
        assert isolated._process is not before
    finally:
        isolated._end()
        isolated._process = before


# -- files that are none ---------------------------------------------------------------------------


def make_pipe(place):
    os.mkfifo(place)


def make_socket(place):
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(place.parent):
        made.bind(place.name)  # a socket's path may be no longer than 107 bytes


def make_circle(place):
    place.symlink_to(place.name)


def make_device(place):
    place.symlink_to("/dev/zero")


SPECIAL = {
    "a named pipe": make_pipe,
    "a socket": make_socket,
    "leads in a circle": make_circle,
    "a device": make_device,
}


@pytest.mark.parametrize("said", SPECIAL)
@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_what_is_no_file_is_named_and_not_opened(tmp_path, said, source_format):
    pl.read_csv(io.StringIO(TABLE)).write_parquet(tmp_path / "good.parquet")
    (tmp_path / "good.csv").write_text(TABLE)
    SPECIAL[said](tmp_path / f"odd.{source_format}")
    (reason,) = scan(tmp_path, source_format, OWN).report.filter(rule="unreadable")["reason"]
    assert reason.startswith(f"odd.{source_format}: is ")
    assert said in reason
    assert read(tmp_path, source_format=source_format).height == 2


@pytest.mark.parametrize("said", SPECIAL)
def test_what_is_no_file_costs_its_session_in_alf_folders(tmp_path, said):
    write_session(tmp_path, "ann", FIRST)
    write_session(tmp_path, "ann", SECOND)
    place = alf_folder(tmp_path, "ann", SECOND) / "_ibl_trials.choice.npy"
    place.unlink()
    SPECIAL[said](place)
    assert set(scan(tmp_path, "alf", IBL).subjects) == {"ann"}
    trials, report = read_subject(tmp_path, "alf", IBL, "ann")
    assert trials["session"].unique().to_list() == [FIRST]
    assert report.filter(session=SECOND, rule="unreadable").height == 1


def test_a_study_of_one_pipe_says_so(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (reason,) = told(tmp_path / "pipe")
    assert "is a named pipe, which is never opened" in reason


def test_a_link_back_is_named_and_not_followed(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_text(TABLE)
    (tmp_path / "deep" / "back").symlink_to(tmp_path)
    (reason,) = told(tmp_path)
    assert "deep/back: is not read: it is a link back to" in reason
    assert read(tmp_path).height == 2


def test_links_to_what_is_read_anyway_are_named(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_text(TABLE)
    (tmp_path / "again").symlink_to("deep")
    (tmp_path / "b.csv").symlink_to("deep/a.csv")
    assert [reason.split(":")[0] for reason in told(tmp_path)] == ["again", "b.csv"]
    assert all("which is read already" in reason for reason in told(tmp_path))
    assert len(scan(tmp_path, "csv", OWN).subjects["ann"].files) == 1


def test_links_to_files_elsewhere_are_read_once(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.csv").write_text(TABLE)
    (tmp_path / "disk" / "round").symlink_to(".")
    study = tmp_path / "study"
    study.mkdir()
    (study / "one").symlink_to(tmp_path / "disk")
    (study / "two").symlink_to(tmp_path / "disk")
    assert read(study).height == 2
    assert len(scan(study, "csv", OWN).subjects["ann"].files) == 1


def test_links_to_hidden_content_are_read(tmp_path):
    """As git-annex and DataLad keep files."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "content").write_text(TABLE)
    (tmp_path / "a.csv").symlink_to(".git/content")
    assert read(tmp_path).height == 2


# -- names that are no text ------------------------------------------------------------------------

ODD = os.fsdecode(b"M\xe4use")


def make_odd(folder, name, **kinds):
    try:
        (folder / name).mkdir() if kinds.get("is_folder") else (folder / name).write_text(TABLE)
    except OSError:
        pytest.skip("this file system has no such names")


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_table_or_folder_whose_name_is_not_utf8_is_named_and_the_others_read(tmp_path, is_folder):
    (tmp_path / "a.csv").write_text(TABLE)
    make_odd(tmp_path, f"{ODD}.csv", is_folder=is_folder)
    assert told(tmp_path) == ["M\\xe4use.csv: has a name that is not UTF-8: rename it"]
    assert read(tmp_path).height == 2


@pytest.mark.parametrize("below", ["lab", "lab/Subjects"])
def test_a_lab_or_subject_whose_name_is_not_utf8_is_named(tmp_path, below):
    write_session(tmp_path, "ann", FIRST)
    make_odd((tmp_path / below).parent if below == "lab" else tmp_path / below, ODD, is_folder=True)
    (row,) = scan(tmp_path, "alf", IBL).report.to_dicts()
    assert "M\\xe4use: has a name that is not UTF-8" in row["reason"]
    assert row["dropped"]
    assert row["n_trials"] is None  # nobody knows how many
    assert read(tmp_path, "ann", IBL, "alf").height == 30


def test_a_lab_that_may_not_be_entered_is_named_and_the_others_read(tmp_path, monkeypatch):
    write_session(tmp_path, "ann", FIRST)
    (tmp_path / "closed").mkdir()
    is_dir = Path.is_dir

    def ask(path, **more):
        if path.parent == tmp_path / "closed":
            raise PermissionError(13, "Permission denied")
        return is_dir(path, **more)

    monkeypatch.setattr(Path, "is_dir", ask)
    assert told(tmp_path, IBL, "alf") == ["closed: cannot be opened (Permission denied)"]
    assert read(tmp_path, "ann", IBL, "alf").height == 30


@pytest.mark.parametrize("below", ["", "2019-07-01", "2019-07-01/001/alf"])
def test_a_name_that_is_not_utf8_in_a_subjects_folder_is_named(tmp_path, below):
    write_session(tmp_path, "ann", FIRST)
    make_odd(tmp_path / "lab/Subjects/ann" / below, ODD)
    trials, report = read_subject(tmp_path, "alf", IBL, "ann")
    assert trials.height == 30
    (reason,) = report["reason"]
    assert "M\\xe4use: has a name that is not UTF-8" in reason


def test_a_name_with_control_characters_is_shown_escaped(tmp_path):
    (tmp_path / "a\x1b[2J\n.csv").write_text("no table")
    assert entries(tmp_path)[0].name == "a\\x1b[2J\\n.csv"
    (reason,) = told(tmp_path)
    assert reason.startswith("a\\x1b[2J\\n.csv: has no column")


# -- namespaces of ALF files -----------------------------------------------------------------------


def renamed(folder, namespace, names="*"):
    for file in folder.glob(f"_ibl_trials.{names}"):
        file.rename(folder / file.name.replace("_ibl_", namespace))


@pytest.mark.parametrize("namespace", ["_ss_", "_lab2_", ""])
@pytest.mark.parametrize("write", [write_npy, write_table])
def test_files_of_another_namespace_or_none_are_read(tmp_path, namespace, write):
    for root in ("plain", "other"):
        write(alf_folder(tmp_path / root, "ann", FIRST), ibl_columns())
    renamed(alf_folder(tmp_path / "other", "ann", FIRST), namespace)
    plain, other = (read(tmp_path / root, "ann", IBL, "alf") for root in ("plain", "other"))
    assert other.equals(plain)


def test_two_namespaces_in_one_session_are_said(tmp_path):
    write_session(tmp_path, "ann", FIRST)
    renamed(alf_folder(tmp_path, "ann", FIRST), "_ss_", "choice*")
    trials, report = read_subject(tmp_path, "alf", IBL, "ann")
    assert trials.height == 30
    (row,) = report.to_dicts()
    assert row["warning"]
    assert "_ibl_trials and _ss_trials files are read together" in row["reason"]


def test_one_attribute_in_two_namespaces_costs_its_session(tmp_path):
    columns = write_session(tmp_path, "ann", FIRST)
    np.save(alf_folder(tmp_path, "ann", FIRST) / "trials.choice.npy", columns["choice"])
    trials, report = read_subject(tmp_path, "alf", IBL, "ann")
    assert trials.is_empty()
    assert any(
        "_ibl_trials.choice.npy and trials.choice.npy are of the same kind" in r
        for r in report["reason"]
    )
