"""How well models forecast: each is fitted to a subject's past and scored on its next sessions."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import Climb, Map, ProgressCallback, Training, winner
from glmhmm_core.fitting.fingerprint import sources_hash
from glmhmm_core.fitting.folds import Splits, split_sessions
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import CVFoldResult, Excluded, FitResult, SubjectFits
from glmhmm_core.fitting.subject import score_fold
from glmhmm_core.fitting.workers import Job, Workers

_log = logging.getLogger(__name__)

#: Fresh starts of every fold but the first, besides the fold before it.
LATER_STARTS = 4


def score_prospectively(
    fits: Mapping[str, SubjectFits],
    num_folds: int,
    on_finished: Callable[[SubjectFits], None] | None = None,
    constant: Mapping[str, SubjectFits] | None = None,
) -> dict[str, SubjectFits | Excluded]:
    """Fit every model of every subject to its past, and score it on the sessions after.

    A model starts in its first fold from as many restarts as in the fit to all sessions, later
    from the fold before it and a few fresh ones: nothing that a start knows was held out. There
    is no population to start from, since it would have seen the future.

    Parameters
    ----------
    fits
        Subjects' models, which say what is fitted, and how.
    num_folds
        Prospective folds, at least 1.
    on_finished
        Called with each subject's value as soon as it is there, in the order of ``fits``.
    constant
        For models with transition regressors: what this gave for the same subjects' models with
        a constant chain, from which they start too, each fold from that of the same past.

    Returns
    -------
    dict
        The same models with prospective folds in ``cv_metrics``; why there are none
        (``Excluded``) for a subject with too few sessions.
    """
    before = constant or {}

    def jobs_of(one: SubjectFits) -> list[PastFits]:
        problem = problem_of(one.fits[0])
        splits = prospective_splits(problem, num_folds, one.subject)
        return [
            PastFits(
                fit,
                problem,
                one.subject,
                splits,
                before[one.subject].find(fit.num_states) if one.subject in before else None,
            )
            for fit in one.fits
        ]

    return score_all(fits, jobs_of, on_finished)


def score_all(
    fits: Mapping[str, SubjectFits],
    jobs_of: Callable[[SubjectFits], Sequence[Job]],
    on_finished: Callable[[SubjectFits], None] | None = None,
) -> dict[str, SubjectFits | Excluded]:
    """Score the models of all subjects on the folds that their jobs give.

    Parameters
    ----------
    jobs_of
        From a subject's models to a job for each, which gives its folds. An ``InputError`` says
        why there are none.

    Returns
    -------
    dict
        As of :func:`score_prospectively`.
    """
    results: dict[str, SubjectFits | Excluded] = {}
    with Workers() as workers:
        pending: dict[str, list[Future[Any]]] = {}
        for subject, one in fits.items():
            try:
                jobs = jobs_of(one)
            except InputError as error:
                results[subject] = Excluded(subject, str(error))
                continue
            pending[subject] = [workers.submit(job, lambda _: None) for job in jobs]
        for subject, futures in pending.items():
            try:
                folds = [future.result() for future in futures]
            except MemoryError:
                raise  # not this subject's fault
            except Exception as error:
                # Other subjects' scores must not be lost to one subject's surprise.
                _log.exception("%s is left out after an unexpected error", subject)
                what = f"unexpected {type(error).__name__}: {error}"
                results[subject] = Excluded(subject, what)
                continue
            scored = zip(fits[subject].fits, folds, strict=True)
            models = tuple(replace(fit, cv_metrics=scores) for fit, scores in scored)
            results[subject] = value = replace(fits[subject], fits=models)
            if on_finished is not None:
                on_finished(value)
    return {subject: results[subject] for subject in fits}


def fingerprint(fits: SubjectFits, num_folds: int) -> str:
    """Hash of everything that decides a subject's prospective scores, as 64 hexadecimal digits."""
    said = f"{fits.fingerprint} {num_folds} {sources_hash()}"
    return hashlib.sha256(said.encode()).hexdigest()


def prospective_splits(problem: Problem, num_folds: int, subject: str) -> Splits:
    """Prospective splits of a subject's sessions.

    Raises
    ------
    InputError
        If there are too few sessions, or no choice in those before the first that is scored.
    """
    where = f"subject {subject!r}, prospective folds"
    splits = split_sessions(len(problem.sessions), num_folds, "prospective", where=where)
    if num_folds and not problem.mask[splits.train[0][problem.session_index]].any():
        raise InputError(
            "the first half of the sessions has no choice to train on",
            where=where,
            remedy="Ask for 0 of them.",
        )
    return splits


@dataclass(frozen=True)
class PastFits:
    """One model fitted to the past of every prospective fold, one after the other.

    Attributes
    ----------
    fit
        The model, and how it is fitted.
    problem, subject
        The data, and the name that random numbers depend on.
    splits
        The folds.
    constant
        The same model with a constant chain and the same folds, to start from too.
    """

    fit: FitResult
    problem: Problem
    subject: str
    splits: Splits
    constant: FitResult | None = None

    def run(self, run: Map, tell: ProgressCallback) -> tuple[CVFoldResult, ...]:
        """Fit and score every fold."""
        folds = []
        for fold, (climb, kept) in enumerate(self.ends(run, tell)):
            trained, tested = (side[fold][self.problem.session_index] for side in self.splits)
            folds.append(score_fold(self.problem, fold, trained, tested, climb, kept))
        return tuple(folds)

    def ends(self, run: Map, tell: ProgressCallback) -> Iterator[tuple[Climb, int]]:
        """Fit every fold: its best climb, and which of its starts that was. None is scored."""
        fit, problem = self.fit, self.problem
        before: list[Parameters] = []
        for fold, train in enumerate(self.splits.train):
            starts = min(LATER_STARTS, fit.settings.n_restarts) if before else None
            settings = replace(fit.settings, n_restarts=starts or fit.settings.n_restarts)
            data = problem.data(~train[problem.session_index])
            training = Training(data, fit.specification, settings, self.subject, fold)
            given = [*before, *self._same_past(fold)]
            climbs = climb_all(training, fit.num_states, training.glm(), given, run, tell)
            kept = winner(climbs, settings.tol)
            before = [climbs[kept].params]
            yield climbs[kept], kept

    def _same_past(self, fold: int) -> list[Parameters]:
        """Parameters of the constant chain that were fitted to this fold's sessions alone."""
        trained = np.array(self.problem.sessions)[self.splits.train[fold]].tolist()
        folds = self.constant.cv_metrics if self.constant else ()
        return [f.fitted_params for f in folds if list(f.training_session_ids) == trained]
