"""What arrays and settings must satisfy before anything is fitted."""

import math

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.devices import check_devices
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification


def check_settings(settings: FitSettings, *, warm: bool = False) -> None:
    """Refuse settings that make no sense, whatever the data, and devices that are not there.

    Parameters
    ----------
    warm
        Whether there is a warm start, so that restarts are not needed.

    Raises
    ------
    InputError
    """
    check_devices()
    rules = [
        ("n_restarts", settings.n_restarts >= (0 if warm else 1), "at least 1"),
        ("max_iters", settings.max_iters >= 1, "at least 1"),
        ("tol", 0 < settings.tol < 1, "between 0 and 1"),
        ("seed", settings.seed >= 0, "at least 0"),
        ("cv_folds", settings.cv_folds == 0 or settings.cv_folds >= 2, "0 or at least 2"),
        (
            "transition_concentration",
            1 <= settings.transition_concentration < math.inf,
            "a finite number of at least 1; below 1 the prior has no mode",
        ),
        ("stickiness", 0 <= settings.stickiness < math.inf, "a finite number of at least 0"),
        *(
            (name, _positive(getattr(settings, name)), "positive; infinity means no prior")
            for name in ("emission_prior_scale", "transition_prior_scale")
        ),
    ]
    for name, holds, wanted in rules:
        if not holds:
            raise InputError(
                f"{name} is {getattr(settings, name)}",
                where="fit settings",
                remedy=f"It must be {wanted}.",
            )


def _positive(scale: float | tuple[float, ...] | None) -> bool:
    return scale is None or bool(np.all(np.asarray(scale) > 0))


def weight_scale(
    option: str,
    given: float | tuple[float, ...] | None,
    size: int,
    default: np.ndarray | None = None,
) -> np.ndarray:
    """Standard deviation of the prior on the weight of each regressor, float64 (size,).

    Raises
    ------
    InputError
        If another number of scales is given than there are regressors.
    """
    scale = np.asarray(default if given is None else given, np.float64)
    if scale.shape not in ((), (size,)):
        raise InputError(
            f"{option} has {scale.size} entries for {size} regressors",
            where="fit settings",
            remedy="Give one number, or one per regressor.",
        )
    return np.broadcast_to(scale, (size,))


def check_problem(problem: Problem, specification: Specification, where: str) -> None:
    """Refuse arrays that cannot be fitted.

    Raises
    ------
    InputError
        Naming ``where``, the row or the regressor, and the remedy.
    """
    X, U, y, mask = problem.X, problem.U, problem.y, problem.mask

    def refuse(problem: str, remedy: str) -> None:
        raise InputError(problem, where=where, remedy=remedy)

    if X.ndim != 2 or X.shape[1] == 0:
        refuse(
            f"X has shape {X.shape}", "Give (trials, regressors), with a column of ones as bias."
        )
    if U.ndim != 2:
        refuse(f"U has shape {U.shape}", "Give (trials, transition regressors).")
    arrays = {"y": y, "X": X, "U": U, "mask": mask, "session_ids": problem.session_ids}
    if y.ndim != 1:
        refuse(f"y has shape {y.shape}", "Give one choice per trial: (trials,).")
    if problem.session_ids.ndim != 1:
        refuse(f"session_ids have shape {problem.session_ids.shape}", "Give one name per trial.")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        refuse(f"lengths differ: {lengths}", "Give one row per trial in each.")
    begins = problem.runs  # a name that is none begins a run of its own
    begun = zip(begins.tolist(), problem.session_ids[begins].tolist(), strict=True)
    nameless = [row for row, s in begun if s is None or s != s]
    if nameless:
        refuse(f"the session of row {nameless[0]} has no name", "Name the session of every trial.")
    if problem.num_classes < 2:
        refuse(f"num_classes is {problem.num_classes}", "A choice needs at least two classes.")
    if not 0 <= problem.baseline_class_idx < problem.num_classes:
        refuse(
            f"baseline_class_idx is {problem.baseline_class_idx}",
            f"It must be one of the {problem.num_classes} classes, counted from 0.",
        )
    for option, names, columns, remedy in (
        (
            "emission_names",
            specification.emission_names,
            X,
            "Regressors must be finite where a choice counts: fill it in, or mask the trial.",
        ),
        (
            "transition_names",
            specification.transition_names,
            U,
            "Transition regressors must be finite in every trial, masked or not, since states go "
            "on there: fill it in.",
        ),
    ):
        if len(names) != columns.shape[1] or len(set(names)) != len(names) or not all(names):
            refuse(
                f"{option} {names} do not fit {columns.shape[1]} regressors",
                "Give one distinct, non-empty name per column.",
            )
        bad = np.argwhere(~np.isfinite(columns))
        if len(bad):
            row, column = bad[0]
            refuse(f"regressor {names[column]!r} is {columns[row, column]} in row {row}", remedy)
    if not mask.any():
        refuse("no trial has a choice", "Give at least one trial with a choice.")
    wrong = np.flatnonzero(mask & ((y < 0) | (y >= problem.num_classes)))
    if len(wrong):
        refuse(
            f"choice {y[wrong[0]]} in row {wrong[0]}",
            f"Choices are 0..{problem.num_classes - 1}; mark a missing one in the mask.",
        )


def check_num_states(
    num_states: int, problem: Problem, specification: Specification, where: str
) -> None:
    """Refuse more states than the choices can bear: fewer choices than parameters.

    Raises
    ------
    InputError
        Naming the largest number of states that they bear.
    """
    if num_states < 1:
        raise InputError(f"num_states is {num_states}", where=where, remedy="Give at least 1.")
    specification.check(num_states, where)
    choices = int(problem.mask.sum())
    needed = specification.num_parameters(num_states)
    if needed > choices:
        unfrozen = specification.without_frozen()
        bearable = [k for k in range(1, num_states) if unfrozen.num_parameters(k) <= choices]
        raise InputError(
            f"K = {num_states} has {needed} parameters, more than the {choices} choices",
            where=where,
            remedy=f"Fit at most {bearable[-1]}." if bearable else "Record more trials.",
        )


def check_warm_start(
    start: Parameters, num_states: int, specification: Specification, where: str
) -> None:
    """Refuse a warm start of another shape than the model, or of no numbers.

    Raises
    ------
    InputError
    """
    k, driven = num_states, len(specification.transition_names)
    wanted = {
        "initial_probs": (k,),
        "transition_matrix": (k, k),
        "emission_weights": (k, specification.num_classes - 1, len(specification.emission_names)),
        "transition_weights": (k, k - 1, driven) if driven else None,
    }
    for name, shape in wanted.items():
        given = getattr(start, name)
        # A constant chain may warm-start a driven one: its weights begin at zero.
        if given is not None and np.shape(given) != shape:
            raise InputError(
                f"{name} of the warm start has shape {np.shape(given)}, the model {shape}",
                where=where,
                remedy="Start from a fit with the same states, choices and regressors.",
            )
        if given is not None and not np.all(np.isfinite(given)):
            raise InputError(
                f"{name} of the warm start is not finite",
                where=where,
                remedy="Start from a finished fit.",
            )


def check_folds(num_folds: int, problem: Problem, where: str) -> None:
    """Refuse more folds than sessions with a choice, or one that would hold out all of them.

    Raises
    ------
    InputError
    """
    there = np.unique(problem.session_index[problem.mask])
    remedy = "Ask for fewer folds, or 0 for none."
    if num_folds > len(there):
        raise InputError(
            f"{num_folds} folds for {len(there)} sessions with a choice", where=where, remedy=remedy
        )
    groups = problem.session_groups
    if num_folds and groups and len({groups[s] for s in there}) == len(there):
        raise InputError(
            f"each of the {len(there)} subjects has one session: the fold that holds these out "
            "leaves nothing to train on",
            where=where,
            remedy=remedy,
        )
