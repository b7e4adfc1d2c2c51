"""What a fit should be read with: regressors and choices that the data say nothing of."""

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.problem import Problem
from glmhmm_core.fitting.specification import Specification

#: Share of a regressor's length that the others must leave unexplained.
DISTINCT = 1e-8
#: A weight times its regressor's spread beyond which choices follow it without exception.
DIVERGED = 15.0

#: Value of a regressor beyond which priors made for a spread of about one say nothing.
EXTREME = 1e4


def data_remarks(problem: Problem, specification: Specification) -> tuple[str, ...]:
    """Sentences on data that leave a weight to its prior alone; empty where there are none."""
    remarks = []
    # The chain has an intercept of its own: leaving over staying, whatever the regressors.
    always = np.ones((int(problem.mask.sum()), 1))
    for names, columns in (
        (specification.emission_names, problem.X[problem.mask]),
        (
            ("staying", *specification.transition_names),
            np.hstack([always, problem.U[problem.mask]]),
        ),
    ):
        remarks += [
            f"Regressor {name!r} is constant or a combination of those before it: only the "
            "prior, or damping without one, sets its weight apart."
            for name in dependent(names, columns)
        ]
    for names, columns in (
        (specification.emission_names, problem.X[problem.mask]),
        (specification.transition_names, problem.U[problem.mask]),
    ):
        remarks += [
            f"Regressor {name!r} is as large as {size:.3g}: its weights are about one over that, "
            "and a prior of ordinary scale is none to them. Bring it to a spread of about one."
            for name, size in zip(names, np.abs(columns).max(0, initial=0.0), strict=True)
            if size > EXTREME
        ]
    made = np.unique(problem.y[problem.mask])
    remarks += [
        f"Choice {c} is never made: its weights are the prior's, or diverge without one."
        for c in range(problem.num_classes)
        if c not in made
    ]
    silent = set(range(len(problem.sessions))) - set(problem.session_index[problem.mask].tolist())
    remarks += [f"Session {problem.sessions[s]!r} has no choice at all." for s in sorted(silent)]
    return tuple(remarks)


def dependent(names: tuple[str, ...], columns: np.ndarray) -> list[str]:
    """Names of the columns (T, M) that are combinations of the columns before them."""
    found = []
    basis = np.empty((len(columns), 0))
    for name, column in zip(names, columns.T, strict=True):
        length = np.linalg.norm(column)
        rest = column
        for _ in range(2):  # twice: once leaves rounding errors as large as what is looked for
            rest = rest - basis @ (basis.T @ rest)
        if np.linalg.norm(rest) <= DISTINCT * length:
            found.append(name)
        else:
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    return found


def fit_remarks(
    params: Parameters, problem: Problem, specification: Specification
) -> tuple[str, ...]:
    """Sentences on weights without a prior that have no finite optimum (separable choices)."""
    spread = problem.X[problem.mask].std(0)
    spread = np.where(spread > 0, spread, np.abs(problem.X[problem.mask]).max(0))
    reach = np.abs(np.asarray(params.emission_weights)).max((0, 1)) * spread
    return tuple(
        f"The weight of regressor {name!r} has no finite optimum: in some state choices follow "
        "it without exception, and it has no prior."
        for name, r, scale in zip(
            specification.emission_names, reach, specification.emission_scale, strict=True
        )
        if r > DIVERGED and np.isinf(scale)
    )
