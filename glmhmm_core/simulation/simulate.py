"""Closed-loop simulation: choices of a softmax GLM-HMM that feed the history regressors back.

NumPy alone, so that simulating compiles nothing and does not import Dynamax. ``sample`` of
:class:`~glmhmm_core.model.softmax_glmhmm.SoftmaxGLMHMM` is the open-loop counterpart: there
the regressors are taken as given.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from glmhmm_core.design.arrays import classes, labels, numbers
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.simulation.closed_loop import Simulation, Subject, side_by_side
from glmhmm_core.simulation.feedback import History, Memory, as_regressor


def simulate(
    params: Parameters,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    history: History,
    rewarded: np.ndarray | None = None,
    U: np.ndarray | None = None,
    transition_history: History | None = None,
    baseline_class_idx: int = 0,
    no_choice_prob: float | Sequence[float] = 0.0,
    seed: int | Sequence[int] = 0,
) -> Simulation:
    """Draw states and choices of one subject, trial by trial.

    History is 0 on a session's first trial and carries over trials without a choice. The draws
    of a session depend on ``seed`` and on the session's place in order of first appearance, so
    that a longer session begins with the trials of a shorter one and an appended session
    changes no other.

    Parameters
    ----------
    params
        Parameters of the model.
    X : (T, M)
        Regressors; what stands in the history columns is replaced.
    session_ids : (T,)
        Session of each trial; trials of a session in order, sessions may interleave.
    history
        Columns of ``X`` that hold each history regressor, or kind of one, as the design codes
        it. :func:`~glmhmm_core.simulation.feedback.history_of` finds them for a task; an empty
        mapping takes all regressors as given.
    rewarded : (T,) int, optional
        Class whose choice is rewarded on each trial; needed for history that depends on
        outcomes.
    U : (T, D), optional
        Transition regressors; needed where the parameters have weights for them.
    transition_history
        The same as ``history`` of the columns of ``U``. Default: all are as given.
    baseline_class_idx
        Class whose logit is fixed at zero.
    no_choice_prob
        Probability that no choice is made, one number or one per state.
    seed
        Root of the random numbers, one or several non-negative integers.

    Returns
    -------
    Simulation
        States, choices, regressors and feedback.

    Raises
    ------
    InputError
        If shapes disagree, a probability is outside 0..1, or a history regressor cannot be
        computed from what is given.

    Examples
    --------
    >>> params = Parameters(np.ones(1), np.ones((1, 1)), np.array([[[2.0, 0.5]]]))
    >>> X = np.column_stack([np.linspace(-1, 1, 4), np.zeros(4)])
    >>> session = simulate(params, X, np.zeros(4), history={"previous_choice": [1]})
    >>> session.X[1:, 1].tolist() == (2.0 * session.y[:-1] - 1).tolist()
    True
    """
    (made,) = simulate_subjects(
        [params],
        [X],
        [session_ids],
        history=history,
        rewarded=None if rewarded is None else [rewarded],
        U=None if U is None else [U],
        transition_history=transition_history,
        baseline_class_idx=baseline_class_idx,
        no_choice_prob=no_choice_prob,
        seeds=[seed],
    )
    return made


def simulate_subjects(
    params: Sequence[Parameters],
    X: Sequence[np.ndarray],
    session_ids: Sequence[np.ndarray],
    *,
    history: History,
    rewarded: Sequence[np.ndarray] | None = None,
    U: Sequence[np.ndarray] | None = None,
    transition_history: History | None = None,
    baseline_class_idx: int = 0,
    no_choice_prob: float | Sequence[float] = 0.0,
    seeds: Sequence[int | Sequence[int]],
) -> list[Simulation]:
    """Draw states and choices of many subjects: each gets what :func:`simulate` gives it alone.

    All sessions of all subjects go side by side, so that the cost is that of the longest session
    rather than of their number; subjects of other numbers of states or regressors go apart.

    Parameters
    ----------
    params, X, session_ids, rewarded, U, seeds
        One of each for every subject, as for :func:`simulate`.
    history, transition_history, baseline_class_idx, no_choice_prob
        As for :func:`simulate`, the same for all subjects.

    Raises
    ------
    InputError
        As :func:`simulate` does, naming the subject by its number.
    """
    if not all(0 <= p <= 1 for p in np.atleast_1d(no_choice_prob)):
        raise InputError(
            f"no_choice_prob is {no_choice_prob}",
            where="simulate",
            remedy="Give probabilities between 0 and 1.",
        )
    given = [numbers("X", one, "simulate") for one in X]
    driving = (
        [np.empty((len(one), 0)) for one in given]
        if U is None
        else [numbers("U", one, "simulate") for one in U]
    )
    outcomes = (
        [None] * len(given)
        if rewarded is None
        else [classes("rewarded", one, None, "simulate")[0] for one in rewarded]
    )
    ids = [labels("session_ids", one, "simulate") for one in session_ids]
    columns = zip(params, given, ids, driving, outcomes, seeds, strict=True)
    subjects = [Subject(*each) for each in columns]
    alike: dict[tuple, list[int]] = defaultdict(list)
    for n, subject in enumerate(subjects):
        where = "simulate" if len(subjects) == 1 else f"simulate, subject {n}"
        _check(subject, history, transition_history, baseline_class_idx, where)
        shapes = tuple(None if a is None else np.shape(a) for a in subject.params)
        alike[(*shapes, subject.U.shape[1])].append(n)
    made: dict[int, Simulation] = {}
    for members in alike.values():
        runs = side_by_side(
            [subjects[n] for n in members],
            history,
            transition_history or {},
            baseline_class_idx,
            no_choice_prob,
        )
        made.update(zip(members, runs, strict=True))
    return [made[n] for n in range(len(subjects))]


def _check(
    subject: Subject,
    history: History,
    transition_history: History | None,
    baseline_class_idx: int,
    where: str,
) -> None:
    """Refuse shapes that do not belong together, and regressors that are no numbers."""
    params, X, session_ids, U, rewarded, _ = subject
    num_states, rows, num_features = np.shape(params.emission_weights)
    if not 0 <= baseline_class_idx <= rows:
        raise InputError(
            f"baseline_class_idx is {baseline_class_idx}",
            where=where,
            remedy=f"Give a class between 0 and {rows}.",
        )
    driven = params.transition_weights
    shapes: dict[str, tuple[object, object]] = {
        "initial_probs": (np.shape(params.initial_probs), (num_states,)),
        "transition_matrix": (np.shape(params.transition_matrix), (num_states, num_states)),
        "X": (X.shape, (len(session_ids), num_features)),
    }
    if driven is not None:
        shapes["U"] = (U.shape, (len(session_ids), np.shape(driven)[-1]))
    for what, fed_back in (("history", history), ("transition_history", transition_history or {})):
        for regressor, columns in fed_back.items():
            name = as_regressor(regressor).name
            width = Memory(regressor, 1, rows + 1, baseline_class_idx).width
            shapes[f"{what}[{name!r}]"] = (len(columns), width)
            if as_regressor(regressor).needs_outcome and rewarded is None:
                shapes["rewarded"] = (None, (len(X),))
    if rewarded is not None:
        shapes["rewarded"] = (np.shape(rewarded), (len(X),))
    for name, (given, wanted_shape) in shapes.items():
        if given != wanted_shape:
            raise InputError(
                f"{name} is of size {given} where {wanted_shape} belongs",
                where=where,
                remedy="Give parameters, regressors and sessions of one model.",
            )
    for values, fed_back in ((X, history), (U, transition_history or {})):
        made = [column for columns in fed_back.values() for column in columns]
        if not np.isfinite(np.delete(values, made, axis=1)).all():
            raise InputError(
                "regressors that are taken as given are not all finite",
                where=where,
                remedy="Remove or fill what is NaN or infinite.",
            )
