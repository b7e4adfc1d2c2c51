"""Whether a climb on its way comes to the same end as another one that is ahead of it.

Near a maximum the objective is a quadratic of the coordinates. Along the line to the maximum it
then gains half of what its slope at the beginning promises: objectives and a gradient that are
known, so that it costs no E-step to see. States have no order of their own, so that the line leads
to the maximum with its states ordered as the climb has them.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from glmhmm_core.engine.em import Point
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import others
from glmhmm_core.fitting.climb import Climb, Training

#: Nats below another climb from which one may be seen to come to its end, and how far the gain may
#: be off from half of what the slope promises, relatively. Of 55 restarts that waited (two
#: simulated mice, K = 2, 4, 5) two would have ended elsewhere: .02 nats above it, and 1.6 below.
REACH, QUADRATIC = 1.5, 0.05


def whose_end(climb: Climb, ahead: Sequence[Climb], training: Training) -> int | None:
    """Which of the climbs ahead has come near the end that this one will come to; None if none."""
    like, model = climb.params, training.specification
    k = len(like.initial_probs)
    # States that have weights or priors of their own are not exchangeable.
    free = all(np.isnan(values).all() for values in model.fixed(k))
    for i, other in enumerate(ahead):
        order = np.arange(k)
        if free and model.population is None:
            order = order_of(other.params, like, training.units)
        if leads_to(climb.begun.point, other.begun.point, order, like):
            return i
    return None


def leads_to(here: Point, top: Point, order: np.ndarray, like: Parameters) -> bool:
    """Whether the objective rises from ``here`` to ``top`` as a quadratic does to its maximum.

    Parameters
    ----------
    order : int (K,)
        Of the states of ``top``, as ``here`` has them.
    like
        Parameters of the same shapes.
    """
    gain = float(top.objective) - float(here.objective)
    if not 0 <= gain <= REACH:
        return False
    line = reordered(np.asarray(top.theta), order, like) - np.asarray(here.theta)
    promised = float(np.asarray(here.gradient) @ line) / 2
    return abs(gain - promised) <= QUADRATIC * promised


def order_of(top: Parameters, here: Parameters, units: np.ndarray) -> np.ndarray:
    """States of ``top`` in the order of the most alike ones of ``here``, by their weights: (K,).

    Parameters
    ----------
    units : float64 (M,)
        Sizes of the regressors.
    """
    apart = np.asarray(here.emission_weights)[:, None] - np.asarray(top.emission_weights)[None]
    return linear_sum_assignment(((apart * units) ** 2).sum((2, 3)))[1]


def reordered(theta: np.ndarray, order: np.ndarray, like: Parameters) -> np.ndarray:
    """Coordinates (P,) of the same model with its states in another order.

    Parameters
    ----------
    order : int (K,)
        State of ``theta`` that stands at each place.
    like
        Parameters of the same shapes.
    """
    k = len(order)
    weights = np.asarray(like.emission_weights)
    initial, chain, emission = np.split(theta, [k, theta.size - weights.size])
    rows, away = np.arange(k)[:, None], others(k)
    # Log-odds over staying, with those of staying itself.
    odds = np.zeros((k, k, chain.size // (k * (k - 1))))
    odds[rows, away] = chain.reshape(k, k - 1, -1)
    chain = odds[order][:, order][rows, away]
    return np.concatenate(
        [initial[order], chain.ravel(), emission.reshape(weights.shape)[order].ravel()]
    )
