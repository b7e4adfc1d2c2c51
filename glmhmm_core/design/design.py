"""A subject's design: the arrays that models are fitted to, with the keys back to the trials."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from glmhmm_core.design.arrays import classes, numbers, seen
from glmhmm_core.errors import InputError


@dataclass(frozen=True)
class Design:
    """What one subject saw and did, as arrays; rows in chronological order.

    Attributes
    ----------
    subject
        Name of the subject.
    keys : DataFrame of T rows
        Columns ``session`` and ``trial``: where each row stands in the trial table.
    X : float64 (T, M)
        Emission regressors, all finite.
    y : int64 (T,)
        Choices 0..C-1, and -1 where ``mask`` is false.
    mask : bool (T,)
        True where a choice was made and counts.
    feature_names : M names of the columns of ``X``.
    choice_names : C names of the classes.
    baseline_class_idx
        Class whose logit is fixed at zero.
    prior_scales : float64 (M,)
        Standard deviation of each weight's Gaussian prior that the task proposes.
    transition_names : D names of the columns of ``U``.
    U : float64 (T, D)
        Transition regressors that models may be driven by, all finite: row t is of the
        transition into trial t.
    transition_scales : float64 (D,)
        As ``prior_scales``, of their weights.
    """

    subject: str
    keys: pl.DataFrame
    X: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    feature_names: tuple[str, ...]
    choice_names: tuple[str, ...]
    baseline_class_idx: int
    prior_scales: np.ndarray
    transition_names: tuple[str, ...] = ()
    U: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    transition_scales: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Convert arrays of other kinds; ``U`` has a row per trial even without columns."""
        where = f"subject {self.subject!r}"
        y, mask = classes("y", self.y, self.mask, where)
        U = numbers("U", self.U, where) if self.transition_names else np.empty((len(y), 0))
        X = seen(numbers("X", self.X, where), mask)
        for name, values in (("X", X), ("y", y), ("mask", mask), ("U", U)):
            object.__setattr__(self, name, values)

    def driven_by(self, names: Sequence[str]) -> "Design":
        """The same design with these transition regressors alone, in this order.

        Raises
        ------
        InputError
            If it does not have one of them.
        """
        absent = [name for name in names if name not in self.transition_names]
        if absent:
            raise InputError(
                f"the design has no transition regressor {', '.join(map(repr, absent))}",
                where=f"subject {self.subject!r}",
                remedy=f"It has {', '.join(self.transition_names) or 'none'}; others are named in "
                "[[transition_regressors]] of the task.",
            )
        columns = [self.transition_names.index(name) for name in names]
        return replace(
            self,
            transition_names=tuple(names),
            U=self.U[:, columns],
            transition_scales=self.transition_scales[columns],
        )

    @property
    def session_ids(self) -> np.ndarray:
        """Session of each row, shape (T,)."""
        return self.keys["session"].to_numpy()

    def of_sessions(self, sessions: Collection[str]) -> "Design":
        """The trials of these sessions alone."""
        rows = self.keys["session"].is_in(list(set(sessions)))
        at = rows.to_numpy()
        arrays = {name: getattr(self, name)[at] for name in ("X", "y", "mask", "U")}
        return replace(self, keys=self.keys.filter(rows), **arrays)
