"""The engine on whatever device JAX has: ``python -m benchmarks.gpu``.

Needs jax and numpy alone. What an iteration costs when restarts climb in step, beside the bytes
that it must move at least and the bandwidth measured on this device; then whole climbs of all
restarts of one mouse, and of many mice as one.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.subjects import REFERENCE_MICE, Subject, cohort, one_mouse, pooled, starts  # noqa: E402
from benchmarks.table import print_table, say, seconds  # noqa: E402
from glmhmm_core.engine.em import GRADIENT_TOLERANCE, Fit, anew, maximize_together  # noqa: E402
from glmhmm_core.engine.expectation import Data  # noqa: E402
from glmhmm_core.engine.parameters import (  # noqa: E402
    Parameters,
    all_free,
    make_prior,
)

GLM = np.array([[2.0, 0.0, 0.5, 0.0]])
ITERATIONS, ROUNDS = 20, 5


def _seconds(work: Callable[[], object]) -> float:
    """Median time of ``work`` on the wall after a first call, which compiles."""
    jax.block_until_ready(work())
    took = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        jax.block_until_ready(work())
        took.append(time.perf_counter() - begin)
    return median(took)


def bandwidth() -> float:
    """Bytes a second that this device reads and writes in adding one to 256 MiB of numbers."""
    numbers = jnp.zeros(2**25)
    add = jax.jit(lambda x: x + 1)
    return 2 * numbers.nbytes / _seconds(lambda: add(numbers))


def least_bytes(data: Data, num_states: int, restarts: int) -> int:
    """Bytes that an iteration must move: the lanes once, and every climb's messages to and fro.

    The forward pass writes one message per trial and state, the backward pass reads it; all else
    could stay in registers.
    """
    lanes = sum(np.asarray(field).nbytes for field in data.lanes) + data.products.nbytes
    cells = data.lanes.reset.size
    return int(lanes + 2 * 8 * cells * num_states * restarts)


def operations(data: Data, num_states: int, restarts: int) -> int:
    """Multiplications and additions of an iteration: logits, messages, counts and curvature."""
    num_classes = data.lanes.y.shape[1]
    width, pairs = data.lanes.X.shape[1], data.products.shape[2]
    per_state = 2 * (num_classes - 1) * width * 2 + 6 * num_states
    per_state += 2 * pairs * num_classes * (num_classes - 1) // 2
    return data.lanes.reset.size * num_states * restarts * per_state


def climbing(subject: Subject, num_states: int, restarts: int, **limits: int) -> Callable[[], Fit]:
    """Give a function that climbs from several starting points in step."""
    begin = starts(GLM, "", num_states, restarts)
    stacked: Parameters = jax.tree.map(lambda *parts: np.stack(parts), *begin)
    prior = make_prior(num_states, np.full(subject.X.shape[1], 2.0), 2.0, 0.0)
    data = subject.problem().data()
    free = all_free(begin[0])
    begun = jax.tree.map(lambda *parts: np.stack(parts), *map(anew, begin))
    tols = (1e-9, GRADIENT_TOLERANCE)
    return lambda: maximize_together(stacked, data, prior, free, *tols, begun, **limits)


def iteration_row(subject: Subject, num_states: int, restarts: int, rate: float) -> list[str]:
    """What one iteration of all restarts costs."""
    say(f"{len(subject.y):,} trials, K = {num_states}, {restarts} restarts ...")
    data = subject.problem().data()
    took = _seconds(climbing(subject, num_states, restarts, max_iters=ITERATIONS))
    took /= ITERATIONS + 1
    moved = least_bytes(data, num_states, restarts)
    return [
        f"{len(subject.y):,} trials, K = {num_states}, {restarts} restarts",
        seconds(took),
        f"{moved / 2**20:.1f} MiB",
        f"{operations(data, num_states, restarts) / 1e6:.0f} M",
        seconds(moved / rate),
        f"{took / (moved / rate):.1f}x",
    ]


def climb_row(subject: Subject, num_states: int, restarts: int) -> list[str]:
    """What all restarts take to their ends."""
    say(f"{len(subject.y):,} trials, K = {num_states}: {restarts} climbs to their ends ...")
    work = climbing(subject, num_states, restarts, max_iters=1000)
    fit = work()
    return [
        f"{len(subject.y):,} trials, K = {num_states}, {restarts} restarts",
        seconds(_seconds(work)),
        str(int(fit.iterations.max())),
        f"{np.asarray(fit.converged).mean():.2f}",
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 mice as one instead of 37")
    args = parser.parse_args()
    mouse = one_mouse()
    everyone = pooled(cohort(2 if args.quick else REFERENCE_MICE))
    rate = bandwidth()
    (device, *_) = jax.devices()
    about = f"{device.device_kind}, {len(jax.devices())} of them, jax {jax.__version__}"
    print_table(
        "An iteration, restarts in step",
        ["data", "measured", "must move", "operations", "at full bandwidth", "ratio"],
        [
            iteration_row(subject, k, restarts, rate)
            for subject in (mouse, everyone)
            for k in (3, 5)
            for restarts in (1, 20)
        ],
        [f"Device: {about}; {rate / 2**30:.0f} GiB/s measured."],
    )
    print_table(
        "All restarts to their ends, in step",
        ["data", "time", "iterations of the longest", "share converged"],
        [climb_row(subject, k, 20) for subject in (mouse, everyone) for k in (2, 3)],
        [f"Device: {about}."],
    )


if __name__ == "__main__":
    main()
