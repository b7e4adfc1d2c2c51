"""Columns and ids that tell an order of trials or sessions which the task does not name."""

import tarfile

import numpy as np
import polars as pl
import pytest
from alf_files import alf_folder, ibl_columns, write_npy
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan

TASK, IBL = load_task("two_afc"), load_task("ibl_2afc")


@pytest.fixture
def own_task(tmp_path):
    """A task file that extends two_afc with keys of [columns]."""

    def make(columns="", rest=""):
        file = tmp_path / "own.toml"
        file.write_text(f'extends = "two_afc"\n[columns]\n{columns}\n{rest}')
        return load_task(file)

    return make


def table(sessions=("s1", "s2", "s3"), n_trials=20, **columns):
    """Rows of ann in order; further columns are of one value per row, or one per session."""
    rng = np.random.default_rng(0)
    n = len(sessions) * n_trials
    found = pl.DataFrame(
        {
            "subject": "ann",
            "session": np.repeat(sessions, n_trials),
            "stimulus": rng.choice([-1.0, -0.5, 0.5, 1.0], n),
            "choice": rng.choice([0, 1], n),
            "feedback": rng.choice([0, 1], n),
        }
    )
    values = {k: v if len(v) == n else np.repeat(v, n_trials) for k, v in columns.items()}
    return found.with_columns(pl.Series(name, list(column)) for name, column in values.items())


def numbers(n_sessions=3, n_trials=20):
    return np.tile(np.arange(1, n_trials + 1), n_sessions)


def mixed_within(source, seed=1):
    """The rows of each session in another order."""
    parts = source.partition_by("session", maintain_order=True)
    return pl.concat([part.sample(fraction=1, shuffle=True, seed=seed) for part in parts])


def warned(source, folder, task=TASK, source_format="csv"):
    """Warnings as (rule, trials, reason)."""
    file = folder / f"all.{source_format}"
    source.write_csv(file) if source_format == "csv" else source.write_parquet(file)
    _, report = read_subject(file, source_format, task, "ann")
    return report.filter("warning").select("rule", "n_trials", "reason").rows()


def only(warnings):
    (one,) = warnings
    return one


# -- trials -------------------------------------------------------------------------------------

NUMBERED = ("trial", "trial_num", "TrialNumber", "trial.idx", "n_trial", "Trial Index", "trial_id")
TIMED = ("trial_start_time", "start_time", "stim_onset", "onset (s)", "timestamp", "time")


def starts(n_sessions=3, n_trials=20, seed=0):
    """Times of trials that take 3 to 6 seconds, from the start of each session."""
    steps = np.random.default_rng(seed).uniform(3, 6, (n_sessions, n_trials))
    return steps.cumsum(axis=1).ravel()


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_mixed_rows_are_told_once_with_the_key_to_write(tmp_path, source_format):
    source = mixed_within(table(trial_num=numbers()))
    rule, n_trials, reason = only(warned(source, tmp_path, TASK, source_format))
    assert (rule, n_trials) == ("trials_disagree", 60)
    assert "rows of 3 of 3 sessions (s1 is the first)" in reason
    assert 'write trial = "trial_num" in [columns]' in reason


def test_the_key_that_is_named_mends_the_order(tmp_path, own_task):
    source = table(trial_num=numbers())
    task = own_task('trial = "trial_num"')
    assert warned(mixed_within(source), tmp_path, task) == []
    trials, _ = read_subject(tmp_path / "all.csv", "csv", task, "ann")
    assert trials["stimulus"].to_list() == source["stimulus"].to_list()


@pytest.mark.parametrize("name", NUMBERED)
def test_a_column_is_known_by_its_name_however_it_is_written(tmp_path, name):
    source = table(**{name: numbers()})
    assert warned(source, tmp_path) == []
    assert f"trial = {name!r}".replace("'", '"') in only(warned(mixed_within(source), tmp_path))[2]


@pytest.mark.parametrize("name", TIMED)
def test_times_tell_the_order_too(tmp_path, name):
    source = table(**{name: starts()})
    assert warned(source, tmp_path) == []
    _, _, reason = only(warned(mixed_within(source), tmp_path))
    assert f"the times in {name!r} run backwards in 3 of 3 sessions" in reason


def test_only_the_sessions_that_disagree_are_counted(tmp_path):
    source = table(trial_num=numbers())
    _, n_trials, reason = only(
        warned(pl.concat([source[:20], source[20:40][::-1], source[40:]]), tmp_path)
    )
    assert n_trials == 20
    assert "the rows of session s2 do not stand" in reason


def test_sessions_mixed_with_each_other_are_told_once(tmp_path):
    source = table(trial_num=numbers()).sample(fraction=1, shuffle=True, seed=1)
    assert only(warned(source, tmp_path))[0] == "trials_disagree"


def blocks(n_sessions=3):
    """Four blocks of five trials in each session; trial numbers start anew in each."""
    return {
        "block": np.tile(np.repeat([1, 2, 3, 4], 5), n_sessions),
        "trial": np.tile(np.arange(1, 6), 4 * n_sessions),
    }


def test_numbers_that_restart_in_each_block_are_told_with_their_block(tmp_path):
    source = table(**blocks())
    assert warned(source, tmp_path) == []
    _, _, reason = only(warned(mixed_within(source), tmp_path))
    assert 'write trial = ["block", "trial"] in [columns]' in reason


def test_the_most_telling_column_counts(tmp_path):
    source = table(start_time=starts(), trial_id=np.random.default_rng(0).permutation(60))
    assert warned(source, tmp_path) == []
    source = mixed_within(table(trial_number=numbers())).with_columns(time=pl.Series(starts()))
    _, _, reason = only(warned(source, tmp_path))
    assert "order of 'trial_number' (though in that of 'time')" in reason


RNG = np.random.default_rng(3)
SILENT = {
    "no number": {"trial": RNG.permutation([f"t{i}" for i in range(60)])},
    "constant": {"trial": [1] * 60},
    "numbers of conditions": {"trial_index": RNG.integers(0, 8, 60)},
    "restarts without a block": {"trial": np.tile(np.arange(10), 6)},
    "restarts in blocks that come again": {"trial": [*range(10)] * 6, "block": [0] * 30 + [1] * 30},
    "blocks that go back": {"trial": np.tile([1, 2, 3, 4, 5], 12), "block": [4, 3, 2, 1] * 15},
    "times within each trial": {"stim_onset": RNG.uniform(0.5, 1.5, 60)},
    "response times": {"time": RNG.lognormal(size=60)},
    "codes of a database": {"trial_id": RNG.integers(1, 10**9, 60)},
    "mostly unknown": {"trial_num": [*RNG.permutation(15), *[None] * 45]},
    "numbers through all sessions": {"trial_num": np.arange(60)},
    "gaps": {"trial_num": np.cumsum(RNG.integers(1, 9, 60))},
}


@pytest.mark.parametrize("kind", SILENT)
def test_what_tells_no_other_order_is_no_warning(tmp_path, kind):
    assert warned(table(**SILENT[kind]), tmp_path) == []


def test_a_column_that_has_a_meaning_in_the_task_tells_no_order(tmp_path, own_task):
    task = own_task(rest='[[stimuli]]\nname = "stimulus"\ncolumn = "time"')
    assert warned(table(time=np.random.default_rng(0).permutation(60)), tmp_path, task) == []


def test_unreadable_values_are_passed_over(tmp_path):
    odd = [None if i % 15 == 0 else str(i) for i in range(60)]
    assert warned(table(trial_num=odd), tmp_path) == []
    assert only(warned(table(trial_num=odd)[::-1], tmp_path))[0] == "trials_disagree"


@settings(max_examples=25)
@given(st.data())
def test_rows_in_order_never_warn_and_others_always_do(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    steps = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=12))
    name = data.draw(st.sampled_from(NUMBERED))
    source = table(("s1",), len(steps), **{name: np.cumsum(steps)})
    rows = data.draw(st.permutations(range(len(steps))))
    assert warned(source, folder) == []
    assert len(warned(source[rows], folder)) == (list(rows) != sorted(rows))


# -- sessions ------------------------------------------------------------------------------------

MIXED = ("c", "a", "b")
TELLING = {
    "date": ("session_date", ["2024-05-06", "2024-05-20", "2024-06-01"], "date"),
    "day first": ("Date", ["06-05-2024", "20-05-2024", "01-06-2024"], "date"),
    "number of a day": ("day", [1, 2, 3], "session_order"),
    "time": ("session_start", [f"2024-05-06 {h}:00:00" for h in (9, 10, 11)], "date"),
    "number": ("sessionNumber", [9, 10, 11], "session_order"),
}


@pytest.mark.parametrize("kind", TELLING)
def test_sessions_out_of_order_are_told_with_the_key_that_mends_it(tmp_path, own_task, kind):
    name, values, key = TELLING[kind]
    source = table(MIXED, **{name: values})
    rule, n_trials, reason = only(warned(source, tmp_path))
    assert (rule, n_trials) == ("sessions_disagree", 60)
    assert f"order of their ids (a, b, c), which is not that of {name!r} (c, a, b)" in reason
    line = f'{key} = "{name}"'
    assert f"write {line} in [columns]" in reason
    task = own_task(line)
    assert warned(source, tmp_path, task) == []
    trials, _ = read_subject(tmp_path / "all.csv", "csv", task, "ann")
    assert trials["session"].unique(maintain_order=True).to_list() == list(MIXED)


@pytest.mark.parametrize("kind", TELLING)
def test_sessions_in_order_are_not_told(tmp_path, kind):
    name, values, _ = TELLING[kind]
    assert warned(table(("a", "b", "c"), **{name: values}), tmp_path) == []


DAYS = ("06-05-2024", "20-05-2024", "01-06-2024")


def test_dates_in_ids_are_told_with_the_key_that_mends_it(tmp_path, own_task):
    rule, n_trials, reason = only(warned(table(DAYS), tmp_path))
    assert (rule, n_trials) == ("sessions_disagree", 60)
    assert f"the dates in them ({', '.join(DAYS)})" in reason
    assert 'Write date = "session" in [columns]' in reason
    task = own_task('date = "session"')
    assert warned(table(DAYS), tmp_path, task) == []
    trials, _ = read_subject(tmp_path / "all.csv", "csv", task, "ann")
    assert trials["session"].unique(maintain_order=True).to_list() == list(DAYS)


def test_dates_behind_something_else_are_told_with_a_remedy(tmp_path):
    ids = ("rig2_20240506", "rig1_20240507")
    _, _, reason = only(warned(table(ids), tmp_path))
    assert "the dates in them (rig2_20240506, rig1_20240507)" in reason
    assert "a column of their own" in reason


def test_a_date_among_the_columns_of_the_ids_is_told_by_its_name(tmp_path, own_task):
    source = table(("1", "2", "3"), date=DAYS)
    task = own_task('session = ["date", "session"]')
    assert 'date = "date"' in only(warned(source, tmp_path, task))[2]


QUIET = {
    "dates in order": (("20240506", "20240507", "20240601"), {}),
    "day and month": (("06-05-2024", "07-04-2024", "08-03-2024"), {}),
    "no dates": (("12345678", "99999999", "20249999"), {}),
    "dates agree, numbers of the day do not": (
        ("2024-05-06_2", "2024-05-07_1", "2024-05-08_3"),
        {"session_number": [2, 1, 3]},
    ),
    "one date": (MIXED, {"date": ["2024-05-06"] * 3}),
    "days of a month": (("s1", "s2", "s3"), {"day": [30, 31, 1]}),
    "numbers that come again": (MIXED, {"session_number": [2, 1, 2]}),
    "numbers that change within": (MIXED, {"session_number": range(60)}),
    "no date": (MIXED, {"date": ["soon", "later", "never"]}),
    "time of day": (MIXED, {"session_start": ["11:00", "12:00", "10:00"]}),
}


@pytest.mark.parametrize("kind", QUIET)
def test_what_tells_no_other_order_of_sessions_is_no_warning(tmp_path, kind):
    ids, columns = QUIET[kind]
    assert warned(table(ids, **columns), tmp_path) == []


# -- columns that nobody named ---------------------------------------------------------------------


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_a_column_that_is_not_read_changes_neither_digest_nor_table(tmp_path, source_format):
    found = []
    for values in (numbers(), numbers()[::-1]):
        file = tmp_path / f"all.{source_format}"
        source = table(trial_num=values)
        source.write_csv(file) if source_format == "csv" else source.write_parquet(file)
        trials, _ = read_subject(file, source_format, TASK, "ann")
        found.append((scan(file, source_format, TASK).subjects["ann"].digest, trials))
        file.unlink()
    assert found[0][0] == found[1][0]
    assert_frame_equal(found[0][1], found[1][1])


def test_a_copy_is_one_whatever_its_trial_numbers_are(tmp_path):
    source = table(("s1", "s2", "s1"), trial_num=np.arange(60))
    again = pl.concat([source[:40], source[:20].with_columns(source[40:]["trial_num"])])
    again.write_csv(tmp_path / "all.csv")
    _, report = read_subject(tmp_path / "all.csv", "csv", TASK, "ann")
    assert "duplicate_session" in report["rule"].to_list()


def test_lists_in_such_a_column_of_a_parquet_file_are_passed_over(tmp_path):
    source = table().with_columns(trial_num=pl.Series([[1, 2]] * 60))
    assert warned(source, tmp_path, TASK, "parquet") == []


def test_a_damaged_column_that_is_not_read_leaves_the_file_readable(tmp_path):
    file = tmp_path / "all.parquet"
    marked = np.random.default_rng(0).integers(2**62, size=60)
    table(trial_num=marked).write_parquet(file, compression="uncompressed", statistics=False)
    data = file.read_bytes()
    place = data.index(marked[:1].tobytes())
    page = data.rindex(b"\x15", 0, place - 20)  # in the header of the column's page
    file.write_bytes(data[: page - 4] + b"\xff" * 24 + data[page + 20 :])
    trials, _ = read_subject(file, "parquet", TASK, "ann")
    assert trials.height == 60


# -- ALF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", ["all", "goCue_times"])
def test_alf_times_that_run_backwards_are_one_warning_about_order(tmp_path, times):
    for day in (1, 2):
        columns = ibl_columns(30, day)
        order = np.random.default_rng(0).permutation(30)
        for name in columns if day == 2 else ():
            if name == times or (times == "all" and name.endswith("_times")):
                columns[name] = columns[name][order]
        write_npy(alf_folder(tmp_path, "mouse", f"2024-05-0{day}_001"), columns)
    _, report = read_subject(tmp_path, "alf", IBL, "mouse")
    row = report.filter("warning").row(0, named=True)
    assert report["warning"].sum() == 1
    assert (row["rule"], row["n_trials"]) == ("trials_disagree", 30)
    assert "'goCue_times' run backwards in session 2024-05-02_001" in row["reason"]


# -- real data -------------------------------------------------------------------------------------


def test_a_real_mouse_is_in_order(tmp_path, test_data):
    file = sorted((test_data / "ibl_alf").glob("*.tar.gz"), key=lambda file: file.stat().st_size)[0]
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path, filter="data")
    (subject,) = scan(tmp_path, "alf", IBL).subjects
    _, report = read_subject(tmp_path, "alf", IBL, subject)
    assert not report["warning"].any()


def test_real_people_are_in_order_and_told_when_they_are_not(tmp_path, test_data, own_task):
    task = own_task(
        'subject = "subj_idx"\nchoice = "response"\nfeedback = { sign_of = "motion" }',
        '[[stimuli]]\nname = "motion"\ncolumn = "stimulus"',
    )
    file = test_data / "humans_motion_2afc.csv.gz"
    for subject in ("1", "2"):
        assert not read_subject(file, "csv", task, subject)[1]["warning"].any()
    own = pl.read_csv(file).filter(pl.col("subj_idx") == 2)
    own.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "mixed.csv")
    _, report = read_subject(tmp_path / "mixed.csv", "csv", task, "2")
    assert 'trial = ["block", "trial"]' in report.filter("warning")["reason"].item()
