"""The devices that JAX computes on: there, or named as missing before anything is computed."""

import os

import jax

from glmhmm_core.errors import InputError


def check_devices() -> None:
    """Refuse an environment that names devices that are not there.

    Raises
    ------
    InputError
        With the variable and the remedy.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # what JAX raises, by version and platform
        named = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX has no device of JAX_PLATFORMS={named!r}",
            where="environment",
            remedy="Unset it or set it to cpu; for an NVIDIA GPU, install the extra cuda.",
        ) from error
