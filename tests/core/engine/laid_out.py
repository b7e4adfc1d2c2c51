"""Trials of the oracles in the engine's lanes, padded to one shape so that it compiles once."""

import jax
import numpy as np

from glmhmm_core.engine import coordinates, expectation
from glmhmm_core.engine.lanes import Lanes, arrange, fill
from glmhmm_core.engine.messages import smooth
from glmhmm_core.engine.parameters import make_prior
from glmhmm_core.engine.viterbi import viterbi

#: Time steps and lanes that all tiny cases are padded to.
TINY = (8, 6)

pack, unpack = jax.jit(coordinates.pack), jax.jit(coordinates.unpack)


@jax.jit
def evaluate(params, data, prior, free):
    """The E-step, and its gradient, EM's step and metric in coordinates."""
    e = expectation.expect(params, data, prior, free)
    return e, *coordinates.directions(params, e)


def lanes_of(trials, shape=None):
    """Lanes, and the layout that says where each trial stands."""
    layout = arrange(trials.session_ids)
    lanes = fill(
        layout,
        trials.X,
        trials.U,
        trials.y,
        trials.mask,
        trials.num_classes,
        trials.baseline,
    )
    return (lanes if shape is None else padded(lanes, shape)), layout


def padded(lanes, shape):
    """The same lanes with steps and lanes behind them in which no trial stands."""

    def pad(array, value):
        widths = [(0, 0)] * array.ndim
        widths[-2], widths[-1] = (
            (0, shape[0] - array.shape[-2]),
            (0, shape[1] - array.shape[-1]),
        )
        return np.pad(array, widths, constant_values=value)

    return Lanes(**{name: pad(a, name == "reset") for name, a in lanes._asdict().items()})


def data_of(trials, shape=None):
    return expectation.prepare(lanes_of(trials, shape)[0])


def prior_of(priors, num_states):
    """The engine's prior of the oracles'."""
    return make_prior(
        num_states,
        priors.emission_scale,
        priors.concentration,
        priors.stickiness,
        priors.transition_scale if priors.transition_scale.size else None,
    )


def in_rows(array, layout):
    """(..., T, S) in lanes -> (n, ...) in the order of the trials."""
    return np.asarray(array)[..., layout.step, layout.lane].T


def inferred(params, trials, shape=TINY):
    """The engine's messages in rows: predicted, filtered, smoothed, scale, choices' law, path."""
    lanes, layout = lanes_of(trials, shape)
    filtered, smoothed, choices = smooth(params, lanes)
    arrays = (
        filtered.predicted,
        filtered.filtered,
        smoothed.smoothed,
        filtered.scale,
        choices,
        viterbi(params, lanes),
    )
    return tuple(in_rows(a, layout) for a in arrays)
