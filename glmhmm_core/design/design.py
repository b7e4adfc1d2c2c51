"""A subject's design: the arrays that models are fitted to, with the keys back to the trials."""

from dataclasses import dataclass

import numpy as np
import polars as pl


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

    @property
    def session_ids(self) -> np.ndarray:
        """Session of each row, shape (T,)."""
        return self.keys["session"].to_numpy()
