"""Starting points of the climb: where restarts begin."""

import hashlib

import numpy as np

from glmhmm_core.engine.parameters import Parameters

#: Spread of the weights around the GLM's, in turn over restarts.
NOISE = (0.5, 1.0)
#: Probability of staying in a state, in turn over pairs of restarts.
STAY = (0.95, 0.85)


def generator(seed: int, subject: str, num_states: int, restart: int) -> np.random.Generator:
    """Random numbers of one restart; they depend on nothing but these four."""
    name = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, name, num_states, restart])


def units(X: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Power of ten nearest to the size of each regressor, float64 (M,): 1 for ordinary ones.

    The size is the mean distance from zero where the regressor is not zero, so that a rare one is
    not taken for a small one.

    Parameters
    ----------
    X : float64 (B, M, T, S)
        Regressors, in blocks of lanes.
    counted : float64 (B, T, S)
        1 where a choice counts, else 0.
    """
    axes = (0, 2, 3)
    sizes = np.abs(X) * counted[:, None]
    number = (sizes > 0).sum(axes)
    mean = sizes.sum(axes) / np.maximum(number, 1)
    return 10.0 ** np.round(np.log10(np.where(number > 0, mean, 1.0)))


def starting_point(
    glm_weights: np.ndarray,
    units: np.ndarray,
    num_states: int,
    restart: int,
    rng: np.random.Generator,
) -> Parameters:
    """GLM weights plus Gaussian noise in every state, sticky transitions (Ashwood et al. 2022).

    The noise is wider than theirs (0.2): from starts so close together a third of the fits of
    pooled data end in the same inferior optimum.

    Parameters
    ----------
    glm_weights : float64 (C-1, M)
        Weights of the model with one state.
    units : float64 (M,)
        See :func:`units`: noise in log-odds of a trial, whatever the scale of a regressor.
    """
    noise = NOISE[restart % len(NOISE)]
    stay = STAY[restart // len(NOISE) % len(STAY)]
    noise = noise * rng.normal(size=(num_states, *glm_weights.shape)) / units
    weights = glm_weights + noise
    matrix = np.full((num_states, num_states), (1 - stay) / max(num_states - 1, 1))
    np.fill_diagonal(matrix, stay if num_states > 1 else 1.0)
    return Parameters(np.full(num_states, 1.0 / num_states), matrix, weights)
