"""The fitting engine: arrays in, arrays out, on nothing but jax and numpy.

Letters: T time steps of a lane, S lanes, K states, C choices, M emission regressors.

Importing it switches JAX to 64-bit numbers for the whole process: the log-likelihood of a long
data set has fewer digits in 32 bits than the gains of the last iterations.
"""

import jax

jax.config.update("jax_enable_x64", True)
