"""Curvature of the MAP objective: the Hessian of the marginal likelihood, exactly.

The E-step gives the exact gradient (Fisher's identity), so its directional derivatives along the
coordinates are the columns of the Hessian: forward differentiation through the messages. What
the states leave unknown is thereby accounted for; the complete-data information of the M-step is
not enough for standard errors (Louis 1982).
"""

import jax
import jax.numpy as jnp

from glmhmm_core.engine.coordinates import directions, pack, unpack
from glmhmm_core.engine.expectation import Data, expect
from glmhmm_core.engine.parameters import Free, Parameters, Prior

#: Coordinates differentiated at once: keeps the memory of a pooled fit within bounds.
TOGETHER = 8


@jax.jit
def gradient_and_hessian(
    params: Parameters, data: Data, prior: Prior, free: Free
) -> tuple[jax.Array, jax.Array]:
    """Gradient (P,) and Hessian (P, P) of the MAP objective in the packed coordinates.

    Rows and columns of frozen weights are not to be used. The initial log-probabilities have
    one direction too many, along which the objective does not change.

    Parameters
    ----------
    params
        Parameters with positive probabilities.
    data, prior, free
        As for the E-step.
    """

    def gradient(theta: jax.Array) -> jax.Array:
        at = unpack(theta, params)
        return directions(at, expect(at, data, prior, free))[0]

    theta = pack(params)
    value, along = jax.linearize(gradient, theta)
    size = theta.size
    chunks = jnp.eye(size + -size % TOGETHER, size).reshape(-1, TOGETHER, size)
    hessian = jax.lax.map(jax.vmap(along), chunks).reshape(-1, size)[:size]
    return value, (hessian + hessian.T) / 2
