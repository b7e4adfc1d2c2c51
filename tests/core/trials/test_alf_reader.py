"""ALF folders: one canonical table whatever the files look like, and no bad file stops another."""

import os
import pickle

import numpy as np
import polars as pl
import pytest
from alf_files import UUID, alf_folder, ibl_columns, write_npy, write_session, write_table
from polars.testing import assert_frame_equal

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan
from glmhmm_core.trials.sessions import trial_schema

TASK = load_task("ibl_2afc")
FIRST, SECOND, THIRD = "2019-07-01_001", "2019-07-02_001", "2019-07-02_002"


def read(root, subject="mouse"):
    return read_subject(root, "alf", TASK, subject)


@pytest.fixture
def three_sessions(tmp_path):
    """A subject of three sessions; tests break the second one."""
    for seed, session in enumerate((FIRST, SECOND, THIRD)):
        write_session(tmp_path, "mouse", session, seed)
    return tmp_path


def second(root):
    return alf_folder(root, "mouse", SECOND)


def test_each_value_is_the_one_in_the_files(tmp_path):
    columns = write_session(tmp_path, "mouse", FIRST)
    trials, report = read(tmp_path)
    assert report.is_empty()
    assert trials.schema == pl.Schema(trial_schema(TASK))
    assert trials["trial"].to_list() == list(range(30))
    class_of = {1: 0, -1: 1, 0: None}
    assert trials["choice"].to_list() == [class_of[c] for c in columns["choice"]]
    assert trials["feedback"].to_list() == columns["feedbackType"].tolist()
    assert trials["block"].to_list() == columns["probabilityLeft"].tolist()
    left, right = (np.nan_to_num(columns[f"contrast{side}"]) for side in ("Left", "Right"))
    assert trials["signed_contrast"].to_list() == (right - left).tolist()
    made = trials.filter(pl.col("choice").is_not_null())["response_time"].to_numpy()
    np.testing.assert_allclose(made, 0.9)  # earliest end: response_times; earliest start: stimOn
    assert trials.filter(pl.col("choice").is_null())["response_time"].null_count() > 0


def test_sessions_come_by_date_then_number(tmp_path):
    for session in ("2020-01-10_2", "2020-01-10_10", "2019-12-31_001", "2020-01-09_001"):
        write_session(tmp_path, "mouse", session, n_trials=3)
    trials, _ = read(tmp_path)
    assert trials["session"].unique(maintain_order=True).to_list() == [
        "2019-12-31_001", "2020-01-09_001", "2020-01-10_002", "2020-01-10_010",
    ]  # fmt: skip


def as_table(folder, columns):
    write_table(folder, columns)


def as_table_with_uuid(folder, columns):
    write_table(folder, columns, uuid=True)


def as_npy_with_uuid(folder, columns):
    write_npy(folder, columns, uuid=True)


def as_both(folder, columns):
    names = list(columns)
    write_table(folder, {name: columns[name] for name in names[:5]})
    write_npy(folder, {name: columns[name] for name in names[4:]})


def as_columns_of_one(folder, columns):
    write_npy(folder, {name: values[:, None] for name, values in columns.items()})


def as_other_types(folder, columns):
    types = {"choice": ">f4", "feedbackType": np.int8, "stimOn_times": ">f8"}
    write_npy(folder, {n: v.astype(types.get(n, v.dtype)) for n, v in columns.items()})


@pytest.mark.parametrize(
    "write",
    [as_table, as_table_with_uuid, as_npy_with_uuid, as_both, as_columns_of_one, as_other_types],
)
def test_the_form_of_the_files_makes_no_difference(tmp_path, write):
    columns = write_session(tmp_path / "plain", "mouse", FIRST)
    write(alf_folder(tmp_path / "other", "mouse", FIRST), columns)
    assert_frame_equal(read(tmp_path / "plain")[0], read(tmp_path / "other")[0])
    assert read(tmp_path / "other")[1].is_empty()


def test_the_root_may_be_the_labs_or_a_lab_or_its_subjects(tmp_path):
    write_session(tmp_path, "mouse", FIRST)
    whole = read(tmp_path)[0]
    for root in (tmp_path / "lab", tmp_path / "lab" / "Subjects"):
        assert_frame_equal(read(root)[0], whole)
        assert scan(root, "alf", TASK).subjects.keys() == {"mouse"}


# -- one bad session and the rest goes on ------------------------------------------------------


def only_row(report, **fields):
    """The one row of a report with these fields."""
    rows = report.filter(**fields).to_dicts()
    assert len(rows) == 1, report.to_dicts()
    return rows[0]


def spoil(name, values):
    return lambda folder: np.save(folder / f"_ibl_trials.{name}.npy", values)


def leave_out(name):
    return lambda folder: (folder / f"_ibl_trials.{name}.npy").unlink()


def overwrite(name, data):
    return lambda folder: (folder / f"_ibl_trials.{name}.npy").write_bytes(data)


def write_pickle(folder):
    np.save(folder / "_ibl_trials.choice.npy", np.array([{}, 1], dtype=object), allow_pickle=True)


def truncate(folder):
    file = folder / "_ibl_trials.choice.npy"
    file.write_bytes(file.read_bytes()[:-8])


def write_beside(folder):
    np.save(folder / f"_ibl_trials.choice.{UUID}.npy", np.ones(30))


def disagree(folder):
    write_table(folder, {"choice": -ibl_columns(seed=1)["choice"]})


def empty_all(folder):
    for file in folder.iterdir():
        np.save(file, np.load(file)[:0])


def choice_with(code):
    choice = ibl_columns(seed=1)["choice"].astype(float)
    choice[7] = code
    return choice


SPOILED = {
    "unreadable": (overwrite("choice", b"junk"), "unreadable", "choice.npy"),
    "empty file": (overwrite("feedbackType", b""), "unreadable", "feedbackType.npy"),
    "truncated": (truncate, "unreadable", "choice.npy"),
    "pickled": (write_pickle, "unreadable", "choice.npy"),
    "two files": (write_beside, "unreadable", UUID),
    "table and file disagree": (disagree, "unreadable", "disagree"),
    "no choices": (leave_out("choice"), "missing_column", "'choice'"),
    "no outcomes": (leave_out("feedbackType"), "missing_column", "'feedbackType'"),
    "no blocks": (leave_out("probabilityLeft"), "missing_column", "'probabilityLeft'"),
    "no stimulus": (leave_out("contrastLeft"), "missing_column", "'contrastLeft'"),
    "short choices": (spoil("choice", np.ones(29)), "ragged", "'choice' has 29"),
    "long stimulus": (spoil("contrastRight", np.ones(31)), "ragged", "has 31 values"),
    "short outcomes": (spoil("feedbackType", np.ones(29)), "ragged", "'feedbackType' has 29"),
    "short blocks": (spoil("probabilityLeft", np.ones(2)), "ragged", "'probabilityLeft' has 2"),
    "words": (spoil("contrastLeft", np.array(["x"] * 30)), "not_numeric", "'x' at trial 0"),
    "unknown choice": (spoil("choice", choice_with(3)), "choice_codes", "3.0 at trial 7"),
    "unknown outcome": (spoil("feedbackType", np.full(30, 5)), "feedback_codes", "at trial 0"),
    "matrix": (spoil("choice", np.ones((30, 2))), "unreadable", "(30, 2)"),
    "one number": (spoil("choice", np.float64(1)), "unreadable", "()"),
    "complex": (spoil("choice", np.ones(30, complex)), "unreadable", "complex128"),
    "no trials": (empty_all, "empty_session", "no trials"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_session_that_cannot_be_used_is_reported_and_the_others_stay(three_sessions, kind):
    before, _ = read(three_sessions)
    change, rule, said = SPOILED[kind]
    change(second(three_sessions))
    trials, report = read(three_sessions)
    assert_frame_equal(trials, before.filter(pl.col("session") != SECOND))
    row = only_row(report, session=SECOND)
    assert (row["subject"], row["level"], row["rule"]) == ("mouse", "session", rule)
    assert said in row["reason"]
    assert "lab/Subjects/mouse/2019-07-02/001/alf" in row["reason"]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_is_ever_unpickled(three_sessions):
    file = second(three_sessions) / "_ibl_trials.choice.npy"
    sprung = three_sessions / "sprung"
    np.save(file, np.array([Trap(sprung)], dtype=object), allow_pickle=True)
    read(three_sessions)
    file.write_bytes(pickle.dumps(Trap(sprung)))
    trials, _ = read(three_sessions)
    assert trials["session"].n_unique() == 2
    assert not sprung.exists()


TIMES = {
    "ragged": (spoil("feedback_times", np.ones(29)), "29 values for 30 trials"),
    "unreadable": (overwrite("feedback_times", b"junk"), "feedback_times.npy"),
    "not_numeric": (spoil("feedback_times", np.array(["x"] * 30)), "'x' at trial 0"),
}


@pytest.mark.parametrize("rule", TIMES)
def test_a_time_column_that_cannot_be_used_costs_no_trial(three_sessions, rule):
    before, _ = read(three_sessions)
    change, said = TIMES[rule]
    change(second(three_sessions))
    trials, report = read(three_sessions)
    assert_frame_equal(trials, before)  # the response times of the other end remain
    assert said in only_row(report, session=SECOND, rule=rule)["reason"]


def test_response_times_are_null_where_no_end_is_left(three_sessions):
    before, _ = read(three_sessions)
    spoil("feedback_times", np.ones(29))(second(three_sessions))
    leave_out("response_times")(second(three_sessions))
    trials, report = read(three_sessions)
    assert_frame_equal(trials.drop("response_time"), before.drop("response_time"))
    known = trials.filter(pl.col("response_time").is_not_null())["session"].unique()
    assert set(known) == {FIRST, THIRD}
    assert "none of feedback_times" in only_row(report, rule="response_time")["reason"]


def test_a_table_that_cannot_be_read_gives_way_to_single_files(tmp_path):
    columns = write_session(tmp_path, "mouse", FIRST)
    before, _ = read(tmp_path)
    (alf_folder(tmp_path, "mouse", FIRST) / "_ibl_trials.table.pqt").write_bytes(b"junk")
    assert_frame_equal(read(tmp_path)[0], before)
    folder = alf_folder(tmp_path, "mouse", SECOND)
    (folder / "_ibl_trials.table.pqt").write_bytes(b"junk")
    write_npy(folder, {"choice": columns["choice"]})
    trials, report = read(tmp_path)
    assert_frame_equal(trials, before)
    assert "table.pqt" in only_row(report, session=SECOND, rule="unreadable")["reason"]


def test_a_folder_without_trial_files_and_one_without_a_date_are_reported(three_sessions):
    subject = three_sessions / "lab" / "Subjects" / "mouse"
    (subject / "2019-07-03" / "001" / "raw_video_data").mkdir(parents=True)
    (subject / "2019-7-4").mkdir()
    trials, report = read(three_sessions)
    assert trials["session"].n_unique() == 3
    assert only_row(report, rule="no_files")["session"] == "2019-07-03_001"
    assert "2019-7-4" in only_row(report, rule="unknown_folder")["reason"]


def test_the_same_session_twice_is_refused_unless_it_is_a_copy(three_sessions):
    before, _ = read(three_sessions)
    write_npy(alf_folder(three_sessions, "mouse", "2019-07-02_1"), ibl_columns(seed=1))
    trials, report = read(three_sessions)
    assert_frame_equal(trials, before)
    assert "copy of" in only_row(report, rule="duplicate_session")["reason"]
    write_npy(alf_folder(three_sessions, "mouse", "2019-07-02_1"), ibl_columns(seed=9))
    trials, report = read(three_sessions)
    assert set(trials["session"]) == {FIRST, THIRD}
    assert report.filter(rule="duplicate_session", session=SECOND).height == 2


def test_a_session_copied_under_another_id_is_pointed_out_but_kept(three_sessions):
    write_session(three_sessions, "mouse", "2019-07-05_001", seed=1)
    like_it = ibl_columns(seed=1) | {"feedbackType": ibl_columns(seed=2)["feedbackType"]}
    write_npy(alf_folder(three_sessions, "mouse", "2019-07-06_001"), like_it)
    backwards = {name: values[::-1] for name, values in ibl_columns(seed=1).items()}
    write_npy(alf_folder(three_sessions, "mouse", "2019-07-07_001"), backwards)
    trials, _ = read(three_sessions)
    assert trials["session"].n_unique() == 6
    _, report = clean(trials, TASK)
    row = only_row(report, rule="same_content", warning=True)
    assert row["session"] == "2019-07-05_001"
    assert SECOND in row["reason"]


def test_a_contrast_unknown_on_both_sides_is_unknown_not_zero(tmp_path):
    columns = ibl_columns()
    columns["contrastLeft"][4] = columns["contrastRight"][4] = np.nan
    write_npy(alf_folder(tmp_path, "mouse", FIRST), columns)
    stimulus = read(tmp_path)[0]["signed_contrast"]
    assert stimulus.null_count() == 1
    assert stimulus[4] is None


def test_an_unknown_subject_and_a_missing_root_are_named(three_sessions):
    with pytest.raises(InputError, match=r"'mous'.*Did you mean 'mouse'"):
        read(three_sessions, "mous")
    with pytest.raises(InputError, match="no such file or folder"):
        read(three_sessions / "absent")
    with pytest.raises(InputError, match="no <lab>/Subjects folder"):
        read(second(three_sessions))


def test_nothing_left_says_so_for_the_subject(tmp_path):
    write_npy(alf_folder(tmp_path, "mouse", FIRST), {"choice": np.ones(3)})
    trials, report = read(tmp_path)
    assert trials.is_empty()
    assert trials.schema == pl.Schema(trial_schema(TASK))
    assert only_row(report, level="subject")["rule"] == "no_sessions"


# -- revisions and collections -------------------------------------------------------------------


def inside(folder, name):
    """A folder in a folder, as writing into it needs it."""
    (folder / name).mkdir()
    return folder / name


def test_the_newest_revision_of_every_attribute_counts_and_is_told(three_sessions):
    folder = second(three_sessions)
    truth = ibl_columns(seed=1) | {"choice": np.tile([1, -1], 15), "feedbackType": -np.ones(30)}
    write_npy(inside(folder, "#2020-01-01#"), ibl_columns(seed=7) | {"choice": np.zeros(30)})
    new = {name: truth[name] for name in truth if name != "feedbackType"}
    write_npy(inside(folder, "#2021-12-31#"), new)
    write_npy(folder / "#2020-01-01#", {"feedbackType": truth["feedbackType"]})
    write_npy(alf_folder(three_sessions / "plain", "mouse", SECOND), truth)
    trials, report = read(three_sessions)
    assert trials["session"].n_unique() == 3
    assert_frame_equal(trials.filter(session=SECOND), read(three_sessions / "plain")[0])
    reason = only_row(report, rule="revision")["reason"]
    assert "feedbackType of revision 2020-01-01" in reason
    assert "choice" in reason.split("2021-12-31")[0]
    assert "in place of what has no revision and 2020-01-01" in reason


@pytest.mark.parametrize("newer", ["table", "npy"])
def test_a_newer_table_goes_over_older_files_and_the_other_way_round(tmp_path, newer):
    old, new = ibl_columns(seed=1), ibl_columns(seed=2)
    folder = alf_folder(tmp_path, "mouse", FIRST)
    write_new, write_old = {"table": (write_table, write_npy), "npy": (write_npy, write_table)}[
        newer
    ]
    write_old(folder, old)
    write_new(inside(folder, "#2024-05-06#"), new)
    write_npy(alf_folder(tmp_path / "plain", "mouse", FIRST), new)
    trials, report = read(tmp_path)
    assert_frame_equal(trials, read(tmp_path / "plain")[0])
    assert "choice, contrastLeft" in only_row(report, rule="revision")["reason"]


def test_a_partial_table_is_completed_by_single_files(tmp_path):
    columns = write_session(tmp_path / "plain", "mouse", FIRST)
    folder = inside(alf_folder(tmp_path, "mouse", FIRST), "#2024-05-06#")
    write_table(folder, {name: columns[name] for name in ("choice", "contrastLeft")})
    write_npy(folder.parent, {n: columns[n] for n in columns if n not in ("contrastLeft",)})
    trials, report = read(tmp_path)
    assert_frame_equal(trials, read(tmp_path / "plain")[0])
    assert "choice of revision" in only_row(report, rule="revision")["reason"]


def test_a_new_revision_makes_the_subject_new_and_an_old_one_does_not(three_sessions):
    folder = second(three_sessions)
    write_npy(inside(folder, "#2021-12-31#"), ibl_columns(seed=5))

    def digest():
        return scan(three_sessions, "alf", TASK).subjects["mouse"].digest

    before = digest()
    write_npy(inside(folder, "#2020-01-01#"), ibl_columns(seed=6))
    assert digest() == before
    write_npy(inside(folder, "#2022-01-01#"), ibl_columns(seed=7))
    assert digest() != before


def test_a_collection_below_alf_is_read_if_it_is_the_only_one(three_sessions):
    before, _ = read(three_sessions)
    folder = second(three_sessions)
    inside(folder, "probe00")
    task = inside(folder, "task_00")
    for file in folder.glob("*.npy"):
        file.rename(task / file.name)
    assert_frame_equal(read(three_sessions)[0], before)
    write_npy(inside(folder, "task_01"), ibl_columns(seed=9))
    trials, report = read(three_sessions)
    assert_frame_equal(trials, before.filter(pl.col("session") != SECOND))
    row = only_row(report, rule="several_collections", session=SECOND)
    assert "alf/task_00 and lab/Subjects/mouse/2019-07-02/001/alf/task_01" in row["reason"]


def test_sessions_without_a_date_of_their_own_come_behind_those_with_one(three_sessions):
    file = three_sessions / "own.toml"
    file.write_text('extends = "ibl_2afc"\n[columns]\ndate = "day"\nsession_order = "nth"')
    write_npy(second(three_sessions), {"day": np.full(30, "2024-05-06")})
    write_npy(alf_folder(three_sessions, "mouse", THIRD), {"nth": np.full(30, 1.0)})
    trials, _ = read_subject(three_sessions, "alf", load_task(file), "mouse")
    assert trials["session"].unique(maintain_order=True).to_list() == [SECOND, THIRD, FIRST]
