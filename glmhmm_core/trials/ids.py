"""Ids of subjects and sessions: different spellings of one id, and values that are none."""

import re
from collections.abc import Iterable, Sequence

import polars as pl

from glmhmm_core.trials.values import to_text

_WHOLE = r"[0-9]+(\.0*)?"
_DECIMALS = r"\.0*$"


def to_ids(column: pl.Series) -> pl.Series:
    """Read a column of ids: text without space around it, null for every missing value."""
    return to_text(column)


def are_whole(ids: pl.Series) -> bool:
    """True if all ids that are there are whole numbers, such as 907 or 907.0."""
    return bool(ids.str.contains(f"^{_WHOLE}$").all())


def have_decimals(ids: pl.Series) -> bool:
    """True if one of the ids is a whole number with a decimal point, such as 907.0."""
    return bool(ids.str.contains(rf"^[0-9]+{_DECIMALS}").any())


def without_decimals(ids: pl.Series) -> pl.Series:
    """Write 907.0 as 907; 007 stays."""
    return ids.str.replace(rf"^([0-9]+){_DECIMALS}", "$1")


def find_id(name: str, known: Iterable[str]) -> str | None:
    """Find the id that a person means: the same text, or else the same whole number.

    Examples
    --------
    >>> find_id("907.0", ["906", "907"]), find_id("907", ["007"])
    ('907', None)
    """
    known = list(known)
    if name in known:
        return name
    plain = _plain(name)
    return next((one for one in known if plain is not None and _plain(one) == plain), None)


def look_alike(ids: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of ids that may be one: they differ in zeros, decimals or what separates their parts.

    Examples
    --------
    >>> look_alike(["m1", "m01", "m2", "7.0", "007"])
    [('m1', 'm01'), ('7.0', '007')]
    """
    first: dict[str, str] = {}
    pairs = []
    for one in ids:
        bare = re.sub(_DECIMALS, "", one) if re.fullmatch(_WHOLE, one) else one
        bare = re.sub(r"[\s_.-]+", "_", bare).strip("_")
        bare = re.sub(r"(?<![0-9])0+(?=[0-9])", "", bare)
        if first.setdefault(bare, one) != one:
            pairs.append((first[bare], one))
    return pairs


def _plain(name: str) -> str | None:
    return re.sub(_DECIMALS, "", name) if re.fullmatch(_WHOLE, name) else None
