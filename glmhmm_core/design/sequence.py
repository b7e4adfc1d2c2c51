"""Sequences straight from a data frame of one's own, without a task: arrays per subject."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from glmhmm_core.design.build import check_together
from glmhmm_core.design.traces import lagged
from glmhmm_core.errors import InputError


def build_sequence_from_df(
    df: pl.DataFrame,
    choice_col: str,
    feature_cols: Sequence[str],
    subject_col: str,
    session_col: str,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Take inputs, choices and masks of each subject from a data frame.

    Parameters
    ----------
    df
        One row per trial, the trials of a session together and in order.
    choice_col
        Class 0..C-1 of each trial; null, NaN or negative where no choice was made.
    feature_cols
        M columns of finite numbers, used as they stand: no history is added, no bias. One may be
        missing (null, NaN) where no choice was made; it is NaN then.
    subject_col, session_col
        Keys of each trial. Session boundaries come from the session column alone.

    Returns
    -------
    inputs : list of float64 (T, M)
        Regressors, one array per subject in order of first appearance.
    choices : list of int64 (T,)
        Classes, -1 where no choice was made.
    masks : list of bool (T,)
        True where a choice was made.

    Raises
    ------
    InputError
        It is no Polars data frame, a column is missing or of another type, a value is not
        finite or no class, or the trials of a session do not stand together.

    Examples
    --------
    >>> df = pl.DataFrame({"animal": ["a", "a"], "day": [1, 1], "x": [0.5, -1.0], "y": [1, None]})
    >>> inputs, choices, masks = build_sequence_from_df(df, "y", ["x"], "animal", "day")
    >>> choices[0].tolist(), masks[0].tolist()
    ([1, -1], [True, False])
    """
    inputs, choices, masks = [], [], []
    for part, where in _subjects(df, [choice_col, *feature_cols], subject_col, session_col):
        made = _classes(part[choice_col], where)
        inputs.append(
            np.column_stack([_numbers(part[name], where, made >= 0) for name in feature_cols])
        )
        choices.append(made)
        masks.append(made >= 0)
    return inputs, choices, masks


def build_sequence_from_df_2afc(
    df: pl.DataFrame,
    choice_col: str,
    contrast_L_col: str,
    contrast_R_col: str,
    subject_col: str,
    session_col: str,
    history_lags: int = 1,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Take signed contrasts, previous choices, choices and masks of each subject.

    As :func:`build_sequence_from_df` otherwise. No bias is added: ``np.insert(x, 0, 1.0, axis=1)``
    puts one in front.

    Parameters
    ----------
    df, subject_col, session_col
        As there.
    choice_col
        0 for left, 1 for right; null, NaN or negative where no choice was made.
    contrast_L_col, contrast_R_col
        Contrast on either side; where one is missing and the other is not, it is 0. Both may be
        missing where no choice was made.
    history_lags
        How many previous choices, 0 or more.

    Returns
    -------
    inputs : list of float64 (T, 1 + history_lags)
        Right minus left contrast, then the last choice (-1 left, 1 right), the last but one, and
        so on: 0 where the session had fewer. A trial without a choice is passed over.
    choices, masks
        As there.

    Raises
    ------
    InputError
        As there; both contrasts of a trial are missing, or a choice is neither 0 nor 1.

    Examples
    --------
    >>> trials = {"id": ["a"] * 3, "day": [1] * 3, "y": [0, 1, 1]}
    >>> df = pl.DataFrame({**trials, "L": [0.5, 0.0, None], "R": [0.0, 1.0, 0.25]})
    >>> inputs, _, _ = build_sequence_from_df_2afc(df, "y", "L", "R", "id", "day", history_lags=2)
    >>> inputs[0].tolist()
    [[-0.5, 0.0, 0.0], [1.0, -1.0, 0.0], [0.25, 1.0, -1.0]]
    """
    if history_lags < 0:
        raise InputError(
            f"history_lags is {history_lags}",
            where="build_sequence_from_df_2afc",
            remedy="Give the number of previous choices, or 0.",
        )
    inputs, choices, masks = [], [], []
    columns = [choice_col, contrast_L_col, contrast_R_col]
    for part, where in _subjects(df, columns, subject_col, session_col):
        made = _classes(part[choice_col], where)
        if (made > 1).any():
            raise InputError(
                f"choice {made.max()} at row {made.argmax()} of the subject is neither 0 nor 1",
                where=where,
                remedy="Code left as 0 and right as 1; more choices need build_sequence_from_df.",
            )
        left, right = (
            _numbers(part[name], where, np.zeros(len(made), bool))
            for name in (contrast_L_col, contrast_R_col)
        )
        nothing = np.isnan(left) & np.isnan(right)
        unknown = np.flatnonzero(nothing & (made >= 0))
        if unknown.size:
            raise InputError(
                f"both contrasts are missing at row {unknown[0]} of the subject",
                where=where,
                remedy="Fill one in, or make that trial's choice null.",
            )
        signed = np.nan_to_num(right, nan=0.0) - np.nan_to_num(left, nan=0.0)
        signed[nothing] = np.nan
        history = np.empty((len(made), 0))
        if history_lags:
            sides, sessions = np.where(made > 0, 1.0, -1.0), part[session_col].to_numpy()
            history = lagged(sides[:, None], made >= 0, sessions, history_lags)
        inputs.append(np.column_stack([signed, history]))
        choices.append(made)
        masks.append(made >= 0)
    return inputs, choices, masks


def _subjects(
    df: pl.DataFrame, columns: Sequence[str], subject_col: str, session_col: str
) -> Iterator[tuple[pl.DataFrame, str]]:
    """Rows of each subject in order of first appearance, checked, and what an error calls it."""
    if not isinstance(df, pl.DataFrame):
        raise InputError(
            f"a {type(df).__name__} is no Polars data frame",
            where="build_sequence_from_df",
            remedy="Call .collect() on a lazy one; polars.from_pandas makes one of pandas', and "
            "polars.DataFrame of a dictionary of columns.",
        )
    wanted = [*columns, subject_col, session_col]
    missing = [name for name in wanted if name not in df.columns]
    if missing:
        raise InputError(
            f"no column {', '.join(map(repr, missing))}",
            where="build_sequence_from_df",
            remedy=f"There are {', '.join(df.columns)}.",
        )
    for part in df.select(*dict.fromkeys(wanted)).partition_by(subject_col, maintain_order=True):
        where = f"subject {part[subject_col][0]}"
        check_together(part[session_col].to_numpy(), where)
        yield part, where


def _numbers(column: pl.Series, where: str, needed: np.ndarray) -> np.ndarray:
    """A column as float64; NaN where a value is missing, which must not be where ``needed``."""
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise InputError(
            f"column {column.name!r} holds {column.dtype}, not numbers",
            where=where,
            remedy="Convert it to numbers.",
        )
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    bad = np.flatnonzero(np.isinf(values) | (np.isnan(values) & needed))
    if bad.size:
        raise InputError(
            f"column {column.name!r} is {values[bad[0]]} at row {bad[0]} of the subject",
            where=where,
            remedy="Fill it in, or make that trial's choice null.",
        )
    return values


def _classes(column: pl.Series, where: str) -> np.ndarray:
    values = _numbers(column, where, np.zeros(len(column), bool))
    values = np.where(np.isnan(values) | (values < 0), -1.0, values)
    bad = np.flatnonzero(values != np.round(values))
    if bad.size:
        raise InputError(
            f"choice {values[bad[0]]} at row {bad[0]} of the subject is no class",
            where=where,
            remedy="Number the choices 0, 1, ... and leave out or make negative what is none.",
        )
    return values.astype(np.int64)
