"""Values as they stand in files, made canonical: numbers, codes and text."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

from glmhmm_core.tasks.task import Code

#: What files write for a value that is not there.
MISSING = ("", "na", "n/a", "nan", "null", "none", "<na>", "#n/a", "nat")


class Converted(NamedTuple):
    """A column as float64 (T,), NaN where missing; and the row of the first bad value, if any."""

    values: np.ndarray
    first_bad: int | None


def to_numbers(column: pl.Series) -> Converted:
    """Read a column as numbers; missing and infinite values become NaN."""
    if column.dtype == pl.String:
        text = pl.lit(column).str.strip_chars()
        there = text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING)
        number = pl.when(there).then(text.cast(pl.Float64, strict=False))
        found = pl.select(number.alias("number"), bad=there & number.is_null())
        values = found["number"].to_numpy()
        bad = np.flatnonzero(found["bad"].to_numpy())
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        values, bad = column.to_numpy().astype(np.float64), np.flatnonzero([])
    else:
        return Converted(np.full(len(column), np.nan), 0)
    return Converted(
        np.where(np.isfinite(values), values, np.nan), int(bad[0]) if bad.size else None
    )


def to_classes(column: pl.Series, classes: Mapping[Code, int | None]) -> Converted:
    """Read a column of codes as classes; missing values become NaN.

    Parameters
    ----------
    column
        Numbers, text or truth values (0 and 1).
    classes
        Class of each code; None for a code that means that there is none, as every missing
        value does.
    """
    class_of = {_key(code): value for code, value in classes.items()}
    entries = column.to_list()
    keys = {entry: _key(entry) for entry in set(entries)}
    bad = {entry for entry, key in keys.items() if key is not None and key not in class_of}
    values = np.array([class_of.get(keys[entry]) for entry in entries], dtype=np.float64)
    first_bad = next((row for row, entry in enumerate(entries) if entry in bad), None)
    return Converted(values, first_bad if bad else None)


def to_text(column: pl.Series) -> pl.Series:
    """Read a column as text; missing values become null."""
    text = column.cast(pl.String, strict=False).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(MISSING), None)


def _key(value: object) -> Code | None:
    """Bring codes of data and task to one form: ``"1.0"``, 1 and true are 1.0, missing is None."""
    text = str(value).strip()
    if text.lower() in MISSING:
        return None
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return text
