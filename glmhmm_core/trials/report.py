"""The report of reading and cleaning: a row per subject, session, file or run of trials.

A row says what was dropped or altered. The trials of rows with ``dropped`` and those that are kept
are together all that were read: a trial that two rules would drop is counted by the first. A row
with ``warning`` says that nothing was dropped or changed, but that something looks wrong and what
to do about it.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import polars as pl

#: ``level`` is file, subject, session or trial; a run of consecutive trials is one row.
REPORT_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "session": pl.String(),  # null for a whole subject
    "level": pl.String(),
    "first_trial": pl.Int64(),  # null unless level is trial
    "last_trial": pl.Int64(),
    "n_trials": pl.Int64(),  # trials concerned
    "rule": pl.String(),  # short name of the rule, e.g. min_sessions
    "reason": pl.String(),  # one sentence for a person
    "dropped": pl.Boolean(),  # True: n_trials trials are left out by it; null if unknown how many
    "warning": pl.Boolean(),  # True: nothing was dropped or changed, but this looks wrong
}


#: Rules of rows that tell how a folder was taken, and of no trouble.
INFORMATIVE = ("not_read", "text_form")


class ReportRow(NamedTuple):
    """One row of a report; fields as in ``REPORT_SCHEMA``."""

    level: Literal["file", "subject", "session", "trial"]
    rule: str
    reason: str
    subject: str | None = None
    session: str | None = None
    first_trial: int | None = None
    last_trial: int | None = None
    n_trials: int | None = None
    dropped: bool = False
    warning: bool = False


def report_frame(rows: Iterable[ReportRow]) -> pl.DataFrame:
    """Rows as a table of ``REPORT_SCHEMA``, in the order given."""
    return pl.DataFrame([row._asdict() for row in rows], schema=REPORT_SCHEMA)
