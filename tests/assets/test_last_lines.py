"""The last lines of a run: few, in plain words, each with where to look further."""

import dagster as dg
import polars as pl
import pytest

from glmhmm_assets.defs import checks
from glmhmm_assets.last_lines import (
    CHECKS,
    LONGEST,
    TOLD_OTHERWISE,
    Outcome,
    last_lines,
    listed_by_checks,
)


def events_of(*passed: bool, lines=({"subject": "a", "what": "odd"},)):
    """Events of a run whose asset has the check "fine", evaluated once for each."""

    @dg.asset(check_specs=[dg.AssetCheckSpec(f"fine_{i}", asset="x") for i in range(len(passed))])
    def x():
        table = dg.MetadataValue.table([dg.TableRecord(line) for line in lines])
        yield dg.Output(1)
        for i, good in enumerate(passed):
            yield dg.AssetCheckResult(
                check_name=f"fine_{i}", passed=good, metadata={} if good else {"list": table}
            )

    return dg.materialize([x]).all_events


def test_lists_of_checks_that_passed_are_not_told():
    assert list(listed_by_checks(events_of(True, False))) == ["fine_1"]


def test_a_line_that_two_runs_tell_is_told_once():
    events = events_of(False) + events_of(False)
    assert listed_by_checks(events) == {"fine_0": [{"subject": "a", "what": "odd"}]}


def told(fitted=("z",), left_out=None, held=None, problems=(), **found):
    outcome = Outcome(tuple(fitted), left_out or {}, held or {}, tuple(problems), found)
    return [line.text for line in last_lines(outcome, "mice")]


def warned(subject, rule="copy", session=""):
    return {"subject": subject, "session": session, "rule": rule, "what": f"{rule} of {subject}"}


def test_a_run_in_which_all_is_well_has_nothing_to_tell():
    assert told() == []


def test_a_warning_names_subject_and_session():
    assert told(data_plausible=[warned("a", session="s1")]) == ["please look at a: s1: copy of a"]


def test_two_hundred_subjects_with_one_warning_take_one_line():
    lines = [warned(f"m{i}") for i in range(200)] + [warned("m3", "sign")]
    assert told(data_plausible=lines) == [
        "please look at m0: copy of m0 (199 more: `glmhmm check mice`)",
        "please look at m3: sign of m3",
    ]


def test_the_most_costly_comes_first():
    lines = told(
        left_out={"b": "too short"},
        held={"c": "held: it is odd. The earlier fit stands."},
        problems=["weights: it broke"],
        converged=[{"subject": "d", "what": "K = 2: stopped after 7 iterations"}],
        data_plausible=[warned("e")],
    )
    assert lines == [
        "failed: weights: it broke",
        "b is left out: too short",
        "the new fit of c is held: it is odd. The earlier fit stands. "
        "`glmhmm promote mice -s c` lets the new one stand.",
        "please look at e: copy of e",
        "stopped before it converged: d: K = 2: stopped after 7 iterations",
    ]


@pytest.mark.parametrize(
    ("kind", "where"),
    [("left_out", "`glmhmm check mice`"), ("held", "Dagster pages")],
)
def test_many_subjects_take_few_lines_that_say_where_the_others_are(kind, where):
    *lines, last = told(**{kind: {f"m{i}": "why" for i in range(40)}})
    assert len(lines) == 5
    assert last.startswith("and 35 more ")
    assert where in last


def test_many_failed_steps_take_few_lines():
    lines = told(problems=[f"step {i}" for i in range(40)])
    assert len(lines) == 6
    assert lines[-1].startswith("and 35 more steps that failed")


def test_a_check_takes_one_line_for_all_its_subjects():
    lines = [{"subject": f"m{i}", "what": "K = 2: state 1 holds 3.0%"} for i in range(40)]
    assert told(states_occupied=lines) == [
        "states that are hardly ever visited, 40 subjects; m0: K = 2: state 1 holds 3.0% "
        "(check states_occupied of mice in the Dagster pages lists all)"
    ]


def test_a_subject_that_is_left_out_is_not_told_again_by_a_check():
    line = {"subject": "b", "what": "too short"}
    assert told(left_out={"b": "too short"}, subjects_fitted=[line], files_usable=[line]) == [
        "b is left out: too short"
    ]


def test_a_file_that_is_not_used_is_told():
    assert told(files_usable=[{"subject": "", "what": "x.csv: no columns"}]) == [
        "not used: x.csv: no columns"
    ]


def test_a_reason_of_many_lines_is_one_line_and_short():
    (line,) = told(problems=["a\nb " + "c" * 1000])
    assert line.startswith("failed: a b ccc")
    assert len(line) < LONGEST + 20


def test_every_check_is_told_in_plain_words_or_otherwise():
    tables = (checks._CLEANING, checks._PLAUSIBLE, checks._FITS, checks._ERRORS)
    names = {name for table in (*tables, checks._PREDICTIONS) for name in table}
    assert names <= {*CHECKS, *TOLD_OTHERWISE}


def test_a_check_that_nobody_worded_is_told_by_its_name():
    assert told(new_one=[{"subject": "a", "what": "odd"}]) == [
        "the check 'new_one' did not pass: a: odd"
    ]


def test_a_reversed_sign_is_among_the_last_lines_of_a_run(make_home):
    home = make_home(a=1, b=2)
    home.add("a", "b")
    for name in "ab":
        file = home.sessions / f"{name}.csv"
        pl.read_csv(file).with_columns(-pl.col("stimulus")).write_csv(file)
    run = home.run(assets=["cleaned_sessions", "cleaning_report"])
    (line,) = told(**listed_by_checks(run.all_events))
    assert line.startswith("please look at a: the correct side (by choice and outcome) is not that")
    assert "its sign looks reversed" in line
    assert line.endswith("(1 more: `glmhmm check mice`)")
