"""Order: trials and sessions stand as they were done, wherever their rows stand in the files."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from glmhmm_core.design.build import build_design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.fingerprint import data_hash
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.prospective import prospective_splits
from glmhmm_core.tasks.load import load_task
from glmhmm_core.trials.cleaning import clean
from glmhmm_core.trials.files import natural_key
from glmhmm_core.trials.readers import read_subject
from glmhmm_core.trials.scan import scan


@pytest.fixture
def own_task(tmp_path):
    """A task file that extends two_afc with keys of [columns]."""

    def make(columns="", rest=""):
        file = tmp_path / "own.toml"
        file.write_text(f'extends = "two_afc"\n[columns]\n{columns}\n{rest}')
        return load_task(file)

    return make


def table(days=("2024-01-30", "2024-02-01", "2024-02-10"), n_trials=6, seed=0):
    """Rows of ann in order: days as dates, ids that do not sort by day, trial numbers from 11."""
    rng = np.random.default_rng(seed)
    n = len(days) * n_trials
    number = np.tile(np.arange(n_trials), len(days))
    return pl.DataFrame(
        {
            "subject": "ann",
            "session": np.repeat([f"{'cab'[i % 3]}{i}" for i in range(len(days))], n_trials),
            "day": np.repeat(days, n_trials),
            "nth": np.repeat(np.arange(len(days)) + 1, n_trials),
            "block": number // 3,
            "trial": 11 + 2 * number,
            "clock": np.arange(n) * 7.5,
            "stimulus": rng.choice([-1.0, -0.5, 0.5, 1.0], n),
            "choice": rng.choice([0, 1], n),
            "feedback": rng.choice([0, 1], n),
        }
    )


def scrambled(source, seed=1):
    return source.sample(fraction=1, shuffle=True, seed=seed)


def read(source, folder, task, source_format="csv"):
    (folder / "data").mkdir(exist_ok=True)
    file = folder / "data" / f"all.{source_format}"
    source.write_csv(file) if source_format == "csv" else source.write_parquet(file)
    return read_subject(folder / "data", source_format, task, "ann")


def sessions_of(trials):
    return trials["session"].unique(maintain_order=True).to_list()


def reasons(report, rule):
    return report.filter(rule=rule)["reason"].to_list()


ORDERS = {
    "number and date": 'trial = "trial"\ndate = "day"',
    "number and number": 'trial = "trial"\nsession_order = "nth"',
    "time and date": 'trial = "clock"\ndate = "day"',
}


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
@pytest.mark.parametrize("columns", ORDERS.values(), ids=ORDERS)
def test_scrambled_rows_give_the_table_of_rows_in_order(tmp_path, own_task, columns, source_format):
    task, source = own_task(columns), table()
    expected, said = read(source, tmp_path, task)
    assert said.is_empty()
    assert sessions_of(expected) == ["c0", "a1", "b2"]
    assert expected["stimulus"].to_list() == source["stimulus"].to_list()
    mixed = scrambled(source)
    found, _ = read(mixed, tmp_path, task, source_format)
    assert_frame_equal(found.drop("source_row"), expected.drop("source_row"))
    rows = found["source_row"] - 1
    assert mixed[rows.to_list()]["clock"].to_list() == source["clock"].to_list()


@settings(max_examples=15)
@given(st.permutations(range(18)))
def test_the_order_of_the_rows_does_not_change_what_is_fitted(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    (folder / "own.toml").write_text(
        'extends = "two_afc"\n[columns]\ntrial = "trial"\ndate = "day"\n'
    )
    task, source = load_task(folder / "own.toml"), table()
    hashes = {
        data_hash(build_design(clean(read(some, folder, task)[0], task)[0], task))
        for some in (source, source[list(rows)])
    }
    assert len(hashes) == 1


def test_history_is_that_of_the_trial_done_before(tmp_path, own_task):
    task, source = own_task('trial = "trial"\ndate = "day"'), table()
    trials, _ = read(scrambled(source), tmp_path, task)
    design = build_design(clean(trials, task)[0], task)
    previous = design.X[:, design.feature_names.index("previous_choice")].reshape(3, 6)
    choices = source["choice"].to_numpy().reshape(3, 6)
    assert np.array_equal(previous[:, 1:], 2 * choices[:, :-1] - 1)
    assert not previous[:, 0].any()


def test_folds_of_scrambled_sessions_are_trained_on_their_past_alone(tmp_path, own_task):
    days = [f"2024-{1 + i // 3:02d}-{10 * (i % 3) + 1:02d}" for i in range(8)]
    task = own_task('trial = "trial"\ndate = "day"')
    trials, _ = read(scrambled(table(days)), tmp_path, task)
    problem = Problem.of_design(build_design(clean(trials, task)[0], task))
    day_of = dict(trials.select("session", "session_date").unique().iter_rows())
    dates = np.array([day_of[session] for session in problem.sessions])
    splits = prospective_splits(problem, 4, "ann")
    for train, test in zip(splits.train, splits.test, strict=True):
        assert dates[train].max() < dates[test].min()


def test_own_numbers_are_kept_with_gaps_and_restarts(tmp_path, own_task):
    task = own_task('trial = ["block", "number"]\nblock = "block"\ndate = "day"')
    source = table().with_columns(number=pl.Series([1, 4, 9] * 6))
    trials, report = read(scrambled(source), tmp_path, task)
    assert trials["native_block"].to_list() == [0, 0, 0, 1, 1, 1] * 3
    assert trials["native_number"].to_list() == [1, 4, 9] * 6
    assert trials["trial"].to_list() == [0, 1, 2, 3, 4, 5] * 3
    assert report["rule"].to_list() == ["trial_order", "session_order"]


def test_dates_and_numbers_of_sessions_are_in_the_table(tmp_path, own_task):
    trials, _ = read(table(), tmp_path, own_task('date = "day"\nsession_order = "nth"'))
    assert trials["session_date"].dt.to_string("%Y-%m-%d").to_list() == table()["day"].to_list()
    assert trials["session_order"].to_list() == table()["nth"].to_list()


def test_sessions_of_one_day_go_by_their_number_then_by_their_id(tmp_path, own_task):
    one_day = table().with_columns(day=pl.lit("2024-01-30"))
    task = own_task('date = "day"\nsession_order = "nth"')
    assert sessions_of(read(one_day, tmp_path, task)[0]) == ["c0", "a1", "b2"]
    assert sessions_of(read(one_day, tmp_path, own_task('date = "day"'))[0]) == ["a1", "b2", "c0"]


def test_a_session_counts_from_its_earliest_time(tmp_path, own_task):
    minutes = pl.Series([f"2024-01-30 10:{m:02d}" for m in range(18)])
    source = table().with_columns(day=minutes)
    trials, _ = read(scrambled(source), tmp_path, own_task('trial = "trial"\ndate = "day"'))
    assert sessions_of(trials) == ["c0", "a1", "b2"]
    assert trials["session_date"].dt.minute().unique(maintain_order=True).to_list() == [0, 6, 12]


def test_sessions_without_an_order_of_their_own_go_by_their_ids_and_it_is_said(tmp_path, own_task):
    names = pl.Series(["s10"] * 6 + ["s9"] * 6 + ["s2"] * 6)
    trials, report = read(table().with_columns(session=names), tmp_path, own_task())
    assert sessions_of(trials) == ["s2", "s9", "s10"]
    (reason,) = reasons(report, "session_order")
    assert "order of their ids (s2 before s10)" in reason
    assert "s10 stands before s9" in reason


def test_what_is_moved_is_said(tmp_path, own_task):
    source = pl.concat([table()[6:][::-1], table()[:6]])
    _, report = read(source, tmp_path, own_task('trial = "trial"\ndate = "day"'))
    (rows,), (sessions,) = (reasons(report, f"{what}_order") for what in ("trial", "session"))
    assert rows == "the rows of 2 of 3 sessions (b2 is the first) are put in the order of 'trial'"
    assert "3 sessions are put in the order of 'day'; in the files b2 stands before a1" in sessions


# -- sessions whose rows do not stand together -------------------------------------------------


def alternating():
    """Rows of the first two sessions, in turns."""
    return table()[[i + 6 * s for i in range(6) for s in (0, 1)]]


def test_sessions_in_turns_are_put_together_and_it_is_said(tmp_path, own_task):
    trials, report = read(alternating(), tmp_path, own_task('date = "day"'))
    expected = table()[:12]
    assert trials["stimulus"].to_list() == expected["stimulus"].to_list()
    (reason,) = reasons(report, "interleaved")
    assert "between the rows of 2 of 2 sessions (c0 is the first), which are in 6 parts" in reason
    assert "rows 1 to 11 of all.csv" in reason


def test_rows_that_stand_apart_are_no_matter_where_their_order_is_known(tmp_path, own_task):
    _, report = read(alternating(), tmp_path, own_task('trial = "trial"\ndate = "day"'))
    assert report.is_empty()


def test_a_session_written_twice_into_a_file_is_read_once(tmp_path, own_task):
    source = pl.concat([table(), table()[:6]])
    trials, report = read(source, tmp_path, own_task('date = "day"'))
    assert trials.height == 18
    assert report.select("rule", "session", "n_trials").rows() == [("duplicate_session", "c0", 6)]


def test_perfect_trials_in_turns_are_no_copies(tmp_path, own_task):
    same = alternating().with_columns(stimulus=1.0, choice=1, feedback=1)
    trials, _ = read(same, tmp_path, own_task())
    assert trials.height == 12


def halves(folder):
    (folder / "data").mkdir()
    table()[3:].write_csv(folder / "data" / "a.csv")
    table()[:3].write_csv(folder / "data" / "b.csv")


def test_a_session_in_two_files_is_put_together_by_its_trial_numbers(tmp_path, own_task):
    halves(tmp_path)
    task = own_task('trial = "trial"\ndate = "day"')
    trials, _ = read_subject(tmp_path / "data", "csv", task, "ann")
    assert trials["stimulus"].to_list() == table()["stimulus"].to_list()
    assert trials["source_row"].to_list()[:6] == [1, 2, 3, 1, 2, 3]


def test_a_session_in_two_files_without_trial_numbers_is_refused_with_the_remedy(
    tmp_path, own_task
):
    halves(tmp_path)
    trials, report = read_subject(tmp_path / "data", "csv", own_task(), "ann")
    assert sessions_of(trials) == ["a1", "b2"]
    told = reasons(report, "duplicate_session")
    assert len(told) == 2
    assert (
        "rows 1 to 3 of a.csv: not used, a session of the same id is in rows 1 to 3 of b.csv"
        in told[0]
    )
    assert "columns.trial" in told[0]


# -- an order that cannot be told --------------------------------------------------------------


def with_value(column, row, value):
    values = table()[column].cast(pl.String).to_list()
    values[row] = value
    return table().with_columns(pl.Series(column, values))


OPEN = {
    "twice": ("trial", 8, "11", "'trial' is 11 at row 7 and at row 9"),
    "missing": ("trial", 8, None, "'trial' is empty at row 9"),
    "NaN": ("trial", 8, "nan", "'trial' is empty at row 9"),
    "word": ("trial", 8, "ninth", "'trial' is 'ninth' at row 9; write a number or a time"),
    "no date": ("day", 8, "soon", "'day' is 'soon' at row 9; write it as one of 2024-03-05"),
    "no number": ("nth", 8, "two", "'nth' is 'two' at row 9"),
}


@pytest.mark.parametrize("kind", OPEN)
def test_a_session_whose_order_is_open_is_left_out_and_the_row_named(tmp_path, own_task, kind):
    column, row, value, said = OPEN[kind]
    task = own_task('trial = "trial"\ndate = "day"\nsession_order = "nth"')
    trials, report = read(with_value(column, row, value), tmp_path, task)
    assert sessions_of(trials) == ["c0", "b2"]
    assert report.select("session", "n_trials").rows() == [("a1", 6)]
    assert said in report["reason"][0]


@pytest.mark.parametrize("column", ["day", "nth"])
def test_a_session_without_its_date_or_number_is_left_out(tmp_path, own_task, column):
    empty = pl.when(pl.col("session") != "a1").then(pl.col(column)).alias(column)
    task = own_task('date = "day"\nsession_order = "nth"')
    trials, report = read(table().with_columns(empty), tmp_path, task)
    assert sessions_of(trials) == ["c0", "b2"]
    assert f"{column!r} is empty; fill it in" in report["reason"][0]


def test_numbers_that_restart_need_the_column_they_restart_in(tmp_path, own_task):
    source = table().with_columns(number=pl.Series([1, 2, 3] * 6))
    trials, report = read(source, tmp_path, own_task('trial = "number"'))
    assert trials.is_empty()
    assert "columns.trial = ['block', 'trial']" in report["reason"][0]


def test_dates_that_can_be_read_in_two_ways_leave_the_subject_out_until_the_format_is_said(
    tmp_path, own_task
):
    days = pl.Series(["05/01/2024"] * 6 + ["06/01/2024"] * 6 + ["01/02/2024"] * 6)
    source = table().with_columns(day=days)
    trials, report = read(source, tmp_path, own_task('date = "day"'))
    assert trials.is_empty()
    assert report.select("level", "rule", "n_trials").rows() == [("subject", "session_date", 18)]
    said = 'date = { column = "day", format = "%d/%m/%Y" }'
    assert sessions_of(read(source, tmp_path, own_task(said))[0]) == ["c0", "a1", "b2"]


@pytest.mark.parametrize("key", ["trial", "date", "session_order"])
def test_a_column_that_orders_cannot_be_missing(tmp_path, own_task, key):
    table().write_csv(tmp_path / "all.csv")
    found = scan(tmp_path / "all.csv", "csv", own_task(f'{key} = "nowhere"'))
    assert not found.subjects
    assert "no column 'nowhere'" in found.report["reason"][0]


def test_a_format_that_cannot_be_is_refused(own_task):
    with pytest.raises(InputError, match="format = '%d/%m/%Y'"):
        own_task('date = { column = "day", format = "%Q" }')


def test_a_name_that_the_own_numbers_have_is_refused(own_task):
    with pytest.raises(InputError, match="cannot be called 'native_trial'"):
        own_task('trial = "trial"', '[extras]\nnative_trial = "trial"\n')


# -- natural order ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["s2", "s10"],
        ["2024-01-02_002", "2024-01-02_010", "2024-01-10_001"],
        ["1", "2", "10", "a"],
        ["d1p9", "d1p10", "d2p1"],
        ["9" * 5000, "1" + "0" * 5000],
    ],
)
def test_numbers_in_names_count_as_numbers(names):
    for some in itertools.permutations(names):
        assert sorted(some, key=natural_key) == names


# -- real people --------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path, test_data):
    """The motion task, whose trial numbers restart in each block, and its table of all people."""
    (tmp_path / "motion.toml").write_text(
        """
        extends = "two_afc"
        [columns]
        subject = "subj_idx"
        choice = "response"
        feedback = { sign_of = "motion" }
        trial = ["block", "trial"]
        session_order = "session"
        [[stimuli]]
        name = "motion"
        column = "stimulus"
        """
    )
    whole = pl.read_csv(test_data / "humans_motion_2afc.csv.gz")
    return load_task(tmp_path / "motion.toml"), whole


def test_scrambled_people_are_as_they_were(tmp_path, people):
    task, whole = people
    some = whole.filter(pl.col("subj_idx").is_in([2, 3]))
    some.write_csv(tmp_path / "in order.csv")
    scrambled(some).write_csv(tmp_path / "scrambled.csv")
    for name in ("2", "3"):
        expected, said = read_subject(tmp_path / "in order.csv", "csv", task, name)
        found, _ = read_subject(tmp_path / "scrambled.csv", "csv", task, name)
        assert said.is_empty()
        own = some.filter(pl.col("subj_idx") == int(name))
        assert expected["native_trial"].to_list() == own["trial"].to_list()
        assert_frame_equal(found.drop("source_row"), expected.drop("source_row"))


def test_a_block_that_was_begun_twice_leaves_its_session_out(people, test_data):
    task, _ = people
    trials, report = read_subject(test_data / "humans_motion_2afc.csv.gz", "csv", task, "1")
    assert sessions_of(trials) == ["1", "2"]
    assert "'block' is 1 and 'trial' is 4 at row" in report.filter(session="3")["reason"][0]
