"""Arrays as users give them (lists, columns of data frames, masked arrays), as NumPy arrays.

Everything that takes arrays from Python converts them here.
"""

from typing import Any

import numpy as np

from glmhmm_core.errors import InputError


def numbers(name: str, values: Any, where: str) -> np.ndarray:
    """Values as float64; NaN where one is missing: masked, null or NaN.

    Parameters
    ----------
    name
        Name of the values, for the message.
    values
        Numbers or booleans: an array, a masked array, a list, a pandas or polars column or frame.
    where
        What an error names as its place.

    Raises
    ------
    InputError
        Something else than a number is among them.
    """
    shown, hidden = _unmasked(values)
    try:
        if hasattr(shown, "isna"):  # pandas: its NA is no number to NumPy
            missing, shown = np.asarray(shown.isna()), np.array(shown, dtype=object)
            shown[missing] = np.nan
        found = np.asarray(shown)
        if found.dtype.kind not in "biufO":
            raise TypeError(f"its type is {found.dtype}")
        found = found.astype(np.float64, copy=False)
        return found if hidden is None else np.where(hidden, np.nan, found)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} holds what is no number ({error})",
            where=where,
            remedy="Give an array of numbers, choices as 0..C-1.",
        ) from error


def classes(
    name: str,
    values: Any,
    mask: Any,
    where: str,
    *,
    shape: tuple[int, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers with what counts of them.

    Parameters
    ----------
    values
        (T,), or a column (T, 1): whole numbers as integers, floats or booleans. An entry that a
        NumPy masked array masks does not count.
    mask
        True where an entry counts; None for all.
    shape
        Shape that is wanted, where it may be another than (T,): one axis of length 1 more is
        taken off.

    Returns
    -------
    classes : int64
        In the shape of ``values``, of a column (T,); -1 where none counts.
    counted : bool
        Of the same shape.

    Raises
    ------
    InputError
        An entry that counts is missing or no whole number.
    """
    found, hidden = numbers(name, values, where), _unmasked(values)[1]
    counted = np.ones(found.shape, bool) if hidden is None else ~hidden
    if shape is None:
        found, counted = without_column(found), without_column(counted)
    elif found.shape == (*shape, 1):
        found, counted = found[..., 0], counted[..., 0]
    if mask is not None:
        given = flags("mask", mask, where)
        if given.shape != found.shape:
            raise InputError(
                f"mask has shape {given.shape} for {found.shape} choices",
                where=where,
                remedy="Give one entry per trial.",
            )
        counted = counted & given
    kept = found[counted]
    if not (np.isfinite(kept) & (kept == np.round(kept))).all():
        raise InputError(
            "a choice is not a whole number",
            where=where,
            remedy="Code the classes as 0..C-1, and mark a missing choice in the mask.",
        )
    return np.where(counted, np.nan_to_num(found), -1).astype(np.int64), counted


def seen(X: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Regressors (T, M), 0 where they are not finite and no choice counts: no weight sees them.

    What is not finite where a choice counts stays, and arrays that do not fit stay as they are.
    """
    if X.ndim != counted.ndim + 1 or X.shape[:-1] != counted.shape:
        return X
    return np.where(counted[..., None] | np.isfinite(X), X, 0.0)


def flags(name: str, values: Any, where: str) -> np.ndarray:
    """True and false, given as booleans or as 1 and 0: bool (T,), of a column (T, 1) too.

    Raises
    ------
    InputError
        Something else is among them.
    """
    found = without_column(numbers(name, values, where))
    wrong = np.argwhere((found != 0) & (found != 1))  # NaN included
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise InputError(
            f"{name} is {found[at]:g} in row {at[0]}",
            where=where,
            remedy="Give true where a choice counts and false where it does not.",
        )
    return found.astype(bool)


def labels(name: str, values: Any, where: str) -> np.ndarray:
    """Names of any kind, one per trial: (T,), of a column (T, 1) too; None where one is missing.

    Raises
    ------
    InputError
        They make no array.
    """
    shown, missing = _unmasked(values)
    if hasattr(shown, "isna"):
        missing = np.asarray(shown.isna())
    try:
        found = np.asarray(shown)
    except ValueError as error:  # lists of different lengths
        raise InputError(
            f"{name} make no array ({error})", where=where, remedy="Give one name per trial."
        ) from error
    if missing is not None and missing.any():
        found = found.astype(object)
        found[missing] = None
    return without_column(found)


def without_column(values: np.ndarray) -> np.ndarray:
    """A column (T, 1) as (T,); anything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _unmasked(values: Any) -> tuple[Any, np.ndarray | None]:
    """Values without NumPy's masks, and where these hide one; None where there is no mask.

    ``np.asarray`` drops the mask of a masked array, and those of its parts, without a word.
    """
    if np.ma.isMaskedArray(values):
        return values.data, np.ma.getmaskarray(values)
    if isinstance(values, list | tuple) and any(map(np.ma.isMaskedArray, values)):
        parts = [_unmasked(value) for value in values]
        hidden = [np.zeros(np.shape(d), bool) if h is None else h for d, h in parts]
        return [data for data, _ in parts], np.asarray(hidden)
    return values, None
