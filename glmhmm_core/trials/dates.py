"""Dates and times as people and devices write them, read without guessing.

A form that can be read in one way only is read so. Where day and month (or the year) could be
exchanged, all dates of a subject decide together, and what stays open is refused.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

#: The forms that are read, for messages.
FORMS = (
    "2024-03-05, 2024-03-05 14:30:00, 2024-03-05T14:30:00Z, 20240305, 2024/03/05, 05.03.2024, "
    "5 Mar 2024, Mar 5, 2024, 03/05/2024"
)

_CLOCK = (
    r"(?:(?P<h>\d{1,3}):(?P<m>\d{2})(?::(?P<s>\d{2}(?:[.,]\d+)?))?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
    r"|(?P<h2>\d{2})-(?P<m2>\d{2})-(?P<s2>\d{2})|(?P<h3>\d{2})(?P<m3>\d{2})(?P<s3>\d{2}))"
)
_ZONE = r"(?:\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2}))?"
_CLOCK_ALONE = re.compile(_CLOCK.split("|(?P<h2>")[0] + ")")
_DATE_AND_CLOCK = re.compile(rf"(?P<date>.+?)(?:(?:[T_]|,?\s+){_CLOCK}{_ZONE})?")

#: Forms of a date, with the orders that their parts ``a``, ``b``, ``c`` may have.
_FORMS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"(?P<a>\d{4})[-/._](?P<b>\d{1,2})[-/._](?P<c>\d{1,2})"), ("ymd",)),
    (re.compile(r"(?P<a>\d{4})(?P<b>\d{2})(?P<c>\d{2})"), ("ymd",)),
    (re.compile(r"(?P<a>\d{1,2})\.(?P<b>\d{1,2})\.(?P<c>\d{4}|\d{2})"), ("dmy",)),
    (re.compile(r"(?P<a>\d{1,2})[-/ ]?(?P<b>[^\W\d]{3,9})\.?[-/, ]*(?P<c>\d{4}|\d{2})"), ("dmy",)),
    (re.compile(r"(?P<a>[^\W\d]{3,9})\.?[- ]?(?P<b>\d{1,2})[-, ]+(?P<c>\d{4})"), ("mdy",)),
    (re.compile(r"(?P<a>\d{1,2})[-/_](?P<b>\d{1,2})[-/_](?P<c>\d{4})"), ("dmy", "mdy")),
    (re.compile(r"(?P<a>\d{2})[-/_]?(?P<b>\d{2})[-/_]?(?P<c>\d{2})"), ("ymd", "dmy", "mdy")),
)
#: Seconds of a day, and of the longest pause between trials of a session that began that day.
_DAY, _LONGEST_GAP = 86_400.0, 18 * 3600.0
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


class Ambiguous(Exception):
    """Dates that can be read in several ways; the message names one of them."""


@dataclass(frozen=True)
class _Reading:
    """One form's parts in one date."""

    form: int
    parts: tuple[str, str, str]
    clock: timedelta
    text: str


def read_dates(texts: Iterable[str], written_as: str | None = None) -> dict[str, datetime | None]:
    """Read dates that were written by the same hand.

    Parameters
    ----------
    texts
        The dates, with a time of day or without.
    written_as
        Their format as ``datetime.strptime`` has it; found out when left out.

    Returns
    -------
    dict
        Each text's date, without a zone (times with one are in UTC); None where it is none.

    Raises
    ------
    Ambiguous
        Day, month or year of some of them could be exchanged, and no other of them says.
    """
    distinct = dict.fromkeys(texts)
    if written_as is not None:
        return {text: _as_written(text, written_as) for text in distinct}
    readings = [reading for text in distinct if (reading := _reading(text)) is not None]
    found: dict[str, datetime | None] = dict.fromkeys(distinct)
    for form in {reading.form for reading in readings}:
        same = [reading for reading in readings if reading.form == form]
        found |= _read_alike(same, _FORMS[form][1])
    return found


def read_times(texts: Sequence[str]) -> list[float | None]:
    """Read times of one session, with a date or without, as seconds; None where it is none.

    With a date the seconds are since 1970, without since midnight of the day on which the session
    began: where more than 18 hours lie between neighboring times of day, the session went on after
    midnight.
    """
    clocks = {text: _CLOCK_ALONE.fullmatch(text.strip()) for text in texts}
    found = {text: _clock(match).total_seconds() for text, match in clocks.items() if match}
    seconds: dict[str, float | None] = dict(
        zip(found, _after_midnight(list(found.values())), strict=True)
    )
    try:
        dates: Mapping[str, datetime | None] = read_dates(t for t in clocks if not clocks[t])
    except Ambiguous:
        dates = {}
    for text, date in dates.items():
        seconds[text] = date.replace(tzinfo=UTC).timestamp() if date else None
    return [seconds.get(text) for text in texts]


def _after_midnight(clocks: Sequence[float]) -> list[float]:
    """Times of day of one session in seconds, a day later behind a midnight within the session."""
    for before, after in pairwise(sorted(clocks)):
        if after - before > _LONGEST_GAP and max(clocks) < _DAY:
            return [clock + _DAY if clock <= before else clock for clock in clocks]
    return list(clocks)


def _read_alike(readings: Sequence[_Reading], orders: Sequence[str]) -> dict[str, datetime | None]:
    """Read dates of one form in the one order of their parts that fits them all."""
    tried = [{r.text: _date(r, order) for r in readings} for order in orders]
    counts = [sum(date is not None for date in dates.values()) for dates in tried]
    first, *others = [d for d, count in zip(tried, counts, strict=True) if count == max(counts)]
    for other in others:
        for text, date in first.items():
            another = other[text]
            if date != another and date is not None and another is not None:
                raise Ambiguous(f"{text!r} can be {date:%d %B %Y} or {another:%d %B %Y}")
    return first


def _reading(text: str) -> _Reading | None:
    whole = _DATE_AND_CLOCK.fullmatch(text.strip())
    if whole is None:
        return None
    for form, (pattern, _) in enumerate(_FORMS):
        parts = pattern.fullmatch(whole["date"])
        if parts:
            return _Reading(form, (parts["a"], parts["b"], parts["c"]), _clock(whole), text)
    return None


def _date(reading: _Reading, order: str) -> datetime | None:
    """Read the parts of a date in an order such as ``dmy``; None if there is no such day."""
    part = dict(zip(order, reading.parts, strict=True))
    year = int(part["y"])
    if len(part["y"]) == 2:
        year += 1900 if year >= 70 else 2000
    month = part["m"]
    if not month.isdigit():
        known = [i for i, name in enumerate(_MONTHS, 1) if month.lower().startswith(name)]
        month = str(known[0]) if known else "0"
    try:
        return datetime(year, int(month), int(part["d"])) + reading.clock
    except (ValueError, OverflowError):
        return None


def _clock(match: re.Match[str]) -> timedelta:
    """Time of day, in UTC if it has a zone."""
    got = match.groupdict()
    hours, minutes, seconds = (
        float((got.get(n) or got.get(f"{n}2") or got.get(f"{n}3") or "0").replace(",", "."))
        for n in "hms"
    )
    if got.get("half"):
        hours = hours % 12 + (12 if got["half"].lower() == "p" else 0)
    zone = got.get("zone")
    ahead = timedelta()
    if zone and zone[0] in "+-":
        digits = zone[1:].replace(":", "")
        ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        ahead = -ahead if zone[0] == "-" else ahead
    return timedelta(hours=hours, minutes=minutes, seconds=seconds) - ahead


def _as_written(text: str, written_as: str) -> datetime | None:
    try:
        date = datetime.strptime(text.strip(), written_as)
    except ValueError:
        return None
    return date.astimezone(UTC).replace(tzinfo=None) if date.tzinfo else date
