"""How well fits under a population's learned priors forecast a subject's next sessions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import Map, ProgressCallback, Training
from glmhmm_core.fitting.empirical_bayes import Level
from glmhmm_core.fitting.fold_population import check_unseen
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.hierarchy import Hierarchy
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.prospective import prospective_splits, score_all
from glmhmm_core.fitting.race import climb_all
from glmhmm_core.fitting.refit import problem_of
from glmhmm_core.fitting.result import CVFoldResult, Excluded, FitResult, SubjectFits
from glmhmm_core.fitting.subject import score_fold


def forecast_shrunken(
    fits: Mapping[str, SubjectFits],
    hierarchy: Hierarchy,
    on_finished: Callable[[SubjectFits], None] | None = None,
) -> dict[str, SubjectFits | Excluded]:
    """Fit the hierarchy's models to every subject's past, and score them on the sessions after.

    Each fold is fitted under the priors that were learned from the subjects' pasts, from their
    mean: neither has seen the sessions that it is scored on, or later ones.

    Parameters
    ----------
    fits
        Subjects' fits under the hierarchy (:func:`~glmhmm_core.fitting.shrinkage.fit_shrunken`).
    on_finished
        Called with each subject's value as soon as it is there, in the order of ``fits``.

    Returns
    -------
    dict
        The same models with prospective folds in ``cv_metrics``; why there are none
        (``Excluded``) for a subject with too few sessions, or whose future the population saw:
        where sessions are fewer now than when it was learned.
    """

    def jobs_of(one: SubjectFits) -> list[_Forecasts]:
        where = f"subject {one.subject!r}, prospective folds under learned priors"
        if not hierarchy.forecasts:
            raise InputError(
                "no population was learned for prospective folds, which takes two subjects with "
                "sessions enough",
                where=where,
                remedy="Make the hierarchical fit again when there are; its notes say who lacks "
                "what. Or ask for fewer prospective folds.",
            )
        problem = problem_of(one.fits[0])
        splits = prospective_splits(problem, len(hierarchy.forecasts), one.subject)
        check_unseen(one.subject, problem, splits.train, hierarchy.forecasts, where)
        return [
            _Forecasts(
                fit,
                problem,
                one.subject,
                splits,
                [forecast.level(fit.num_states) for forecast in hierarchy.forecasts],
            )
            for fit in one.fits
        ]

    return score_all(fits, jobs_of, on_finished)


@dataclass(frozen=True)
class _Forecasts:
    """One model of one subject in all prospective folds, each under the priors of its level."""

    fit: FitResult
    problem: Problem
    subject: str
    splits: Splits
    levels: list[Level]

    def run(self, run: Map, tell: ProgressCallback) -> tuple[CVFoldResult, ...]:
        problem, settings = self.problem, replace(self.fit.settings, n_restarts=0)
        folds = []
        for fold, level in enumerate(self.levels):
            assert level.prior is not None  # a forecast is of two subjects at least
            trained, tested = (side[fold][problem.session_index] for side in self.splits)
            data, start = problem.data(~trained), level.prior.center()
            training = Training(data, level.specification, settings, self.subject, fold)
            (climb,) = climb_all(training, level.num_states, np.empty(0), [start], run, tell)
            folds.append(score_fold(problem, fold, trained, tested, climb, 0))
        return tuple(folds)
