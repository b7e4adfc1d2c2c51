"""The posterior as a log density over the packed coordinates, with its exact gradient.

Samplers differentiate what they are given. Differentiating the messages backwards would keep all
of them; the E-step has the gradient as it stands (Fisher's identity), so it is given by hand.
"""

import jax
import jax.numpy as jnp

from glmhmm_core.engine.coordinates import directions, unpack
from glmhmm_core.engine.expectation import Data, expect
from glmhmm_core.engine.parameters import Free, Parameters, Prior


@jax.custom_vjp
def objective(
    theta: jax.Array, like: Parameters, data: Data, prior: Prior, free: Free
) -> jax.Array:
    """MAP objective at packed coordinates (P,), nats; differentiable in these alone.

    Parameters
    ----------
    theta
        As ``coordinates.pack`` makes them.
    like
        Parameters of the same shapes.
    data, prior, free
        As for the E-step.
    """
    return expect(unpack(theta, like), data, prior, free).objective


def _forward(
    theta: jax.Array, like: Parameters, data: Data, prior: Prior, free: Free
) -> tuple[jax.Array, jax.Array]:
    params = unpack(theta, like)
    expected = expect(params, data, prior, free)
    return expected.objective, directions(params, expected)[0]


def _backward(gradient: jax.Array, along: jax.Array) -> tuple[jax.Array | None, ...]:
    return along * gradient, None, None, None, None


objective.defvjp(_forward, _backward)


def log_density(
    theta: jax.Array, like: Parameters, data: Data, prior: Prior, free: Free
) -> jax.Array:
    """Log posterior density over the packed coordinates, up to a constant.

    The objective's priors are densities of probabilities; over log-odds each row's has the
    factor of the change of variables, the product of its probabilities. Thereby the flat prior
    of the first state's law is proper here too. One coordinate of that law is to be held fixed.
    """
    params = unpack(theta, like)
    volume = sum(
        jnp.log(jnp.maximum(probs, 1e-300)).sum()
        for probs in (params.initial_probs, params.transition_matrix)
    )
    return objective(theta, like, data, prior, free) + volume
