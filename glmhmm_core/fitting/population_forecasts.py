"""The population as everyone's past tells of it: one for each prospective fold.

A fold forecasts the next sessions of every subject at once, so its population is learned from the
sessions before those, of all subjects: no session that is forecast, or comes later, is in it. It
begins at a pooled fit of the same sessions, since the one that is there has seen the future.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.empirical_bayes import learn_level
from glmhmm_core.fitting.fold_population import FoldPopulation
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.population import pooled_design
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.prospective import PastFits, prospective_splits
from glmhmm_core.fitting.result import FitResult


def learn_forecasts(
    models: Sequence[FitResult],
    designs: Mapping[str, Design],
    num_folds: int,
    pool: ThreadPoolExecutor,
) -> tuple[tuple[FoldPopulation, ...], tuple[str, ...]]:
    """Learn the population of every model for each prospective fold.

    Subjects with too few sessions for so many folds are not forecast, and take no part.

    Parameters
    ----------
    models
        Pooled fits, which say what is fitted and how.
    designs
        The subjects by name, all with the regressors and choices of ``models``.
    num_folds
        Prospective folds of every subject.
    pool
        Threads for the climbs.

    Returns
    -------
    populations
        By fold; empty where there are none, or fewer than two subjects take part.
    notes
        Who takes no part and why, and that nothing was learned where that is so.
    """
    if not num_folds:
        return (), ()
    problems = {subject: Problem.of_design(designs[subject]) for subject in sorted(designs)}
    splits: dict[str, Splits] = {}
    left_out: list[str] = []
    for subject, problem in problems.items():
        try:
            splits[subject] = prospective_splits(problem, num_folds, subject)
        except InputError as error:
            left_out.append(f"{subject} ({error.problem})")
    who = ", ".join(left_out)
    notes = [f"Without a part in the populations of prospective folds: {who}."] if who else []
    if len(splits) < 2:
        notes.append("No population was learned for prospective folds: it takes two subjects.")
        return (), tuple(notes)
    together = pooled_design({subject: designs[subject] for subject in splits})
    trained, tested = (np.concatenate(sides, 1) for sides in zip(*splits.values(), strict=True))
    everyone = Splits(trained, tested)
    problem = Problem.of_design(together)
    pooled = [PastFits(fit, problem, together.subject, everyone) for fit in models]
    begin = [[climb.params for climb, _ in past.ends(pool.map, lambda _: None)] for past in pooled]
    forecasts = []
    for fold in range(num_folds):
        pasts = {subject: split.train[fold] for subject, split in splits.items()}
        data = [problems[s].data(~past[problems[s].session_index]) for s, past in pasts.items()]
        levels = [
            learn_level(fit, starts[fold], data, pool)
            for fit, starts in zip(models, begin, strict=True)
        ]
        sessions = {s: np.array(problems[s].sessions)[past] for s, past in pasts.items()}
        seen = {s: tuple(names.tolist()) for s, names in sessions.items()}
        forecasts.append(FoldPopulation(tuple(levels), seen))
    return tuple(forecasts), tuple(notes)
