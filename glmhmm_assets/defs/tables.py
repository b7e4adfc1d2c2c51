"""Tidy tables out of the fits: every trial with its states, every weight with its name."""

from typing import TYPE_CHECKING

import dagster as dg

from glmhmm_assets.per_subject import for_each, subject_asset
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.states.labels import Roles
    from glmhmm_core.tasks.task import Task

ROOMS = ("states", "tables")


def build_tables(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of tables."""
    common = subject_asset(study, kinds={"polars", "parquet"}, rooms=ROOMS)

    @dg.asset(**common, io_manager_key="tables")
    def trial_table(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> dict:
        """Trial by trial, what the subject did and what each model makes of it.

        One row per trial of the chain and number of states, with keys (subject, session, trial,
        num_states): behavior, the most probable state and its label, smoothed and predictive
        state probabilities, and the probability of each choice.
        """
        from glmhmm_core.tables.trials import trial_table

        roles = roles_of(study.load_task())
        return for_each(
            context,
            subject_fits,
            lambda s: trial_table(subject_fits[s], cleaned_sessions[s], roles),
        )

    @dg.asset(**common, io_manager_key="tables")
    def weight_table(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """Every emission weight of every model, one row each.

        A weight is the log-odds of its class against the baseline class, per unit of its
        regressor.
        """
        from glmhmm_core.tables.parameters import weight_table

        roles = roles_of(study.load_task())
        return for_each(context, subject_fits, lambda s: weight_table(subject_fits[s], roles))

    return [trial_table, weight_table]


def roles_of(task: "Task") -> "Roles":
    """Name the regressors that states are labeled by: the task's first stimulus, and its bias."""
    from glmhmm_core.states.labels import Roles

    named = {r.kind: r.name for r in reversed(task.regressors) if r.kind in ("stimulus", "bias")}
    return Roles(**named)
