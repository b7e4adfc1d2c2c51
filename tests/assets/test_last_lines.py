"""The last lines of a run: few, in plain words, each with where to look further."""

import dagster as dg

from glmhmm_assets.last_lines import listed_by_checks, warning_lines


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


def warned(subject, rule="copy", session=""):
    return {"subject": subject, "session": session, "rule": rule, "what": f"{rule} of {subject}"}


def test_a_warning_names_subject_and_session():
    assert list(warning_lines([warned("a", session="s1")], "mice")) == [
        "please look at a: s1: copy of a"
    ]


def test_two_hundred_subjects_with_one_warning_take_one_line():
    lines = [warned(f"m{i}") for i in range(200)] + [warned("m3", "sign")]
    assert list(warning_lines(lines, "mice")) == [
        "please look at m0: copy of m0 (199 more: `glmhmm check mice`)",
        "please look at m3: sign of m3",
    ]
