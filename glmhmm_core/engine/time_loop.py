"""Loops over time for arrays whose time steps stand behind each other in memory."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Carry = TypeVar("Carry")
Now = TypeVar("Now")
Out = TypeVar("Out")


def along_time(
    step: Callable[[Carry, Now], tuple[Carry, Out]],
    start: Carry,
    along: Now,
    reverse: bool = False,
) -> tuple[Carry, Out]:
    """``jax.lax.scan`` along the last axis but one, where lanes are innermost: (..., T, S).

    States and regressors lead, so that one of them at all times and lanes is one piece of memory:
    sums over cells are then matrix products without a transposition, which costs a tenth of an
    E-step.

    Parameters
    ----------
    step
        From what is carried and the arrays of one time step, (..., S), to what is carried on and
        to what is kept, (..., S).
    start
        What is carried into the first step.
    along
        Arrays (..., T, S); None stays None.
    reverse
        From the last step to the first.
    """
    steps = jax.tree.leaves(along)[0].shape[-2]

    def at(t: jax.Array | int) -> Now:
        now: Now = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, t, x.ndim - 2, keepdims=False), along
        )
        return now

    kept = jax.eval_shape(lambda carry: step(carry, at(0))[1], start)
    room = jax.tree.map(lambda x: jnp.zeros((*x.shape[:-1], steps, x.shape[-1]), x.dtype), kept)

    def turn(n: jax.Array, state: tuple[Carry, Out]) -> tuple[Carry, Out]:
        t = steps - 1 - n if reverse else n
        carry, out = step(state[0], at(t))
        kept = jax.tree.map(
            lambda x, now: jax.lax.dynamic_update_index_in_dim(x, now, t, x.ndim - 2),
            state[1],
            out,
        )
        return carry, kept

    end: tuple[Carry, Out] = jax.lax.fori_loop(0, steps, turn, (start, room))
    return end
