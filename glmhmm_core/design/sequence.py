"""Sequences straight from a data frame of one's own, without a task: arrays per subject."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from glmhmm_core.design.build import check_together
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
        M columns of finite numbers, used as they stand: no history is added, no bias.
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
    if not isinstance(df, pl.DataFrame):
        raise InputError(
            f"a {type(df).__name__} is no Polars data frame",
            where="build_sequence_from_df",
            remedy="polars.from_pandas makes one of a pandas data frame.",
        )
    wanted = [choice_col, *feature_cols, subject_col, session_col]
    missing = [name for name in wanted if name not in df.columns]
    if missing:
        raise InputError(
            f"no column {', '.join(map(repr, missing))}",
            where="build_sequence_from_df",
            remedy=f"There are {', '.join(df.columns)}.",
        )
    inputs, choices, masks = [], [], []
    for part in df.select(*dict.fromkeys(wanted)).partition_by(subject_col, maintain_order=True):
        where = f"subject {part[subject_col][0]}"
        check_together(part[session_col].to_numpy(), where)
        inputs.append(np.column_stack([_numbers(part[name], where) for name in feature_cols]))
        choices.append(_classes(part[choice_col], where))
        masks.append(choices[-1] >= 0)
    return inputs, choices, masks


def _numbers(column: pl.Series, where: str, allow_missing: bool = False) -> np.ndarray:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise InputError(
            f"column {column.name!r} holds {column.dtype}, not numbers",
            where=where,
            remedy="Convert it to numbers.",
        )
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    bad = np.flatnonzero(np.isinf(values) | (np.isnan(values) & (not allow_missing)))
    if bad.size:
        raise InputError(
            f"column {column.name!r} is {values[bad[0]]} at row {bad[0]} of the subject",
            where=where,
            remedy="Fill it in, or leave that trial's session out.",
        )
    return values


def _classes(column: pl.Series, where: str) -> np.ndarray:
    values = _numbers(column, where, allow_missing=True)
    values = np.where(np.isnan(values) | (values < 0), -1.0, values)
    bad = np.flatnonzero(values != np.round(values))
    if bad.size:
        raise InputError(
            f"choice {values[bad[0]]} at row {bad[0]} of the subject is no class",
            where=where,
            remedy="Number the choices 0, 1, ... and leave out or make negative what is none.",
        )
    return values.astype(np.int64)
