"""Probabilities as unconstrained numbers, for gradient descent on them."""

import jax
import jax.numpy as jnp
import tensorflow_probability.substrates.jax.bijectors as tfb


class FlooredSoftmax(tfb.SoftmaxCentered):
    """Softmax with the last logit at zero, whose inverse takes exact zeros.

    EM ends with probabilities of exactly zero where no session begins; their logarithm would
    make every gradient undefined.
    """

    def _inverse(self, y: jax.Array) -> jax.Array:
        return super()._inverse(jnp.maximum(y, jnp.finfo(y.dtype).tiny))
