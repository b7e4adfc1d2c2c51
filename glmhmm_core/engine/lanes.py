"""Lanes: ragged sessions packed end to end into equal columns, so that one program fits all.

A lane is a column of time steps that holds whole sessions one behind the other; a flag resets
the chain where a session begins. One long session therefore costs one long lane, not the
padding of all others, and every subject of a similar size has the same array shapes. Shapes are
rounded up to a coarse grid, so that an added session rarely changes them.
"""

import heapq
from typing import Any, NamedTuple

import numpy as np

#: Most lanes that a processor goes through at once: what they need stays in its cache. With
#: 182,160 trials an E-step is 1.1 (K = 3) to 1.6 times (K = 5) as fast as with all lanes at once.
WIDTH = 128


class Lanes(NamedTuple):
    """The data of one subject, in lanes: arrays of NumPy, or of JAX on its device.

    Attributes
    ----------
    X, U : float64 (M, T, S), (D, T, S)
        Regressors of the choice and of the transition into the trial; 0 where no trial stands.
    y : float64 (C, T, S)
        One-hot choices with the baseline class first; all 0 where no choice counts.
    reset : bool (T, S)
        True on the first trial of a session, where the chain starts anew, and where no trial
        stands.
    start, link : float64 (T, S)
        Weight of the trial in the expected counts: 1 in ``start`` on the first trial of a
        session, 1 in ``link`` where a transition leads into it, 0 in both where it is held out.
    """

    X: Any
    U: Any
    y: Any
    reset: Any
    start: Any
    link: Any


class Layout(NamedTuple):
    """Where each trial stands.

    Attributes
    ----------
    shape
        (T, S).
    step, lane : int (n,)
        Time step and lane of each of the n trials, in the caller's order.
    first : bool (n,)
        True on the first trial of its session.
    """

    shape: tuple[int, int]
    step: np.ndarray
    lane: np.ndarray
    first: np.ndarray


def round_up(n: int, parts: int) -> int:
    """The next number on a grid of ``parts`` equal steps between powers of two."""
    if n <= parts:
        return n
    unit = max(1 << ((n - 1).bit_length() - 1), parts) // parts
    return -(-n // unit) * unit


def _round_up_lanes(lanes: int) -> int:
    """Few lanes on a coarse grid, many on one that blocks of equal width fill."""
    return round_up(lanes, 2 if lanes <= WIDTH else 4)


def blocks_of(lanes: int) -> int:
    """Number of equal blocks of at most ``WIDTH`` lanes that so many are cut into, a power of 2."""
    return 1 << (-(-lanes // WIDTH) - 1).bit_length()


def arrange(session_ids: np.ndarray) -> Layout:
    """Pack sessions into lanes: longest first, each into the shortest lane with room for it.

    Parameters
    ----------
    session_ids : (n,)
        Session of each trial; the trials of a session in their order, not necessarily together.
    """
    _, session = np.unique(session_ids, return_inverse=True)
    lengths = np.bincount(session)
    order = np.argsort(session, kind="stable")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    position = np.empty(len(session), np.int64)
    position[order] = np.arange(len(session)) - np.repeat(starts, lengths)

    height = round_up(int(lengths.max()), 4)
    lane_of, offset = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    filled: list[tuple[int, int]] = []
    for s in np.argsort(-lengths, kind="stable"):
        if filled and filled[0][0] + lengths[s] <= height:
            used, lane = heapq.heappop(filled)
        else:
            used, lane = 0, len(filled)
        lane_of[s], offset[s] = lane, used
        heapq.heappush(filled, (used + int(lengths[s]), lane))
    return Layout(
        shape=(height, _round_up_lanes(len(filled))),
        step=offset[session] + position,
        lane=lane_of[session],
        first=position == 0,
    )


def fill(
    layout: Layout,
    X: np.ndarray,
    U: np.ndarray,
    y: np.ndarray,
    mask: np.ndarray,
    num_classes: int,
    baseline: int,
) -> Lanes:
    """Put a subject's trials into lanes.

    Parameters
    ----------
    X, U : float64 (n, M), (n, D)
    y : int (n,)
        Choices; read only where ``mask`` is true.
    mask : bool (n,)
        True where a choice counts.
    num_classes, baseline
        C, and the class whose logit is fixed at zero.
    """
    steps, lanes = layout.shape
    step, lane = layout.step, layout.lane

    def place(columns: np.ndarray) -> np.ndarray:
        placed = np.zeros((columns.shape[1], steps, lanes))
        placed[:, step, lane] = columns.T
        return placed

    one_hot = np.zeros((num_classes, steps, lanes))
    row = np.where(y == baseline, 0, np.where(y < baseline, y + 1, y))
    one_hot[row[mask], step[mask], lane[mask]] = 1.0
    # Where no trial stands the chain is cut too, so that nothing behind a session reaches it.
    reset = np.ones(layout.shape, bool)
    reset[step, lane] = layout.first
    start, link = np.zeros(layout.shape), np.zeros(layout.shape)
    start[step, lane], link[step, lane] = layout.first, ~layout.first
    return Lanes(place(X), place(U), one_hot, reset, start, link)


def hold_out(lanes: Lanes, layout: Layout, held_out: np.ndarray) -> Lanes:
    """The same lanes without the held-out sessions: same shapes, nothing of them counts.

    Parameters
    ----------
    held_out : bool (n,)
        True on every trial of a held-out session.
    """
    kept = np.zeros(layout.shape)
    kept[layout.step, layout.lane] = ~held_out
    return lanes._replace(y=lanes.y * kept, start=lanes.start * kept, link=lanes.link * kept)
