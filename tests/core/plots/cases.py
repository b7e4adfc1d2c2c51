"""Subjects and cohorts to draw: ordinary ones, and ones that strain a layout."""

from functools import cache

import numpy as np
import polars as pl
from core.synthetic_fits import IBL, make_subject, simpler, simulate

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.tables.behavior import psychometric_table
from glmhmm_core.tables.parameters import state_table, transition_table, weight_table
from glmhmm_core.tables.scores import fold_table, restart_table, score_table
from glmhmm_core.tables.trials import trial_table

LONG = "a_very_long_subject_name_from_some_laboratory_2019_07_18_mouse_17"
LABEL = "signed contrast (right − left)"


class Tables:
    """All tables of some subjects, one below the other."""

    def __init__(self, members):
        fits = [fit for _, fit in members]
        self.subject = fits[0].subject
        self.weights = pl.concat([weight_table(f) for f in fits])
        self.transitions = pl.concat([transition_table(f) for f in fits])
        self.states = pl.concat([state_table(f) for f in fits])
        self.scores = pl.concat([score_table(f) for f in fits])
        self.folds = pl.concat([fold_table(f) for f in fits])
        self.restarts = pl.concat([restart_table(f) for f in fits])
        self.trials = trial_table(fits[0], members[0][0])
        self.psychometrics = pl.concat([psychometric_table(f, t, "contrast") for t, f in members])
        self.fits = fits


@cache
def textbook():
    """A mouse of the published parameters, one to five states."""
    cleaned, _ = simulate(IBL, 8, 90, seed=1, subject="CSHL_008", missing=0.01)
    models = [IBL if k == 3 else simpler(IBL, k) for k in range(1, 6)]
    return Tables([(cleaned, make_subject(cleaned, models, subject="CSHL_008"))])


@cache
def ugly():
    """Three choices, five states, a long name, sessions of very different length."""
    names = ("left", "center", "right")
    rng = np.random.default_rng(5)
    five = rng.normal(0, 0.8, (5, 2, 4))
    five[:, 1, 0] += np.linspace(6, 0.5, 5)
    five[:, :, 1] += [[0, 0], [-2, -3], [-1, 3], [3, 1], [0, 0]]
    params = Parameters(np.full(5, 0.2), 0.9375 * np.eye(5) + 0.0125, five)
    lengths = np.array([2, 700, 40])
    cleaned, _ = simulate(params, 3, lengths, seed=2, subject=LONG, choice_names=names)
    one = Parameters(np.ones(1), np.ones((1, 1)), five[:1])
    fits = make_subject(cleaned, [one, params], subject=LONG, choice_names=names, n_folds=3)
    return Tables([(cleaned, fits)])


@cache
def many_states():
    """Eight states, none of which has a name."""
    cleaned, _ = simulate(IBL, 1, 500, seed=3, subject="KS005")
    models = [simpler(IBL, k) for k in (2, 5, 8)]
    return Tables([(cleaned, make_subject(cleaned, models, subject="KS005", n_folds=0))])


@cache
def cohort(size):
    """Mice that vary, some without all models, some whose states have no names."""
    rng = np.random.default_rng(0)
    members = []
    for i in range(size):
        name = f"CSHL_{i:03d}"
        spread = np.array([[[2.4]], [[1.2]], [[0.8]]]) * [1, 0.5, 0.25, 0.2]
        weights = IBL.emission_weights + rng.normal(0, 1, (3, 1, 4)) * spread
        if i % 9 == 4:
            weights[:, :, 0] = 0.5
        params = IBL._replace(emission_weights=weights)
        cleaned, _ = simulate(params, 5, 30, seed=i, subject=name)
        last = 3 if i % 7 == 0 else 5
        models = [params if k == 3 else simpler(params, k, seed=i) for k in range(1, last + 1)]
        options = {"subject": name, "seed": i, "n_restarts": 3}
        members.append((cleaned, make_subject(cleaned, models, **options)))
    return Tables(members)
