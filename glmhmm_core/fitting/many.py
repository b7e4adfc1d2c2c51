"""What models say of the trials of many subjects at once: states, predictions, paths.

Subjects of a similar size are padded to one shape and go through one compiled program, some at a
time; each gets what it would get alone.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TypeVar

import jax
import numpy as np

from glmhmm_core.engine.lanes import Lanes
from glmhmm_core.engine.messages import smooth_together
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.engine.paths import sample_paths_together
from glmhmm_core.engine.viterbi import viterbi_together
from glmhmm_core.fitting.paths import check_number, uniforms_of
from glmhmm_core.fitting.problem import Posteriors, Problem

Tree = TypeVar("Tree")

#: Subjects that go through the engine together, fewer where their arrays would be larger than
#: this many bytes.
AT_ONCE, BUDGET = 8, 256 * 1024**2


def posteriors_of_many(
    problems: Sequence[Problem], params: Sequence[Parameters]
) -> list[Posteriors]:
    """:meth:`Problem.posteriors` of every subject under its own parameters, in their order."""
    found: dict[int, Posteriors] = {}
    for members, stacked, lanes in _batches(problems, params):
        messages = jax.tree.map(np.asarray, smooth_together(stacked, lanes))
        for i, n in enumerate(members):
            found[n] = problems[n].in_rows(*jax.tree.map(itemgetter(i), messages))
    return [found[n] for n in range(len(problems))]


def most_likely_states_of_many(
    problems: Sequence[Problem], params: Sequence[Parameters]
) -> list[np.ndarray]:
    """:meth:`Problem.most_likely_states` of every subject under its own parameters."""
    found: dict[int, np.ndarray] = {}
    for members, stacked, lanes in _batches(problems, params):
        paths = np.asarray(viterbi_together(stacked, lanes))
        for i, n in enumerate(members):
            layout = problems[n].layout
            found[n] = paths[i, layout.step, layout.lane].astype(np.int64)
    return [found[n] for n in range(len(problems))]


def posterior_paths_of_many(
    problems: Sequence[Problem], params: Sequence[Parameters], num_paths: int = 100, seed: int = 0
) -> list[np.ndarray]:
    """:func:`~glmhmm_core.fitting.paths.posterior_paths` of every subject: int64 (N, T) each.

    Raises
    ------
    InputError
        If there is no path to draw.
    """
    check_number(num_paths)
    found: dict[int, np.ndarray] = {}
    for members, stacked, lanes in _batches(problems, params):
        steps, width = lanes.reset.shape[1:]
        uniforms = np.zeros((len(lanes.reset), num_paths, steps, width))
        for i, n in enumerate(members):
            drawn = uniforms_of(problems[n], num_paths, seed)
            uniforms[i, :, : drawn.shape[1], : drawn.shape[2]] = drawn
        paths = np.asarray(sample_paths_together(stacked, lanes, uniforms))
        for i, n in enumerate(members):
            layout = problems[n].layout
            found[n] = paths[i][:, layout.step, layout.lane].astype(np.int64)
    return [found[n] for n in range(len(problems))]


def bucket(problem: Problem) -> tuple[int, int]:
    """Steps and lanes that a subject is padded to: few different ones over a cohort."""
    steps, lanes = problem.layout.shape
    return 1 << (steps - 1).bit_length(), 1 << (lanes - 1).bit_length()


def _batches(
    problems: Sequence[Problem], params: Sequence[Parameters]
) -> Iterator[tuple[list[int], Parameters, Lanes]]:
    """Subjects that go together, and their parameters and lanes along a first axis."""
    alike: dict[tuple, list[int]] = defaultdict(list)
    for n, (problem, own) in enumerate(zip(problems, params, strict=True)):
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(own))
        alike[(*bucket(problem), problem.num_classes, problem.U.shape[1], *shapes)].append(n)
    for (steps, lanes, num_classes, *_), members in alike.items():
        num_states = len(params[members[0]].initial_probs)
        size = 8 * steps * lanes * num_states * (8 + 3 * num_classes)
        together = max(1, min(AT_ONCE, BUDGET // size))
        for first in range(0, len(members), together):
            batch = members[first : first + together]
            # As many as a power of two: the last one fills up.
            filled = batch + batch[-1:] * ((1 << (len(batch) - 1).bit_length()) - len(batch))
            padded = [_padded(problems[n].lanes, (steps, lanes)) for n in filled]
            yield batch, _stack([params[n] for n in filled]), _stack(padded)


def _padded(lanes: Lanes, shape: tuple[int, int]) -> Lanes:
    """The same lanes with steps and lanes behind them in which no trial stands."""

    def pad(name: str, field: np.ndarray) -> np.ndarray:
        widths = [(0, 0)] * field.ndim
        widths[-2] = (0, shape[0] - field.shape[-2])
        widths[-1] = (0, shape[1] - field.shape[-1])
        return np.pad(field, widths, constant_values=name == "reset")

    return Lanes(**{name: pad(name, field) for name, field in lanes._asdict().items()})


def _stack(values: list[Tree]) -> Tree:
    stacked: Tree = jax.tree.map(lambda *parts: np.stack(parts), *values)
    return stacked
