"""The free parameters of a fit by name, as numbers on a line each: log-odds and weights.

These are the engine's coordinates without what is frozen, and without the one direction in which
the initial probabilities' logarithms do not matter: they are taken over the most probable one's.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import LARGEST, others
from glmhmm_core.fitting.result import FitResult

#: What each row of a table of parameters is about.
KEY_SCHEMA: dict[str, pl.DataType] = {
    # "initial": log-odds that a session begins in the state over beginning in the target;
    # "transition": log-odds of leaving the state for the target over staying, at u = 0;
    # "transition_weight": of those, per unit of the feature;
    # "weight": log-odds of the class over the baseline in the state, per unit of the feature.
    "parameter": pl.String(),
    "state_idx": pl.Int64(),
    "target_idx": pl.Int64(),
    "class_idx": pl.Int64(),
    "feature": pl.String(),
}


@dataclass(frozen=True)
class FreeParameters:
    """P free parameters.

    Attributes
    ----------
    keys : DataFrame of P rows, as ``KEY_SCHEMA``
    index : int (P,)
        Place of each in the engine's packed coordinates.
    reference
        State whose initial probability the others' are relative to.
    """

    keys: pl.DataFrame
    index: np.ndarray
    reference: int

    def values(self, params: Parameters) -> np.ndarray:
        """Value of each, float64 (P,); log-odds within the engine's bounds."""
        initial, chain, weights = _coordinates(params)
        initial = initial - initial[self.reference]
        packed = np.concatenate([initial, chain.ravel(), weights.ravel()])
        bounded = np.clip(packed, -LARGEST, LARGEST)
        return np.where(self.keys["parameter"] == "weight", packed[self.index], bounded[self.index])


def free_parameters(fit: FitResult, reference: int | None = None) -> FreeParameters:
    """Name the free parameters of a fit.

    ``reference`` is the state that initial probabilities are relative to; the most probable one
    if not given.
    """
    k, features = fit.num_states, fit.emission_names
    free = fit.specification.free(k)
    if reference is None:
        reference = int(np.argmax(fit.fitted_params.initial_probs))
    rows: list[tuple] = []
    fitted: list[bool] = []
    for state in range(k):
        rows.append(("initial", state, reference, None, None))
        fitted.append(state != reference)
    for state in range(k):
        for row, target in enumerate(others(k)[state].tolist()):
            rows.append(("transition", state, target, None, None))
            fitted.append(True)
            for column, name in enumerate(fit.transition_names):
                assert free.transition is not None
                rows.append(("transition_weight", state, target, None, name))
                fitted.append(bool(free.transition[state, row, column]))
    classes = [c for c in range(fit.num_classes) if c != fit.baseline_class_idx]
    for state in range(k):
        for row, c in enumerate(classes):
            for column, name in enumerate(features):
                rows.append(("weight", state, None, c, name))
                fitted.append(bool(free.emission[state, row, column]))
    keys = pl.DataFrame(rows, schema=KEY_SCHEMA, orient="row")
    return FreeParameters(keys.filter(fitted), np.flatnonzero(fitted), reference)


def interchangeable(fit: FitResult) -> np.ndarray:
    """Which states have the same frozen weights, and so may change numbers: bool (K, K)."""
    frozen = [
        (dict(fit.frozen_emissions.get(k, {})), dict(fit.frozen_transitions.get(k, {})))
        for k in range(fit.num_states)
    ]
    return np.array([[a == b for b in frozen] for a in frozen])


def _coordinates(params: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms (K,), log-odds with their weights (K, K-1, 1+D), weights; finite throughout."""
    least = np.exp(-LARGEST)
    initial = np.log(np.maximum(params.initial_probs, least))
    log = np.log(np.maximum(params.transition_matrix, least))
    k = len(initial)
    odds = log[np.arange(k)[:, None], others(k)] - np.diag(log)[:, None]
    chain = odds[:, :, None]
    if params.transition_weights is not None:
        chain = np.concatenate([chain, params.transition_weights], axis=2)
    return initial, chain, np.asarray(params.emission_weights)
