"""What cannot be fitted is refused before anything is, naming place and remedy."""

import numpy as np
import pytest
from core.engine.climbs import TWO, trials_of

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting import fit as fit_module
from glmhmm_core.fitting import fit_glmhmm

T = 400


@pytest.fixture(autouse=True)
def _nothing_is_fitted(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was fitted")

    monkeypatch.setattr(fit_module, "jobs_of", refuse)


def arguments(**changes):
    trials = trials_of(TWO)
    given = {
        "y": trials.y.copy(),
        "X": trials.X.copy(),
        "session_ids": trials.session_ids,
        "mask": trials.mask,
        "num_states": 2,
        "num_classes": 2,
    }
    return given | changes


def with_value(name, row, value):
    array = np.maximum(arguments()["y"], 0) if name == "y" else arguments()["X"]
    array = array.astype(np.float64)
    array[row] = value
    return {name: array, "mask": None}


X = arguments()["X"]
SINGLE = np.arange(T) == 5
NAN_START = Parameters(np.ones(2) / 2, np.ones((2, 2)) / 2, np.full((2, 1, 2), np.nan))
TWICE = Parameters(np.ones(2) / 2, np.ones((2, 2)) / 2, np.zeros((2, 1, 3)))

#: What is changed, and what the message must say.
REFUSED = {
    "y too short": ({"y": np.zeros(7, int), "mask": None}, "lengths"),
    "X too short": ({"X": X[:-1]}, "lengths"),
    "sessions too short": ({"session_ids": np.zeros(3)}, "lengths"),
    "sessions in two dimensions": ({"session_ids": np.zeros((T, 2))}, "session_ids have shape"),
    "session without a name": ({"session_ids": np.where(SINGLE, np.nan, 1.0)}, "row 5"),
    "mask too short": ({"mask": np.ones(3, bool)}, "mask"),
    "y in two dimensions": ({"y": np.zeros((T, 2), int), "mask": None}, "y has shape (400, 2)"),
    "X in one dimension": ({"X": X[:, 0]}, "X"),
    "X without columns": ({"X": X[:, :0]}, "X"),
    "X of words": ({"X": np.full((T, 2), "a")}, "X holds"),
    "X not a number": (with_value("X", (5, 1), np.nan), "row 5"),
    "X infinite": (with_value("X", (6, 0), np.inf), "row 6"),
    "U in one dimension": ({"U": X[:, 0]}, "U"),
    "U too short": ({"U": X[:-1]}, "lengths"),
    "U not a number where no choice counts": (
        {"U": np.where(SINGLE[:, None], np.nan, X), "mask": ~SINGLE},
        "in every trial, masked or not",
    ),
    "U infinite": ({"U": np.where(SINGLE[:, None], -np.inf, X)}, "row 5"),
    "choice too high": (with_value("y", 7, 2), "row 7"),
    "choice negative": (with_value("y", 8, -1), "row 8"),
    "choice a fraction": (with_value("y", 9, 0.5), "whole number"),
    "choice not a number": (with_value("y", 9, np.nan), "whole number"),
    "choice a word": ({"y": np.full(T, "left"), "mask": None}, "y holds"),
    "a mask of other numbers": ({"mask": np.where(SINGLE, 2, 1)}, "mask is 2 in row 5"),
    "no choice at all": ({"mask": np.zeros(T, bool)}, "no trial has a choice"),
    "one class": ({"num_classes": 1}, "num_classes"),
    "baseline too high": ({"baseline_class_idx": 2}, "baseline_class_idx"),
    "baseline negative": ({"baseline_class_idx": -1}, "baseline_class_idx"),
    "a name too few": ({"emission_names": ["a"]}, "emission_names"),
    "a name twice": ({"emission_names": ["a", "a"]}, "emission_names"),
    "an empty name": ({"emission_names": ["a", ""]}, "emission_names"),
    "transition names": ({"U": X, "transition_names": ["a"]}, "transition_names"),
    "transition names without U": ({"transition_names": ["a"]}, "transition_names"),
    "no state": ({"num_states": 0}, "num_states"),
    "too many states": ({"num_states": 30}, "Fit at most 18"),
    "one fold": ({"cv_folds": 1}, "cv_folds"),
    "negative folds": ({"cv_folds": -2}, "cv_folds"),
    "more folds than sessions": ({"cv_folds": 11}, "11 folds for 10 sessions"),
    "no restart": ({"n_restarts": 0}, "n_restarts"),
    "no iteration": ({"max_iters": 0}, "max_iters"),
    "tolerance zero": ({"tol": 0.0}, "tol"),
    "negative seed": ({"seed": -1}, "seed"),
    "prior scale zero": ({"emission_prior_scale": 0.0}, "emission_prior_scale"),
    "prior scale negative": ({"emission_prior_scale": (1.0, -2.0)}, "emission_prior_scale"),
    "prior scale no number": ({"emission_prior_scale": np.nan}, "emission_prior_scale"),
    "prior scales too many": ({"emission_prior_scale": (1.0,) * 3}, "3 entries for 2"),
    "transition scale zero": ({"U": X, "transition_prior_scale": 0.0}, "transition_prior_scale"),
    "concentration below 1": ({"transition_concentration": 0.9}, "no mode"),
    "concentration infinite": ({"transition_concentration": np.inf}, "transition_concentration"),
    "stickiness negative": ({"stickiness": -1.0}, "stickiness"),
    "frozen state": ({"frozen_emissions": {2: {"x0": 0.0}}}, "state 2"),
    "frozen regressor": ({"frozen_emissions": {0: {"other": 0.0}}}, "'other'"),
    "frozen at no number": ({"frozen_emissions": {0: {"x0": np.nan}}}, "nan"),
    "frozen transitions without U": ({"frozen_transitions": {0: {"u0": 0.0}}}, "u0"),
    "warm start of another shape": ({"warm_start": TWICE}, "warm start"),
    "warm start of no numbers": ({"warm_start": NAN_START}, "warm start"),
}


@pytest.mark.parametrize(("changes", "says"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(changes, says):
    with pytest.raises(InputError) as caught:
        fit_glmhmm(**arguments(**changes))
    error = caught.value
    assert says.lower() in str(error).lower()
    assert error.where
    assert error.remedy.endswith(".")
    assert isinstance(error, ValueError)


def test_what_was_not_changed_is_not_refused():
    with pytest.raises(AssertionError, match="something was fitted"):
        fit_glmhmm(**arguments())


def test_a_driven_warm_start_is_refused_by_a_constant_chain():
    half = np.full((2, 2), 0.5)
    driven = Parameters(half[0], half, np.zeros((2, 1, 2)), np.zeros((2, 1, 1)))
    with pytest.raises(InputError, match="transition_weights"):
        fit_glmhmm(**arguments(warm_start=driven))
