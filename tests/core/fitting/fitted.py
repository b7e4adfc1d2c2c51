"""Fits of the small data sets that the engine is tested on: one shape, compiled once."""

from functools import cache

import numpy as np
import polars as pl
from core.engine.climbs import DRIVEN, MAX_ITERS, TWO, trials_of
from core.textbook_em import Priors

from glmhmm_core.design.design import Design
from glmhmm_core.fitting import fit_glmhmm

NAMES = ("stimulus", "bias")
#: What fit_glmhmm assumes when nothing is said.
DEFAULT = Priors(np.array([2.0, 2.0]), 2.0, 0.0)
RESTARTS = 4


def fit(trials, num_states=2, **options):
    """fit_glmhmm on the oracles' trials, with few restarts."""
    settings = {
        "mask": trials.mask,
        "n_restarts": RESTARTS,
        "max_iters": MAX_ITERS,
        "emission_names": NAMES,
    }
    if trials.U.shape[1]:
        settings["U"] = trials.U
    return fit_glmhmm(
        trials.y,
        trials.X,
        trials.session_ids,
        num_states=num_states,
        num_classes=trials.num_classes,
        baseline_class_idx=trials.baseline,
        **settings | options,
    )


@cache
def two():
    """Two states, two choices, a constant chain."""
    return fit(trials_of(TWO))


@cache
def driven():
    """Two states, three choices, two transition regressors."""
    return fit(trials_of(DRIVEN))


def design_of(trials, subject="ann"):
    """The trials as a subject's design, with the transition regressors that they have."""
    driven = trials.U.shape[1]
    order = {name: i for i, name in enumerate(dict.fromkeys(trials.session_ids))}
    trial = np.concatenate([np.arange(len(rows)) for rows in trials.sessions])
    assert sorted(trials.session_ids, key=order.get) == trials.session_ids.tolist()
    return Design(
        subject=subject,
        keys=pl.DataFrame({"session": trials.session_ids, "trial": trial}),
        X=trials.X,
        y=trials.y,
        mask=trials.mask,
        feature_names=NAMES,
        choice_names=("left", "right", "neither")[: trials.num_classes],
        baseline_class_idx=trials.baseline,
        prior_scales=np.array([10.0, 3.0]),
        transition_names=tuple(f"u{i}" for i in range(driven)),
        U=trials.U,
        transition_scales=np.full(driven, 2.0),
    )
