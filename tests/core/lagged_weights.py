"""Weights of lags in place of a regressor's, with a task that says which column is which lag."""

from dataclasses import replace

import numpy as np
import polars as pl

from glmhmm_core.tables.lag_kernel import kernel_at
from glmhmm_core.tasks.load import load_task
from glmhmm_core.tasks.task import Regressor, Task

LAGS = np.arange(1, 9)


def lag_task(choices: tuple[str, ...] = ("left", "right"), baseline: int = 0) -> Task:
    """A task with eight lags of choices beside the stimulus."""
    two = load_task("two_afc")
    return replace(
        two,
        choices=choices,
        baseline_class_idx=baseline,
        regressors=(*two.regressors[:1], Regressor("choice_lags", "past", 2.0, count=len(LAGS))),
    )


def tau_of(subject: str, rank: int) -> float:
    """Time constant of a subject's state."""
    return 1.0 + rank + sum(map(ord, subject)) % 10 / 4


def with_lags(weights: pl.DataFrame, task: Task, noise: float = 0.0) -> pl.DataFrame:
    """Rows of the regressor ``wsls`` become exponentials over the columns of lags.

    The scale is 2 for the same choice and -0.5 for another; all of a subject that is called
    ``flat`` are alike.
    """
    rng, rows = np.random.default_rng(0), []
    names = task.columns_of(task.regressors[1])
    others = [c for c in task.choices if c != task.choices[task.baseline_class_idx]]
    per_lag = len(names) // len(LAGS)
    for row in weights.filter(feature="wsls").iter_rows(named=True):
        kernel = kernel_at(LAGS, tau_of(row["subject"], row["state_rank"]))
        flat = row["subject"] == "flat"
        kernel = np.full(len(LAGS), 1 / len(LAGS)) if flat else kernel
        for place, name in enumerate(names):
            same = per_lag == 1 or others[place % per_lag] == row["class_name"]
            value = (2.0 if same else -0.5) * kernel[place // per_lag] + (
                0.0 if flat else noise
            ) * rng.normal()
            at = {"feature": name, "feature_idx": 10 + place, "weight": value}
            rows.append({**row, **at})
    lags = pl.DataFrame(rows, schema=weights.schema)
    return pl.concat([weights.filter(pl.col("feature") != "wsls"), lags])
