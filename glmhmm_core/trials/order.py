"""The order of trials in a session, and of sessions in a subject, by columns of the files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from glmhmm_core.trials.dates import read_times
from glmhmm_core.trials.values import to_numbers, to_text


class OrderFault(Exception):
    """A row that cannot be put in order.

    Attributes
    ----------
    key
        Which of the columns is at fault; None for all of them together.
    row, other
        The row, and the one that says the same; None unless two do.
    """

    def __init__(self, key: int | None, row: int, other: int | None = None) -> None:
        self.key, self.row, self.other = key, row, other


class InOrder(NamedTuple):
    """Rows (T,) in their order, and the values (T,) of each column in that order."""

    rows: np.ndarray
    values: list[np.ndarray]


def order_rows(keys: Sequence[pl.Series]) -> InOrder:
    """Order rows by columns of numbers or times, by the first before the second.

    Raises
    ------
    OrderFault
        A value is missing, or neither a number nor a time; or two rows say the same.
    """
    values = []
    for index, key in enumerate(keys):
        numbers = to_order(key)
        if np.isnan(numbers).any():
            raise OrderFault(index, int(np.flatnonzero(np.isnan(numbers))[0]))
        values.append(numbers)
    rows = np.lexsort(values[::-1])
    ordered = [numbers[rows] for numbers in values]
    same = np.all([np.diff(numbers) == 0 for numbers in ordered], axis=0)
    if same.any():
        first = int(np.flatnonzero(same)[0])
        raise OrderFault(None, int(rows[first]), int(rows[first + 1]))
    return InOrder(rows, ordered)


def to_order(column: pl.Series) -> np.ndarray:
    """Read a column as numbers, or as times in seconds if it holds more of these; else NaN."""
    converted = to_numbers(column)
    if converted.first_bad is None or column.dtype != pl.String:
        return converted.values
    times = read_times(to_text(column).fill_null("").to_list())
    seconds = np.array([np.nan if time is None else time for time in times])
    more = np.isfinite(seconds).sum() > np.isfinite(converted.values).sum()
    return seconds if more else converted.values
