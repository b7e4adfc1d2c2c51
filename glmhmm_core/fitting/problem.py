"""One subject's data as the engine wants it, and what the engine says of it in trial order."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from glmhmm_core.design.design import Design
from glmhmm_core.engine.expectation import Data, prepare
from glmhmm_core.engine.lanes import Lanes, Layout, arrange, fill, hold_out
from glmhmm_core.engine.messages import Filtered, Smoothed, smooth
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.viterbi import viterbi
from glmhmm_core.fitting.folds import assign_folds


@dataclass(frozen=True)
class Posteriors:
    """What a model says of every trial, in the caller's order.

    Attributes
    ----------
    smoothed, filtered, predictive : float64 (T, K)
        P(z_t | all choices of the session), P(z_t | choices up to t), P(z_t | choices before t).
    choice_probs : float64 (T, C)
        P(y_t | choices before t), columns in class order.
    log_likelihood : float64 (T,)
        log P(y_t | choices before t), nats; 0 where no choice was made. Sessions are
        independent, so the sum over a session is its log-likelihood.
    """

    smoothed: np.ndarray
    filtered: np.ndarray
    predictive: np.ndarray
    choice_probs: np.ndarray
    log_likelihood: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Choices, regressors and sessions of one subject; rows in chronological order.

    Attributes are those of :class:`glmhmm_core.design.design.Design`, with the transition
    regressors ``U`` (T, D); ``session_ids`` may be of any kind. ``session_groups`` names the group
    of each of ``sessions`` where several subjects are pooled: each has folds of its own.
    """

    X: np.ndarray
    U: np.ndarray
    y: np.ndarray
    mask: np.ndarray
    session_ids: np.ndarray
    num_classes: int
    baseline_class_idx: int
    session_groups: tuple[str, ...] | None = None

    @classmethod
    def of_design(cls, design: Design, session_groups: tuple[str, ...] | None = None) -> "Problem":
        """The problem of a subject's design, driven by all transition regressors that it has."""
        return cls(
            X=design.X,
            U=design.U,
            y=design.y,
            mask=design.mask,
            session_ids=design.session_ids,
            num_classes=len(design.choice_names),
            baseline_class_idx=design.baseline_class_idx,
            session_groups=session_groups,
        )

    @cached_property
    def runs(self) -> np.ndarray:
        """Rows that begin another session than that of the row before, int."""
        ids = self.session_ids
        return np.flatnonzero(np.concatenate([[len(ids) > 0], ids[1:] != ids[:-1]]))

    @cached_property
    def sessions(self) -> list[str]:
        """Names of the sessions in order of first appearance."""
        return [str(s) for s in dict.fromkeys(self.session_ids[self.runs].tolist())]

    @cached_property
    def session_index(self) -> np.ndarray:
        """Index into ``sessions`` of every trial, int (T,)."""
        place: dict[Any, int] = {}
        names = self.session_ids[self.runs].tolist()
        index = np.array([place.setdefault(s, len(place)) for s in names], np.int64)
        return np.repeat(index, np.diff(self.runs, append=len(self.session_ids)))

    def folds(self, num_folds: int, seed: int) -> np.ndarray:
        """Fold of each of ``sessions``, int (S,): a subject's are the same alone and pooled."""
        groups = np.array(self.session_groups or [""] * len(self.sessions))
        folds = np.empty(len(groups), np.int64)
        for group in np.unique(groups):
            members = groups == group
            folds[members] = assign_folds(int(members.sum()), num_folds, seed)
        return folds

    @cached_property
    def layout(self) -> Layout:
        """Where each trial stands in the lanes."""
        return arrange(self.session_index)

    @cached_property
    def lanes(self) -> Lanes:
        """All trials, in lanes."""
        return fill(
            self.layout,
            self.X,
            self.U,
            self.y,
            self.mask,
            self.num_classes,
            self.baseline_class_idx,
        )

    def data(self, held_out: np.ndarray | None = None) -> Data:
        """What the engine fits; without the trials where ``held_out`` (T,) is true."""
        if held_out is None:
            return prepare(self.lanes)
        return prepare(hold_out(self.lanes, self.layout, held_out))

    def posteriors(self, params: Parameters) -> Posteriors:
        """Smooth and predict every trial under ``params``."""
        return self.in_rows(*smooth(params, self.lanes))

    def in_rows(self, filtered: Filtered, smoothed: Smoothed, choices: Any) -> Posteriors:
        """What :func:`~glmhmm_core.engine.messages.smooth` says, in the caller's order."""
        step, lane = self.layout.step, self.layout.lane

        def rows(lanes: Any) -> np.ndarray:
            return np.asarray(lanes)[:, step, lane].T

        scale = np.asarray(filtered.scale)[step, lane]
        return Posteriors(
            smoothed=rows(smoothed.smoothed),
            filtered=rows(filtered.filtered),
            predictive=rows(filtered.predicted),
            choice_probs=rows(choices)[:, np.argsort(self.class_order)],
            log_likelihood=np.where(self.mask, np.log(scale), 0.0),
        )

    def most_likely_states(self, params: Parameters) -> np.ndarray:
        """Most probable state path of every session (Viterbi), int (T,)."""
        path = np.asarray(viterbi(params, self.lanes))
        return path[self.layout.step, self.layout.lane].astype(np.int64)

    @property
    def class_order(self) -> list[int]:
        """Classes as the engine orders them: the baseline first."""
        rest = [c for c in range(self.num_classes) if c != self.baseline_class_idx]
        return [self.baseline_class_idx, *rest]
