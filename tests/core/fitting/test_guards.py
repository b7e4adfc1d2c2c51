"""Guards that belong to no one room: precision, and states where there are none."""

import jax
import numpy as np
import polars as pl
import pytest
from core.fitting.fitted import two

from glmhmm_core.comparison.selection import choose_for_subject
from glmhmm_core.comparison.session_scores import session_scores
from glmhmm_core.design.design import Design
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting import FitSettings, fit_subjects
from glmhmm_core.simulation.simulate import simulate


def test_everything_is_in_double_precision():
    fit = two()
    arrays = [*jax.tree.leaves(fit.fitted_params), *vars(fit).values()]
    kinds = {a.dtype for a in arrays if hasattr(a, "dtype") and a.dtype.kind == "f"}
    assert kinds == {np.dtype(np.float64)}
    # A sum of 180,000 log-likelihoods in single precision is off by more than any tolerance.
    assert jax.numpy.asarray(np.log(np.full(9, 0.6))).dtype == np.float64


@pytest.mark.slow
def test_choices_of_a_glm_are_given_one_state():
    """With history fed back, so that runs of one choice are there, and look like states."""
    rng = np.random.default_rng(5)
    ids = np.repeat([f"s{i:02d}" for i in range(20)], 60)
    X = np.column_stack([rng.normal(size=len(ids)), np.ones(len(ids)), np.zeros(len(ids))])
    glm = Parameters(np.ones(1), np.ones((1, 1)), np.array([[[1.5, 0.2, 0.8]]]))
    made = simulate(glm, X, ids, history={"previous_choice": [2]}, seed=8)
    design = Design(
        subject="control",
        keys=pl.DataFrame({"session": ids, "trial": np.tile(np.arange(60), 20)}),
        X=made.X,
        y=made.y,
        mask=np.ones(len(ids), bool),
        feature_names=("stimulus", "bias", "previous_choice"),
        choice_names=("left", "right"),
        baseline_class_idx=0,
        prior_scales=np.array([10.0, 3.0, 2.0]),
    )
    settings = FitSettings(emission_prior_scale=None, n_restarts=2, cv_folds=2)
    fits = fit_subjects({"control": design}, [1, 2], settings)["control"]
    assert choose_for_subject(session_scores(fits)).num_states == 1
