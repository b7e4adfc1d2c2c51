"""Populations of mice to draw simulated subjects from: published parameters and their spread.

Order of states: engaged, biased left, biased right. Order of regressors: stimulus, bias,
previous_choice, wsls. Weights are log-odds of a right choice.
"""

from dataclasses import dataclass

import numpy as np

from glmhmm_core.engine.parameters import Parameters

STATE_NAMES = ("engaged", "biased left", "biased right")
FEATURE_NAMES = ("stimulus", "bias", "previous_choice", "wsls")


@dataclass(frozen=True)
class Population:
    """How the parameters of mice are spread.

    Attributes
    ----------
    weight_mean, weight_sd : float64 (K, M)
        Mean and standard deviation of each weight over mice, independent normal.
    min_engaged_stimulus
        The engaged state's stimulus weight is drawn again until it is at least this.
    self_transition : float64 (K, 3)
        10 %, 50 % and 90 % quantiles of each state's self-transition probability over mice;
        drawn between the outer two, linear in the logit.
    leaving : float64 (K, K)
        Where a state goes when it is left; rows sum to 1, zero on the diagonal.
    initial_probs : float64 (K,)
        Law of a session's first state, the same for all mice.
    """

    weight_mean: np.ndarray
    weight_sd: np.ndarray
    min_engaged_stimulus: float
    self_transition: np.ndarray
    leaving: np.ndarray
    initial_probs: np.ndarray


#: Means, standard deviations and quantiles over float64 refits of the 37 mice of Ashwood et
#: al. (2022); a state that is left goes to the engaged one twice as often as to the third.
ASHWOOD_MICE = Population(
    weight_mean=np.array(
        [[7.70, -0.02, 0.15, 0.11], [1.86, -2.05, 0.05, 0.28], [1.28, 1.92, 0.13, 0.27]]
    ),
    weight_sd=np.array(
        [[2.36, 0.80, 0.26, 0.13], [1.39, 0.60, 0.34, 0.25], [0.59, 0.95, 0.75, 0.35]]
    ),
    min_engaged_stimulus=4.0,
    self_transition=np.array([[0.916, 0.956, 0.980], [0.875, 0.929, 0.955], [0.619, 0.917, 0.963]]),
    leaving=np.array([[0.0, 0.5, 0.5], [2 / 3, 0.0, 1 / 3], [2 / 3, 1 / 3, 0.0]]),
    initial_probs=np.array([0.586, 0.216, 0.198]),
)


def draw_mouse(population: Population, rng: np.random.Generator) -> Parameters:
    """Draw the parameters of one mouse (two choices; rows of the one class but the baseline)."""
    weights = rng.normal(population.weight_mean, population.weight_sd)
    while weights[0, 0] < population.min_engaged_stimulus:
        weights[0, 0] = rng.normal(population.weight_mean[0, 0], population.weight_sd[0, 0])
    logits = _logit(population.self_transition)
    rank = rng.uniform(0.1, 0.9, len(logits))
    drawn = [
        np.interp(u, (0.1, 0.5, 0.9), quantiles) for u, quantiles in zip(rank, logits, strict=True)
    ]
    stay = _expit(np.array(drawn))
    transition = np.diag(stay) + (1 - stay)[:, None] * population.leaving
    return Parameters(population.initial_probs.copy(), transition, weights[:, None, :])


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p) - np.log1p(-p)


def _expit(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _textbook(fraction: float) -> Population:
    """Give mice around the example mouse, with a fraction of the spread of all."""
    logits = _logit(ASHWOOD_MICE.self_transition)
    stay = _logit(np.array([0.980, 0.947, 0.950]))
    switches = np.array([[0.0, 0.0142, 0.0115], [0.0475, 0.0, 0.0046], [0.0453, 0.0029, 0.0]])
    return Population(
        weight_mean=np.array(
            [[6.39, -0.04, 0.10, 0.10], [1.53, -2.70, -0.29, 0.29], [1.61, 2.24, 0.37, 0.33]]
        ),
        weight_sd=fraction * ASHWOOD_MICE.weight_sd,
        min_engaged_stimulus=4.0,
        self_transition=_expit(stay[:, None] + fraction * (logits - logits[:, 1:2])),
        leaving=switches / switches.sum(axis=1, keepdims=True),
        initial_probs=np.array([0.592, 0.193, 0.215]),
    )


#: Mice that all show the three states clearly: weights and self-transitions around a fit to the
#: example mouse of Ashwood et al. (2022), CSHL_008, with a quarter of the spread over the 37;
#: where states go, and where sessions begin, as in the fit to all 37 together.
TEXTBOOK_MICE = _textbook(fraction=0.25)
