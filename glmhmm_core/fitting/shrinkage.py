"""Fits of subjects under a population's learned priors: shrunken towards its mean.

A version of the hierarchical fit serves any subject of the same design, those with new sessions
and those that were not in it among them: only they are fitted again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import ProgressCallback
from glmhmm_core.fitting.empirical_bayes import Level
from glmhmm_core.fitting.fingerprint import data_hash, sources_hash
from glmhmm_core.fitting.fold_population import check_unseen
from glmhmm_core.fitting.folds import split_sessions
from glmhmm_core.fitting.hierarchy import Hierarchy
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.result import Excluded, FitResult, SubjectFits
from glmhmm_core.fitting.subject import Job, assemble
from glmhmm_core.fitting.validation import check_folds, check_problem
from glmhmm_core.fitting.workers import Workers


def shrunken_fingerprint(design: Design, hierarchy: Hierarchy) -> str:
    """Hash of everything that decides a subject's shrunken fits, as 64 hexadecimal digits."""
    parts = f"{data_hash(design)}{hierarchy.fingerprint}{sources_hash()}"
    return hashlib.sha256(parts.encode()).hexdigest()


def fit_shrunken(
    designs: Mapping[str, Design],
    hierarchy: Hierarchy,
    *,
    progress_callback: ProgressCallback | None = None,
) -> dict[str, SubjectFits | Excluded]:
    """Fit the hierarchy's models to subjects under its priors, each from the population's mean.

    A fold of held-out sessions is fitted under the priors that were learned without them. Where
    those of a fold did see some of them (a session is gone, or came in before others, and folds
    are dealt anew), the subject has no folds, and a note says why.

    Returns
    -------
    dict
        By subject: its fits, whose ``population`` is the hierarchy's fingerprint and whose
        specifications hold the learned priors; or why there are none.
    """
    tell = progress_callback or (lambda _: None)
    with Workers() as workers:
        started = {s: _start(design, hierarchy, workers, tell) for s, design in designs.items()}
        return {
            subject: one
            if isinstance(one, Excluded)
            else _finish(designs[subject], hierarchy, *one)
            for subject, one in started.items()
        }


def _start(
    design: Design, hierarchy: Hierarchy, workers: Workers, tell: ProgressCallback
) -> tuple[list[Future[Any]], tuple[str, ...]] | Excluded:
    """Put a subject's jobs on the way, by fold and number of states; and what is to be noted."""
    where = f"subject {design.subject!r}"
    settings, known = hierarchy.settings, hierarchy.levels[0].specification
    notes = hierarchy.notes
    model = (hierarchy.choice_names, hierarchy.baseline_class_idx, known.emission_names)
    try:
        if (design.choice_names, design.baseline_class_idx, design.feature_names) != model:
            raise InputError(
                "its choices, their baseline or its regressors are not the population's: "
                f"{', '.join((*design.choice_names, *design.feature_names))} instead of "
                f"{', '.join((*hierarchy.choice_names, *known.emission_names))}",
                where=where,
                remedy="Give its design of the same task, or make the hierarchical fit again.",
            )
        problem = Problem.of_design(design.driven_by(known.transition_names))
        check_problem(problem, known, where)
    except InputError as error:
        return Excluded(design.subject, str(error))
    try:
        check_folds(settings.cv_folds, problem, where)
        given = len(problem.sessions), settings.cv_folds
        train = split_sessions(*given, "interleaved", settings.seed).train
        check_unseen(design.subject, problem, train, hierarchy.folds, f"{where}, folds")
    except InputError as error:
        notes = (*notes, str(error))
        settings = replace(settings, cv_folds=0)

    def job(levels: Sequence[Level], fold: int | None) -> Job:
        centers = {x.num_states: x.prior.center() for x in levels if x.prior}
        return Job(
            problem=problem,
            specifications={x.num_states: x.specification for x in levels},
            settings=replace(settings, n_restarts=0) if centers else settings,
            subject=design.subject,
            population=centers,
            warm_starts={},
            fold=fold,
        )

    jobs = [job(hierarchy.levels, None)]
    if settings.cv_folds:
        jobs += [job(one.levels, fold) for fold, one in enumerate(hierarchy.folds)]
    return [workers.submit(one, tell) for one in jobs], notes


def _finish(
    design: Design,
    hierarchy: Hierarchy,
    futures: list[Future[Any]],
    notes: tuple[str, ...],
) -> SubjectFits | Excluded:
    """Wait for a subject's jobs; the fits, or why there are none."""
    try:
        full, *folds = [future.result() for future in futures]
        fits: list[FitResult] = assemble(full, folds)
    except InputError as error:
        return Excluded(design.subject, str(error))
    return SubjectFits(
        subject=design.subject,
        fingerprint=shrunken_fingerprint(design, hierarchy),
        choice_names=design.choice_names,
        keys_session=design.keys["session"].to_numpy().astype(str),
        keys_trial=design.keys["trial"].to_numpy(),
        fits=tuple(fits),
        notes=notes,
        population=hierarchy.fingerprint,
    )
