"""The population's fit: one model of all subjects' trials, from which every subject starts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.batch import start_subject
from glmhmm_core.fitting.climb import ProgressCallback
from glmhmm_core.fitting.pool import pool
from glmhmm_core.fitting.result import Excluded, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.workers import Workers

#: Starting points of the pooled models. From eight the best known optimum of seven real mice was
#: found by 20 of 20 seeds (``python -m benchmarks.optima``).
RESTARTS = 8
#: Name of the subject that all are together.
SUBJECT = "population"


def pooled_design(designs: Mapping[str, Design]) -> Design:
    """The trials of all subjects as those of one.

    Raises
    ------
    InputError
        If there are fewer than two subjects, or they do not have one design.
    """
    if len(designs) < 2:
        raise InputError(
            f"a population of {len(designs)} subject(s) has nothing to share",
            where="population fit",
            remedy="Fit the subject by itself.",
        )
    return pool([designs[subject] for subject in sorted(designs)], SUBJECT)


def fit_population(
    designs: Mapping[str, Design],
    num_states: Sequence[int],
    settings: FitSettings,
    *,
    progress_callback: ProgressCallback | None = None,
) -> SubjectFits:
    """Fit every model to the trials of all subjects as if they were one (Ashwood et al. 2022).

    Folds are dealt within each subject as in its own fit, so that a subject's fold can start
    from a population that never saw the fold's sessions.

    Parameters
    ----------
    designs
        Two subjects or more, by name; all of one task.
    num_states, settings
        As for :func:`~glmhmm_core.fitting.batch.fit_subjects`; of the restarts ``RESTARTS`` at
        most are made.

    Raises
    ------
    InputError
        If there are fewer than two subjects, or they cannot be pooled or fitted.
    """
    design = pooled_design(designs)
    # In the order in which a problem lists its sessions: that of first appearance.
    sessions = [name for name, _ in groupby(design.keys["session"].to_list())]
    groups = tuple(name.partition("/")[0] for name in sessions)
    fewer = replace(settings, n_restarts=min(settings.n_restarts, RESTARTS))
    tell = progress_callback or (lambda _: None)
    with Workers() as workers:
        started = start_subject(
            design, tuple(sorted(set(num_states))), fewer, workers, tell, session_groups=groups
        )
        value = started if isinstance(started, Excluded) else started.finish()
    if isinstance(value, Excluded):
        raise InputError(
            value.reason,
            where="population fit",
            remedy="Leave the subject in question out of the study.",
        )
    return value
