"""Lapses: on which trials, at which rates, and to which choice a subject forgets the regressors.

On a trial with lapse rates r_l and the laws q_l of the choices made in a lapse,

    P(y = c) = (1 - sum_l r_l) softmax_c + sum_l r_l q_l(c)

so that every kind of lapse is a table of which rates apply to a trial and of their laws.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from glmhmm_core.design.history import last_choice_rows
from glmhmm_core.errors import InputError

LapseKind = Literal["none", "class_1", "class", "history", "history_conditioned"]


@dataclass(frozen=True)
class Lapses:
    """A kind of lapse laid out over trials.

    Attributes
    ----------
    labels : L names of the rates.
    active : float64 (T, L)
        1 where a rate applies to a trial, else 0.
    laws : float64 (T, L, C)
        Law of the choice made in a lapse of each rate; sums to 1 over classes.
    group : int (L,)
        Rates of one group exclude one another: their sum over a group is bounded.
    """

    labels: tuple[str, ...]
    active: np.ndarray
    laws: np.ndarray
    group: np.ndarray


def previous_choices(y: np.ndarray, session_index: np.ndarray) -> np.ndarray:
    """Class of the last choice before each trial within its session, -1 where there is none.

    Carries over trials without a choice and stops at session boundaries, as the history
    regressors do.

    Parameters
    ----------
    y : int (T,)
        Classes 0..C-1, negative where no choice was made.
    session_index : int (T,)
        Session of each trial; sessions may interleave, the trials of each in order.
    """
    order = np.argsort(session_index, kind="stable")
    last = last_choice_rows(y[order], session_index[order])
    previous = np.empty(len(y), np.int64)
    previous[order] = np.where(last >= 0, y[order][last], -1)
    return previous


def check_kind(kind: str, where: str) -> None:
    """Refuse a kind of lapse that there is not.

    Raises
    ------
    InputError
    """
    if kind not in get_args(LapseKind):
        raise InputError(
            f"lapse is {kind!r}",
            where=where,
            remedy=f"It must be one of {', '.join(get_args(LapseKind))}.",
        )


def lay_out(kind: LapseKind, previous: np.ndarray, num_classes: int) -> Lapses:
    """Lay a kind of lapse out over trials.

    Parameters
    ----------
    kind
        ``none``; ``class_1``: one rate, for each class alike; ``class``: a rate per class, the
        choice made whatever is shown (Ashwood et al. 2022 compare with that of two classes);
        ``history``: one rate of repeating the previous choice and one of alternating, to each
        of the other classes alike; ``history_conditioned``: both for each previous class.
        Without a previous choice history lapses do not apply.
    previous : int (T,)
        Previous choice of each trial, -1 for none; see :func:`previous_choices`.
    num_classes
        C.
    """
    trials, eye = len(previous), np.eye(num_classes)
    if kind == "none":
        return _lapses((), np.ones((trials, 0)), np.ones((trials, 0, num_classes)), [])
    if kind == "class_1":
        law = np.full((trials, 1, num_classes), 1 / num_classes)
        return _lapses(("lapse",), np.ones((trials, 1)), law, [0])
    if kind == "class":
        labels = tuple(f"class_{c}" for c in range(num_classes))
        law = np.broadcast_to(eye, (trials, num_classes, num_classes))
        return _lapses(labels, np.ones((trials, num_classes)), law, [0] * num_classes)
    there = previous >= 0
    repeat = eye[previous]
    laws = np.stack([repeat, (1 - repeat) / (num_classes - 1)], axis=1)  # (T, 2, C)
    if kind == "history":
        return _lapses(("repeat", "alternate"), np.repeat(there[:, None], 2, 1), laws, [0, 0])
    after = (previous[:, None] == np.arange(num_classes)) & there[:, None]
    return _lapses(
        tuple(f"{what}_prev_{c}" for c in range(num_classes) for what in ("repeat", "alternate")),
        np.repeat(after, 2, axis=1),
        np.tile(laws, (1, num_classes, 1)),
        np.repeat(np.arange(num_classes), 2).tolist(),
    )


def shown_rates(kind: LapseKind, rates: np.ndarray, num_classes: int) -> np.ndarray:
    """Rates as reported: that of ``class_1`` is of each class, not of all together."""
    return rates / num_classes if kind == "class_1" else rates


def log_choice_probs(logits: np.ndarray, rates: np.ndarray, lapses: Lapses) -> np.ndarray:
    """Log P(y = c) of every trial and class, float64 (T, C).

    Parameters
    ----------
    logits : float64 (T, C)
        Log-odds of the softmax.
    rates : float64 (L,)
        Lapse rates of ``lapses``, each the probability of such a lapse.
    """
    top = logits.max(axis=1, keepdims=True)
    softmax = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    applied = lapses.active * rates
    with np.errstate(divide="ignore"):
        lapsed = np.log(np.einsum("tl,tlc->tc", applied, lapses.laws))
        attentive = np.log(np.maximum(1 - applied.sum(axis=1, keepdims=True), 0))
    return np.logaddexp(attentive + softmax, lapsed)


def _lapses(
    labels: tuple[str, ...], active: np.ndarray, laws: np.ndarray, group: list[int]
) -> Lapses:
    return Lapses(labels, active.astype(np.float64), laws, np.array(group, np.int64))
