"""Words that messages of several modules share."""

from collections.abc import Sequence


def first_of(names: Sequence[str], most: int) -> str:
    """List the first names, and count the others.

    Parameters
    ----------
    names
        Names in the order in which they are listed.
    most
        Number of names that are listed.

    Examples
    --------
    >>> first_of(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
