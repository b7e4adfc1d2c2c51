"""Subjects drawn from a population, and all that is fitted to them: each made once."""

from functools import cache

import numpy as np
from core.engine.climbs import MAX_ITERS
from core.fitting.fitted import design_of
from core.oracles import simulate

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import FitSettings, fit_population
from glmhmm_core.fitting.hierarchy import fit_hierarchy
from glmhmm_core.fitting.shrinkage import fit_shrunken
from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken

SETTINGS = FitSettings(emission_prior_scale=3.0, n_restarts=2, max_iters=MAX_ITERS, cv_folds=2)
MEAN = np.array([[4.0, 0.2], [0.5, -1.5]])
SD = np.array([[1.2, 0.4], [0.4, 0.8]])
#: All of a subject's ten sessions but the last.
FIRST = [f"s{i}" for i in range(9)]
#: Prospective folds, and what the first of them trains on and is scored on.
AHEAD, PAST, NEXT = 2, ("s0", "s1", "s2", "s3", "s4"), ("s5", "s6")


@cache
def cohort(subjects=8, sessions=10, length=40, states=2):
    """Trials of subjects drawn from a population, and the weights that made them."""
    rng = np.random.default_rng(0)
    trials, weights = {}, []
    for i in range(subjects):
        own = MEAN[:states] + SD[:states] * rng.normal(size=(states, 2))
        stay = 1 / (1 + np.exp(-rng.normal(2.5, 0.5, states)))
        matrix = (
            np.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]])
            if states > 1
            else np.ones((1, 1))
        )
        params = Parameters(np.full(states, 1 / states), matrix, own[:, None])
        trials[f"s{i}"] = simulate(rng, params, (length,) * sessions)[0]
        weights.append(own)
    return trials, np.array(weights)


@cache
def designs():
    return {name: design_of(trials, name) for name, trials in cohort()[0].items()}


@cache
def pooled():
    return fit_population(designs(), [2], SETTINGS)


@cache
def learned():
    return fit_hierarchy(designs(), pooled(), [2], AHEAD)


@cache
def shrunken():
    return fit_shrunken(designs(), learned())


@cache
def forecasts():
    return forecast_shrunken(shrunken(), learned())
