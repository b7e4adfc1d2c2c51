"""Fits of models with transition regressors, made out of synthetic ones without the engine."""

from dataclasses import replace

import numpy as np

from glmhmm_core.fitting.result import SubjectFits

NAMES = ("choices", "sides", "outcomes", "early_1", "early_2")


def with_regressors(
    fits: SubjectFits, names: tuple[str, ...] = NAMES, seed: int = 0, frozen: bool = False
) -> SubjectFits:
    """The models of two states or more, with random transition regressors and weights."""
    rng = np.random.default_rng(seed)
    made = []
    for fit in fits.fits:
        k, size = fit.num_states, len(names)
        if k == 1:
            continue
        weights = rng.normal(0, 0.8, (k, k - 1, size))
        held = {0: {names[0]: 0.25}} if frozen else {}
        if frozen:
            weights[0, :, 0] = 0.25
        model = replace(
            fit.specification,
            transition_names=names,
            transition_scale=np.full(size, 2.0),
            frozen_transitions=held,
        )
        params = fit.fitted_params._replace(transition_weights=weights)
        U = np.random.default_rng(seed + 1).normal(0, 0.5, (len(fit.y), size))
        made.append(replace(fit, fitted_params=params, U=U, specification=model))
    return replace(fits, fits=tuple(made))
