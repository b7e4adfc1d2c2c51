"""Dates as people and devices write them: each read in the one way it can be, or refused."""

from datetime import datetime

import pytest

from glmhmm_core.trials.dates import FORMS, Ambiguous, read_dates, read_times

DAY = datetime(2024, 3, 25)
NOON = datetime(2024, 3, 25, 14, 30)

WRITTEN = {
    "2024-03-25": DAY,
    "2024-3-25": DAY,
    "2024/03/25": DAY,
    "2024_03_25": DAY,
    "20240325": DAY,
    "25.03.2024": DAY,
    "25.3.24": DAY,
    "25 Mar 2024": DAY,
    "25-Mar-2024": DAY,
    "25Mar2024": DAY,
    "Mar 25, 2024": DAY,
    "March 25, 2024": DAY,
    "03/25/2024": DAY,
    "25-03-2024": DAY,
    "2024-03-25 14:30": NOON,
    "2024-03-25T14:30:00Z": NOON,
    "2024-03-25T16:30:00+02:00": NOON,
    "2024-03-25 14:30:00.000000": NOON,
    "25.03.2024 14:30": NOON,
    "03/25/2024 2:30 PM": NOON,
    "2024-03-25_14-30-00": NOON,
    "20240325_143000": NOON,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_date_is_read_as_it_is_meant(text):
    assert read_dates([text]) == {text: WRITTEN[text]}


@pytest.mark.parametrize("text", ["", "907", "03-25", "yesterday", "2024-13-25", "14:30", "3.5"])
def test_what_is_no_date_is_none(text):
    assert read_dates([text]) == {text: None}


def test_the_forms_that_messages_name_are_read():
    forms = FORMS.replace("Mar 5, 2024", "Mar 5 2024").split(", ")
    found = read_dates([*forms, "03/25/2024"])
    assert {date.date() for date in found.values()} == {datetime(2024, 3, 5).date(), DAY.date()}


def test_all_dates_say_together_whether_the_day_comes_first():
    assert read_dates(["03/04/2024", "13/04/2024"])["03/04/2024"] == datetime(2024, 4, 3)
    assert read_dates(["03/04/2024", "04/13/2024"])["03/04/2024"] == datetime(2024, 3, 4)


def test_dates_whose_day_and_month_could_be_exchanged_are_refused():
    with pytest.raises(Ambiguous, match="'03/04/2024' can be 03 April 2024 or 04 March 2024"):
        read_dates(["03/04/2024", "05/06/2024"])


def test_a_broken_date_does_not_decide_which_way_the_others_are_read():
    with pytest.raises(Ambiguous):
        read_dates(["03/04/2024", "31/31/2024"])


def test_a_given_format_decides():
    found = read_dates(["03/04/2024", "25.3."], "%m/%d/%Y")
    assert found == {"03/04/2024": datetime(2024, 3, 4), "25.3.": None}


def test_times_without_a_date_are_seconds_since_midnight():
    assert read_times(["10:00:01.5", "0:01:23", "x"]) == [36001.5, 83.0, None]


def test_times_with_a_date_are_in_order_over_midnight():
    late, early = read_times(["2024-03-25 23:59:59", "2024-03-26 00:00:01"])
    assert early - late == 2


def test_times_without_a_date_are_in_order_over_midnight():
    early, late, later = read_times(["00:00:01", "23:59:59", "0:10:00"])
    assert early - late == 2
    assert later - early == 599


def test_a_long_pause_in_a_day_is_no_midnight():
    assert read_times(["22:30:00", "09:00:00"]) == [81000.0, 32400.0]
