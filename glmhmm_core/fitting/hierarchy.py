"""The hierarchical fit: subjects drawn from a population whose mean and spread are learned.

Every weight of every state, and every log-odds of the chain, is normal over subjects
(:mod:`~glmhmm_core.fitting.empirical_bayes`). It is learned from all sessions, and for every fold
without the sessions that are held out there. States keep the population's numbers, since all
subjects begin at the pooled fit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.empirical_bayes import Level, learn_level
from glmhmm_core.fitting.fingerprint import data_hash, sources_hash
from glmhmm_core.fitting.fold_population import FoldPopulation
from glmhmm_core.fitting.population_forecasts import learn_forecasts
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.result import CVFoldResult, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.workers import available_cores


@dataclass(frozen=True)
class Hierarchy:
    """A version of the hierarchical fit: every model's population, for all sessions and each fold.

    Attributes
    ----------
    fingerprint
        Hash of what made it: the pooled fit, the subjects' data and the sources.
    population
        Fingerprint of the pooled fit that it began at.
    subjects
        Whose data are in it.
    settings
        How subjects are fitted, but for their priors.
    choice_names, baseline_class_idx
        As in a design.
    levels
        By number of states, ascending.
    folds
        The same, for each fold of held-out sessions, learned without them.
    forecasts
        The same, for each prospective fold, learned from everyone's past; none where they were
        not asked for, or fewer than two subjects have sessions enough.
    notes
        What is to be known of it, one sentence each.
    """

    fingerprint: str
    population: str
    subjects: tuple[str, ...]
    settings: FitSettings
    choice_names: tuple[str, ...]
    baseline_class_idx: int
    levels: tuple[Level, ...]
    folds: tuple[FoldPopulation, ...]
    forecasts: tuple[FoldPopulation, ...] = ()
    notes: tuple[str, ...] = ()

    def level(self, num_states: int, fold: int | None = None) -> Level:
        """The population of one model, of all sessions or without a fold's."""
        levels = self.levels if fold is None else self.folds[fold].levels
        return next(level for level in levels if level.num_states == num_states)


def hierarchy_fingerprint(
    designs: Mapping[str, Design],
    pooled: SubjectFits,
    num_states: Sequence[int],
    prospective_folds: int = 0,
) -> str:
    """Hash of everything that decides a hierarchical fit, as 64 hexadecimal digits."""
    asked = f"{sorted(set(num_states))}{prospective_folds}"
    digest = hashlib.sha256(f"{pooled.fingerprint}{asked}".encode())
    for subject in sorted(designs):
        digest.update(data_hash(designs[subject]).encode())
    digest.update(sources_hash().encode())
    return digest.hexdigest()


def fit_hierarchy(
    designs: Mapping[str, Design],
    pooled: SubjectFits,
    num_states: Sequence[int],
    prospective_folds: int = 0,
) -> Hierarchy:
    """Learn how the subjects of a cohort are spread around their mean, for every model.

    Parameters
    ----------
    designs
        The subjects, by name, with the regressors and choices of ``pooled``.
    pooled
        All of them fitted as one (:func:`~glmhmm_core.fitting.population.fit_population`) with
        the priors, folds and seed to use here; for a single subject, its own fit.
    num_states
        The models, of those that ``pooled`` has.
    prospective_folds
        Prospective folds (:func:`~glmhmm_core.fitting.folds.split_sessions`) to learn the
        population for too; 0 for none.

    Raises
    ------
    InputError
        If a model is not in ``pooled``, has one state and transition regressors, or a design
        lacks one of these or is not that of ``pooled``.
    """
    subjects = tuple(sorted(designs))
    known = {fit.num_states: fit for fit in pooled.fits}
    missing = sorted(set(num_states) - set(known))
    if missing or not subjects:
        raise InputError(
            f"the pooled fit has no model of {missing} states" if missing else "no subjects",
            where="hierarchical fit",
            remedy="Fit the population with these numbers of states, and one subject at least.",
        )
    notes: tuple[str, ...] = ()
    if len(subjects) == 1:
        notes = (
            f"{subjects[0]} is alone: a single subject has no population to learn from, "
            "and its priors are the ordinary ones.",
        )
    models = [known[k] for k in sorted(set(num_states))]
    regressors = models[0].transition_names
    if regressors and models[0].num_states == 1:
        raise InputError(
            "a model of one state has no transitions that regressors could drive",
            where="hierarchical fit",
            remedy="Name numbers of states from 2 on, or fit it without transition regressors.",
        )
    _check_designs(designs, pooled)
    driven = {s: designs[s].driven_by(regressors) for s in subjects}
    problems = {s: Problem.of_design(design) for s, design in driven.items()}
    settings, folds = models[0].settings, []
    with ThreadPoolExecutor(available_cores(), "hierarchy") as pool:
        data = [problem.data() for problem in problems.values()]
        levels = [learn_level(fit, fit.fitted_params, data, pool) for fit in models]
        for fold in range(settings.cv_folds):
            held_out = {
                s: problem.folds(settings.cv_folds, settings.seed) == fold
                for s, problem in problems.items()
            }
            data = [problems[s].data(out[problems[s].session_index]) for s, out in held_out.items()]
            begin = [fit.cv_metrics[fold] for fit in models]
            nested = [
                learn_level(fit, start.fitted_params, data, pool)
                for fit, start in zip(models, begin, strict=True)
            ]
            seen = {s: _seen(s, problems[s], out, begin[0]) for s, out in held_out.items()}
            folds.append(FoldPopulation(tuple(nested), seen if len(subjects) > 1 else {}))
        forecasts, told = learn_forecasts(models, driven, prospective_folds, pool)
    return Hierarchy(
        hierarchy_fingerprint(designs, pooled, num_states, prospective_folds),
        pooled.fingerprint,
        subjects,
        settings,
        pooled.choice_names,
        models[0].baseline_class_idx,
        tuple(levels),
        tuple(folds),
        forecasts,
        (*notes, *told),
    )


def _check_designs(designs: Mapping[str, Design], pooled: SubjectFits) -> None:
    """Refuse subjects whose weights would not mean what the pooled fit's do."""
    fit = pooled.fits[0]
    for subject, design in sorted(designs.items()):
        for what, own, known in (
            ("regressors", design.feature_names, fit.emission_names),
            ("choices", design.choice_names, pooled.choice_names),
            ("baseline class", design.baseline_class_idx, fit.baseline_class_idx),
        ):
            if own != known:
                raise InputError(
                    f"of {what} it has {own}, the pooled fit {known}",
                    where=f"subject {subject!r}, hierarchical fit",
                    remedy="Fit the population anew from these designs, or leave the subject out.",
                )


def _seen(
    subject: str, problem: Problem, held_out: np.ndarray, start: CVFoldResult
) -> tuple[str, ...]:
    """A subject's sessions without those held out, and those that the pooled start was fitted to.

    The pooled fit may be older than the sessions, and its fold another one then.
    """
    trained = np.array(problem.sessions)[~held_out].tolist()
    pooled = [name.partition("/") for name in start.training_session_ids]
    return tuple(dict.fromkeys([*trained, *(name for who, _, name in pooled if who == subject)]))
