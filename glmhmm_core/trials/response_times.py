"""Response times from the times of events, with the guards of Ashwood et al. 2022."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: A session whose median response takes this long, seconds, has times that are not responses.
LONGEST_MEDIAN = 10.0


class ResponseTimes(NamedTuple):
    """Response times (T,) in seconds, NaN where unknown, and what was set to unknown and why.

    ``problem`` concerns the whole session (None if it is fine); ``ends_before_start`` (T,) marks
    trials whose end lies before their start.
    """

    seconds: np.ndarray
    problem: str | None
    ends_before_start: np.ndarray


def from_event_times(starts: Sequence[np.ndarray], ends: Sequence[np.ndarray]) -> ResponseTimes:
    """Take the earliest end minus the earliest start of each trial.

    Parameters
    ----------
    starts, ends : arrays (T,), at least one of each
        Times in seconds, NaN where unknown.

    Notes
    -----
    The published script repairs only the first trial that ends before its start; here each of
    them becomes unknown.
    """
    start, end = _earliest(starts), _earliest(ends)
    unknown, none = np.full_like(start, np.nan), np.zeros(start.shape, dtype=bool)
    for name, times in (("start", start), ("end", end)):
        known = times[~np.isnan(times)]
        if np.any(np.diff(known) <= 0):
            return ResponseTimes(unknown, f"its {name} times do not increase", none)
    seconds = end - start
    backwards = seconds < 0
    seconds[backwards] = np.nan
    if not np.all(np.isnan(seconds)) and np.nanmedian(seconds) >= LONGEST_MEDIAN:
        return ResponseTimes(
            unknown, f"their median is {np.nanmedian(seconds):.3g} s, not a response", none
        )
    return ResponseTimes(seconds, None, backwards)


def _earliest(times: Sequence[np.ndarray]) -> np.ndarray:
    return np.fmin.reduce(np.stack([np.asarray(t, dtype=np.float64) for t in times]))
