"""Dynamax adds int32 to int64 and (T,) to (T, K): its calls need JAX's usual promotion."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _usual_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
