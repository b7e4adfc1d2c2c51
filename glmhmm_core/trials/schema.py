"""The canonical trial table: the one schema that every reader writes and everything else reads.

One row per recorded trial, in the order of recording; sessions of a subject in chronological
order. Keys are (subject, session, trial).
"""

import polars as pl

#: Columns every trial table has, in this order. A task adds its stimulus and extra columns
#: (Float64 or String) behind them.
TRIAL_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "session": pl.String(),
    "trial": pl.Int64(),  # row of the source within its session, from 0
    "choice": pl.Int8(),  # class 0..C-1; null where none was made
    "feedback": pl.Int8(),  # +1 rewarded, -1 not; null where unknown
    "response_time": pl.Float64(),  # seconds; null where unknown
    "block": pl.Float64(),  # block of the task (IBL: probability of a left stimulus)
}

#: Columns that cleaning adds. A trial outside the chain still feeds the history regressors.
CLEANING_SCHEMA: dict[str, pl.DataType] = {
    "in_chain": pl.Boolean(),  # the trial is part of the sequence that models are fitted to
    "masked": pl.Boolean(),  # in the chain, but its choice is treated as not made
}

KEYS = ("subject", "session", "trial")
