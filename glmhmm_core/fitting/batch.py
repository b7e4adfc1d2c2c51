"""Fit many subjects in one process, on all cores; one bad subject never stops the others."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import ProgressCallback
from glmhmm_core.fitting.fingerprint import fingerprint
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.result import Excluded, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification, by_state
from glmhmm_core.fitting.subject import Start, assemble, jobs_of
from glmhmm_core.fitting.validation import (
    check_folds,
    check_num_states,
    check_problem,
    check_settings,
    check_warm_start,
    weight_scale,
)
from glmhmm_core.fitting.workers import Workers

_log = logging.getLogger(__name__)


def fit_subjects(
    designs: Mapping[str, Design],
    num_states: Sequence[int],
    settings: FitSettings,
    *,
    population: SubjectFits | Mapping[str, SubjectFits] | None = None,
    earlier: Mapping[str, SubjectFits] | None = None,
    on_finished: Callable[[SubjectFits | Excluded], None] | None = None,
    progress_callback: ProgressCallback | None = None,
) -> dict[str, SubjectFits | Excluded]:
    """Fit every model to every subject.

    Parameters
    ----------
    designs
        What each subject saw and did, by name.
    num_states
        The models: numbers of states.
    settings
        How to fit. A subject with fewer sessions than folds is fitted without folds, and a
        number of states that its choices cannot bear is left out; its notes say so.
    population
        Fits of all subjects' trials as one (:func:`fit_population`), with the same folds or
        none. Every model is started from them too, each fold from the fit without the same
        sessions if there is one, and that optimum is the subject's unless its own predicts
        better (``own_optimum``). Or, by subject, fits of its own to start from in the same way:
        with transition regressors, those with a constant chain.
    earlier
        Subject -> its earlier fits, of the same regressors and choices, to start from too. A
        fold starts from an earlier fold that saw none of its held-out sessions, if there is one.
    on_finished
        Called with each subject's value as soon as it is there, in the order of ``designs``.
    progress_callback
        Told of every restart and fold, perhaps from several threads.

    Returns
    -------
    dict
        A :class:`SubjectFits` per subject, or :class:`Excluded` with the reason.

    Raises
    ------
    InputError
        If the settings make no sense for any subject.
    """
    before = earlier or {}
    check_settings(settings)
    tell = progress_callback or (lambda _: None)
    if isinstance(population, SubjectFits):
        _check_population(population, settings)
    wanted = tuple(sorted(set(num_states)))
    results: dict[str, SubjectFits | Excluded] = {}
    with Workers() as workers:
        pending = {
            subject: start_subject(
                design,
                wanted,
                settings,
                workers,
                tell,
                population.get(subject) if isinstance(population, Mapping) else population,
                before.get(subject),
            )
            for subject, design in designs.items()
        }
        for subject, started in pending.items():
            results[subject] = started if isinstance(started, Excluded) else started.finish()
            if on_finished is not None:
                on_finished(results[subject])
    return results


def _check_population(population: SubjectFits, settings: FitSettings) -> None:
    """Refuse a population with other folds: a subject's held-out sessions would be in its fit."""
    for fit in population.fits:
        theirs = (fit.settings.cv_folds, fit.settings.seed)
        # One without folds serves the fit to all sessions; no fold starts from it.
        if settings.cv_folds and theirs[0] and theirs != (settings.cv_folds, settings.seed):
            raise InputError(
                f"it has {theirs[0]} folds of seed {theirs[1]}, the subjects {settings.cv_folds} "
                f"of seed {settings.seed}",
                where="population fit",
                remedy="Fit the population with the same folds and seed.",
            )


@dataclass(frozen=True)
class Started:
    """A subject whose jobs are on their way."""

    design: Design
    fingerprint: str
    notes: tuple[str, ...]
    population: str | None
    earlier: str | None
    full: Future[Any]
    folds: tuple[Future[Any], ...]

    def finish(self) -> SubjectFits | Excluded:
        """Wait for the jobs; the fits, or why there are none."""
        design = self.design
        try:
            fits = assemble(self.full.result(), [future.result() for future in self.folds])
        except InputError as error:
            return Excluded(design.subject, str(error))
        except MemoryError:
            raise  # not this subject's fault
        except Exception as error:
            # Hours of other subjects' fits must not be lost to one subject's surprise.
            _log.exception("%s is left out after an unexpected error", design.subject)
            return Excluded(design.subject, f"unexpected {type(error).__name__}: {error}")
        return SubjectFits(
            subject=design.subject,
            fingerprint=self.fingerprint,
            choice_names=design.choice_names,
            keys_session=design.keys["session"].to_numpy().astype(str),
            keys_trial=design.keys["trial"].to_numpy(),
            fits=tuple(fits),
            notes=self.notes,
            population=self.population,
            earlier=self.earlier,
        )


def start_subject(
    design: Design,
    num_states: tuple[int, ...],
    settings: FitSettings,
    workers: Workers,
    tell: ProgressCallback,
    population: SubjectFits | None = None,
    earlier: SubjectFits | None = None,
    session_groups: tuple[str, ...] | None = None,
) -> Started | Excluded:
    """Check one subject and put its jobs on the way; arguments as for :func:`fit_subjects`.

    ``session_groups`` names the subject of each session where several are pooled.
    """
    where = f"subject {design.subject!r}"
    try:
        driven = design.driven_by(settings.transition_regressors)
    except InputError as error:
        return Excluded(design.subject, str(error))
    problem = Problem.of_design(driven, session_groups)
    notes: list[str] = []
    feasible: list[int] = []
    fitted = settings
    try:
        scale = weight_scale(
            "emission_prior_scale",
            settings.emission_prior_scale,
            design.X.shape[1],
            design.prior_scales,
        )
        transition_scale = weight_scale(
            "transition_prior_scale",
            settings.transition_prior_scale,
            driven.U.shape[1],
            driven.transition_scales,
        )
        model = Specification(
            len(design.choice_names),
            design.feature_names,
            scale,
            driven.transition_names,
            transition_scale,
            by_state(settings.frozen, of_transition=False),
            by_state(settings.frozen, of_transition=True),
        )
        check_problem(problem, model, where)
    except InputError as error:
        return Excluded(design.subject, str(error))
    for k in num_states:
        try:
            check_num_states(k, problem, model.having(k), where)
            for source in (earlier, population):
                if source and (start := source.find(k)):
                    check_warm_start(start.fitted_params, k, model, where)
            feasible.append(k)
        except InputError as error:
            notes.append(str(error))
    if not feasible:
        return Excluded(design.subject, notes[0])
    try:
        check_folds(settings.cv_folds, problem, where)
    except InputError as error:
        notes.append(str(error))
        fitted = replace(settings, cv_folds=0)
    try:
        if population is not None:
            _check_population(population, fitted)
    except InputError as error:
        return Excluded(design.subject, str(error))
    shared, before = (
        [fit for fit in source.fits if fit.num_states in feasible] if source else []
        for source in (population, earlier)
    )
    models = {k: model.having(k) for k in feasible}
    starts = {fit.num_states: Start(fit.fitted_params, fit.cv_metrics) for fit in before}
    jobs = jobs_of(problem, models, fitted, design.subject, starts, shared)
    full, *folds = (workers.submit(job, tell) for job in jobs)
    return Started(
        design,
        fingerprint(design, num_states, settings, population, earlier),
        tuple(notes),
        population.fingerprint if population else None,
        earlier.fingerprint if earlier else None,
        full,
        tuple(folds),
    )
