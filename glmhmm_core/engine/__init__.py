"""The fitting engine: arrays in, arrays out, on nothing but jax and numpy.

Letters: T time steps of a lane, S lanes, K states, C choices, M emission regressors.

Importing it sets JAX for the whole process as in ``SETTINGS``, whatever the environment says.
"""

import logging
from typing import Any

import jax

_log = logging.getLogger(__name__)

#: Settings on which numbers depend, or under which nothing could be fitted.
SETTINGS: dict[str, Any] = {
    # The log-likelihood of a long data set has fewer digits in 32 bits than the gains of the last
    # iterations.
    "jax_enable_x64": True,
    # NaN marks values that are not computed; impossible transitions have log-probability -inf.
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    # A fit would take hours.
    "jax_disable_jit": False,
    "jax_transfer_guard": "allow",
    # Starts are drawn by these; a fit would not be the same elsewhere.
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_default_matmul_precision": None,
}
_UNSAID = ("jax_enable_x64", "jax_transfer_guard")


def _set() -> None:
    for name, value in SETTINGS.items():
        before = getattr(jax.config, name)
        if before != value:
            if name not in _UNSAID:
                _log.warning("%s is set from %s to %s: fits need it so", name, before, value)
            jax.config.update(name, value)


_set()
