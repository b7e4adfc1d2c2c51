"""The canonical trial table: the one schema that every reader writes and everything else reads.

One row per recorded trial, in the order in which they were done; sessions of a subject in
chronological order. Keys are (subject, session, trial); ``source_row`` leads back to the file, and
where the task names columns that number the trials, ``native_<column>`` holds them.
"""

import polars as pl

#: Columns every trial table has, in this order. A task adds behind them ``ORDER_SCHEMA`` and its
#: ``native_<column>`` (Float64), then its stimulus and extra columns (Float64 or String).
TRIAL_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "session": pl.String(),
    "trial": pl.Int64(),  # place in its session, from 0
    "source_row": pl.Int64(),  # row of its file, from 1 below the header; in ALF arrays, from 1
    "choice": pl.Int8(),  # class 0..C-1; null where none was made
    "feedback": pl.Int8(),  # +1 rewarded, -1 not; null where unknown
    "response_time": pl.Float64(),  # seconds; null where unknown
    "block": pl.Float64(),  # block of the task (IBL: probability of a left stimulus)
}

#: Columns that say when a session was, of tasks that name a column for it.
ORDER_SCHEMA: dict[str, pl.DataType] = {
    "session_date": pl.Datetime("us"),  # its earliest, in UTC if the file has a zone
    "session_order": pl.Float64(),
}

#: Columns that cleaning adds. A trial outside the chain still feeds the history regressors.
CLEANING_SCHEMA: dict[str, pl.DataType] = {
    "in_chain": pl.Boolean(),  # the trial is part of the sequence that models are fitted to
    "masked": pl.Boolean(),  # in the chain, but its choice is treated as not made
}

KEYS = ("subject", "session", "trial")
