"""The models of one subject that are held against one another, on the same held-out sessions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.comparison.paired import ratios
from glmhmm_core.comparison.scores import model_name
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import FitResult, SubjectFits


class Fold(Protocol):
    """A fold's held-out scores, of a GLM-HMM or of a baseline."""

    @property
    def test_session_ids(self) -> tuple[str, ...]:
        """Held-out sessions."""

    @property
    def test_session_log_likelihoods(self) -> tuple[float, ...]:
        """Held-out log-likelihood of each, nats."""

    @property
    def test_session_trial_counts(self) -> tuple[int, ...]:
        """Choices in each."""

    @property
    def test_bits_per_trial(self) -> float:
        """Held-out information over the training frequencies."""

    @property
    def test_trial_count(self) -> int:
        """Held-out trials with a choice."""

    @property
    def converged(self) -> bool:
        """Whether the training fit met its tolerances."""


@dataclass(frozen=True)
class Contender:
    """One model with its scores on both kinds of folds.

    Attributes
    ----------
    model, num_states
        Which model.
    fit
        Fitted to all sessions.
    interleaved, prospective
        Its folds; none where they were not asked for, or could not be had.
    """

    model: str
    num_states: int
    fit: FitResult | BaselineFit[Any]
    interleaved: Sequence[Fold]
    prospective: Sequence[Fold]

    @property
    def converged(self) -> bool:
        """Whether the fit and all of its folds converged."""
        folds = (*self.interleaved, *self.prospective)
        return self.fit.converged and all(fold.converged for fold in folds)

    @property
    def states(self) -> bool:
        """Whether it has hidden states."""
        return isinstance(self.fit, FitResult) and self.num_states > 1


def contenders(
    fits: Sequence[SubjectFits],
    baselines: Sequence[BaselineFit[Any]] = (),
    prospective: Sequence[SubjectFits] = (),
) -> list[Contender]:
    """Put a subject's models side by side, by number of states.

    Parameters
    ----------
    fits
        GLM-HMMs of one subject; of models of the same kind and number of states the first counts.
    baselines
        Other models of the same choices.
    prospective
        The same GLM-HMMs with prospective folds in ``cv_metrics``; a model may have none.

    Raises
    ------
    InputError
        If a model's folds hold out other sessions than the first model's.
    """
    later = {_key(fit): fit.cv_metrics for one in reversed(prospective) for fit in one.fits}
    found: dict[tuple[str, int], Contender] = {}
    for one in fits:
        for fit in one.fits:
            folds = Contender(*_key(fit), fit, fit.cv_metrics, later.get(_key(fit), ()))
            found.setdefault(_key(fit), folds)
    for other in baselines:
        key = other.model, other.num_states
        found[key] = Contender(*key, other, other.cv_metrics, other.prospective)
    models = list(found.values())
    for kind in ("interleaved", "prospective"):
        _check_same(models, kind, fits[0].subject)
    return models


def _key(fit: FitResult) -> tuple[str, int]:
    return model_name(fit), fit.num_states


def _check_same(models: Sequence[Contender], kind: str, subject: str) -> None:
    """Refuse models that were scored on other sessions; one without folds has no scores."""
    first: list[tuple[str, ...]] | None = None
    for one in models:
        held_out = [fold.test_session_ids for fold in getattr(one, kind)]
        first = first or held_out
        if held_out and held_out != first:
            raise InputError(
                f"{one.model} was scored on other sessions than {models[0].model}",
                where=f"subject {subject!r}, {kind} folds",
                remedy="Fit it with the same folds and seed.",
            )


def bits_per_trial(folds: Sequence[Fold]) -> float | None:
    """Held-out bits per trial, weighted by trials; None without folds that have a choice."""
    scored = [fold for fold in folds if fold.test_trial_count]
    if not scored:
        return None
    trials = [fold.test_trial_count for fold in scored]
    return float(np.average([fold.test_bits_per_trial for fold in scored], weights=trials))


def session_gain(own: Sequence[Fold], other: Sequence[Fold]) -> tuple[float | None, float | None]:
    """Held-out gain of one model over another, paired by session.

    The same training choices' frequencies are taken off both, and cancel.

    Parameters
    ----------
    own, other
        Folds of both with the same held-out sessions, in one order; or none of either.

    Returns
    -------
    gain, error
        Bits per trial over all held-out trials, and the standard error of that over sessions;
        both None with fewer than two sessions that have a choice.
    """
    if not own or not other:
        return None, None
    pairs = [
        (mine - theirs, count)
        for a, b in zip(own, other, strict=True)
        for mine, theirs, count in zip(
            a.test_session_log_likelihoods,
            b.test_session_log_likelihoods,
            a.test_session_trial_counts,
            strict=True,
        )
        if count
    ]
    if len(pairs) < 2:
        return None, None
    nats, choices = np.array(pairs).T
    every = np.ones((1, len(pairs)))
    there = np.ones((len(pairs), 1), bool)
    gain, error = ratios(every, nats[:, None] / math.log(2), there, choices)
    return float(gain[0, 0]), float(error[0, 0])
