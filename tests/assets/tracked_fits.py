"""Small hand-made fits for the tests of what is logged about fits."""

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.result import CVFoldResult, FitResult, SubjectFits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.specification import Specification

NAMES = ("stimulus", "bias", "previous_choice", "wsls")


def make_fit(num_states: int, *, iterations: int = 7, folds: int = 2, seed: int = 0) -> FitResult:
    """A fit of 60 trials in 3 sessions whose numbers are made up, and consistent in shape."""
    rng = np.random.default_rng(seed)
    T, C, M, R = 60, 2, len(NAMES), 4
    mask = np.ones(T, bool)
    mask[[5, 17]] = False
    trace = np.full((R, iterations + 1), np.nan)
    for restart in range(R):
        trace[restart] = -40.0 - restart - np.exp(-np.arange(iterations + 1.0))
    probs = rng.dirichlet(np.ones(num_states), T)
    choice_probs = rng.dirichlet(np.ones(C), T)
    params = Parameters(
        initial_probs=np.full(num_states, 1 / num_states),
        transition_matrix=np.full((num_states, num_states), 1 / num_states),
        emission_weights=rng.normal(size=(num_states, C - 1, M)),
    )
    fold = {
        "training_session_ids": ("a", "b"),
        "test_session_ids": ("c",),
        "training_trial_count": 40,
        "training_log_likelihood_per_trial": -0.5,
        "baseline_log_likelihood_per_trial": -0.69,
        "training_accuracy": 0.8,
        "best_restart": 0,
        "final_training_objective": -30.0,
        "converged": True,
        "test_session_log_likelihoods": (-6.0,),
        "test_session_trial_counts": (10,),
        "fitted_params": params,
    }
    scored = [(10, -0.6, 0.7), (30, -0.4, 0.9)][:folds]
    return FitResult(
        fitted_params=params,
        log_probability=trace[0],
        best_restart=0,
        restart_log_probability=trace,
        restart_objectives=trace[:, -1],
        restart_iterations=np.full(R, iterations),
        restart_converged=np.array([True, True, False, True]),
        y=np.where(mask, rng.integers(0, C, T), -1),
        X=rng.normal(size=(T, M)),
        U=np.empty((T, 0)),
        mask=mask,
        session_ids=np.repeat(["a", "b", "c"], T // 3),
        smoothed_state_probs=probs,
        predictive_state_probs=probs,
        choice_probs=choice_probs,
        raw_log_likelihood=-35.0,
        accuracy=0.75,
        num_states=num_states,
        baseline_class_idx=0,
        specification=Specification(C, NAMES, np.array([10.0, 3.0, 2.0, 2.0])),
        settings=FitSettings(n_restarts=R, cv_folds=folds),
        cv_metrics=tuple(
            CVFoldResult(
                fold_index=i,
                test_trial_count=n,
                test_log_likelihood_per_trial=ll,
                test_accuracy=accuracy,
                **fold,
            )
            for i, (n, ll, accuracy) in enumerate(scored)
        ),
    )


def make_fits(
    subject: str = "mouse 1", fingerprint: str = "f1", numbers: tuple[int, ...] = (1, 2), **options
) -> SubjectFits:
    """A subject's fits with these numbers of states."""
    fits = tuple(make_fit(k, **options) for k in numbers)
    return SubjectFits(
        subject=subject,
        fingerprint=fingerprint,
        choice_names=("left", "right"),
        keys_session=fits[0].session_ids,
        keys_trial=np.tile(np.arange(20), 3),
        fits=fits,
    )
