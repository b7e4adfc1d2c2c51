"""``fit_glmhmm``: arrays of one subject in, one fitted model out."""

from collections.abc import Sequence

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.climb import ProgressCallback
from glmhmm_core.fitting.inputs import as_problem
from glmhmm_core.fitting.result import FitResult
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Frozen, Specification
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


def fit_glmhmm(
    y: np.ndarray,
    X: np.ndarray,
    session_ids: np.ndarray,
    *,
    num_states: int,
    num_classes: int,
    U: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    emission_names: Sequence[str] | None = None,
    transition_names: Sequence[str] | None = None,
    baseline_class_idx: int = 0,
    frozen_emissions: Frozen | None = None,
    frozen_transitions: Frozen | None = None,
    warm_start: Parameters | None = None,
    emission_prior_scale: float | tuple[float, ...] = 2.0,
    transition_prior_scale: float | tuple[float, ...] = 2.0,
    transition_concentration: float = 2.0,
    stickiness: float = 0.0,
    n_restarts: int = 20,
    max_iters: int = 1000,
    tol: float = 1e-9,
    seed: int = 0,
    cv_folds: int = 0,
    progress_callback: ProgressCallback | None = None,
) -> FitResult:
    """Fit a softmax GLM-HMM to one subject's trials.

    Hidden states follow a Markov chain that starts anew in every session; in each, the choice
    is a softmax GLM of the regressors (Ashwood et al. 2022, Nat Neurosci 25:201). Parameters
    are those of highest posterior density among all restarts.

    Parameters
    ----------
    y : int (T,)
        Choices 0..C-1; read only where ``mask`` is true.
    X : float (T, M)
        Regressors. No intercept is added: a bias is a column of ones.
    session_ids : (T,)
        Session of each trial. Trials of a session need not stand together; their order counts.
    num_states, num_classes
        K and C. K = 1 is a GLM.
    U : float (T, D), optional
        Transition regressors: row t drives the transition into trial t (GLM-HMM-T, Mohammadi et
        al. 2025), as log-odds of leaving for each other state over staying. The row of a
        session's first trial is not used. Default: a constant chain.
    mask : bool (T,), optional
        True where a choice was made; a trial without one still takes the chain a step further.
        Default: all.
    emission_names, transition_names
        Names of the M and the D regressors. Default: x0, x1, ... and u0, u1, ...
    baseline_class_idx
        Class whose logit is fixed at zero.
    frozen_emissions
        State -> regressor -> value that the weights of all classes are held at.
    frozen_transitions
        State -> transition regressor -> value that its weights on leaving the state are held at.
    warm_start
        Parameters of an earlier fit to start from first, besides the restarts; with
        ``n_restarts=0`` from it alone.
    emission_prior_scale, transition_prior_scale, transition_concentration, stickiness, \
n_restarts, max_iters, tol, seed, cv_folds
        See :class:`~glmhmm_core.fitting.settings.FitSettings`.
    progress_callback
        Told of every restart and fold, perhaps from several threads.

    Returns
    -------
    FitResult
        Rows in the order given.

    Raises
    ------
    InputError
        A ``ValueError`` that names what cannot be used and the remedy, before anything is
        fitted.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> X = np.column_stack([rng.normal(size=600), np.ones(600)])
    >>> y = (rng.random(600) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(int)
    >>> fit = fit_glmhmm(y, X, np.repeat(np.arange(6), 100), num_states=1, num_classes=2)
    >>> fit.converged, fit.fitted_params.emission_weights.shape
    (True, (1, 1, 2))
    """
    settings = FitSettings(
        emission_prior_scale=emission_prior_scale,
        transition_prior_scale=transition_prior_scale,
        transition_concentration=transition_concentration,
        stickiness=stickiness,
        n_restarts=n_restarts,
        max_iters=max_iters,
        tol=tol,
        seed=seed,
        cv_folds=cv_folds,
    )
    check_settings(settings, warm=warm_start is not None)
    problem = as_problem(y, X, session_ids, mask, num_classes, baseline_class_idx, "fit_glmhmm", U)
    model = Specification(
        num_classes,
        _names(emission_names, "x", problem.X),
        weight_scale("emission_prior_scale", emission_prior_scale, problem.X.shape[-1]),
        _names(transition_names, "u", problem.U),
        weight_scale("transition_prior_scale", transition_prior_scale, problem.U.shape[-1]),
        frozen_emissions or {},
        frozen_transitions or {},
    )
    check_problem(problem, model, "fit_glmhmm")
    check_num_states(num_states, problem, model, "fit_glmhmm")
    check_folds(cv_folds, problem, "fit_glmhmm")
    starts = {} if warm_start is None else {num_states: Start(warm_start)}
    if warm_start is not None:
        check_warm_start(warm_start, num_states, model, "fit_glmhmm")
    tell = progress_callback or (lambda _: None)
    with Workers() as workers:
        jobs = jobs_of(problem, {num_states: model}, settings, "", starts)
        full, *folds = [workers.submit(job, tell) for job in jobs]
        (fit,) = assemble(full.result(), [fold.result() for fold in folds])
        return fit


def _names(given: Sequence[str] | None, letter: str, columns: np.ndarray) -> tuple[str, ...]:
    if given is not None:
        return tuple(given)
    return tuple(f"{letter}{i}" for i in range(columns.shape[-1]))
