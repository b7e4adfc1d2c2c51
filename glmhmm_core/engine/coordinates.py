"""The parameters as one unconstrained vector, as an optimiser wants them.

In order: logarithms of the initial probabilities (K), log-odds of leaving each state over
staying with their weights (K, K-1, 1+D), emission weights (K, C-1, M).
"""

import jax
import jax.numpy as jnp

from glmhmm_core.engine.expectation import Expectation
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.transitions import LARGEST, chain_coordinates, matrix_of


def pack(params: Parameters) -> jax.Array:
    """Vector (P,) of parameters with positive probabilities."""
    initial, chain = jnp.log(jnp.asarray(params.initial_probs)), chain_coordinates(params)
    return jnp.concatenate([initial, chain.ravel(), jnp.ravel(params.emission_weights)])


def unpack(theta: jax.Array, like: Parameters) -> Parameters:
    """Parameters of a vector (P,), shaped like ``like``."""
    k = like.initial_probs.shape[0]
    regressors = 0 if like.transition_weights is None else like.transition_weights.shape[2]
    size = k * (k - 1) * (1 + regressors)
    initial, chain, weights = jnp.split(theta, [k, k + size])
    chain = chain.reshape(k, k - 1, 1 + regressors)
    return Parameters(
        jax.nn.softmax(jnp.maximum(initial, initial.max() - LARGEST)),
        matrix_of(jnp.clip(chain[:, :, 0], -LARGEST, LARGEST)),
        weights.reshape(like.emission_weights.shape),
        None if like.transition_weights is None else chain[:, :, 1:],
    )


def shortened(steps: jax.Array) -> jax.Array:
    """Steps (K, P), each scaled to no entry beyond ``LARGEST``: a direction, once cut, may fall."""
    longest = jnp.abs(steps).max(-1, keepdims=True, initial=0.0)
    return steps / jnp.maximum(1.0, longest / LARGEST)


def directions(params: Parameters, e: Expectation) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradient (P,), EM step (P,) and inverse complete-data information (P, P) of an E-step."""
    newton = shortened((e.metric @ e.gradient[:, :, None])[:, :, 0]).ravel()
    gradient = jnp.concatenate([e.initial.gradient, e.chain.gradient.ravel(), e.gradient.ravel()])
    chain = e.chain.em_step
    if params.transition_weights is not None:
        chain = shortened(chain)
    step = jnp.concatenate([e.initial.em_step, chain.ravel(), newton])
    metric = jax.scipy.linalg.block_diag(e.initial.metric, *e.chain.metric, *e.metric)
    return gradient, jnp.clip(step, -LARGEST, LARGEST), metric
