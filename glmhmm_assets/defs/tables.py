"""Tidy tables out of the fits: every trial with its states, every weight with its name."""

from typing import TYPE_CHECKING

import dagster as dg

from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.defs.population import stored_population
from glmhmm_assets.per_subject import for_each, show, study_asset, subject_asset
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.states.labels import Roles
    from glmhmm_core.tasks.task import Task

ROOMS = ("engine", "fitting", "states", "tables", "tasks")


def build_tables(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of tables."""
    common = subject_asset(study, kinds={"polars", "parquet"}, rooms=ROOMS)

    @study_asset(study, **common, io_manager_key="tables")
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

    @study_asset(study, **common, io_manager_key="tables")
    def weight_table(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """Every emission weight of every model, one row each.

        A weight is the log-odds of its class against the baseline class, per unit of its
        regressor.
        """
        from glmhmm_core.tables.parameters import weight_table

        roles = roles_of(study.load_task())
        population = stored_population(study, ())
        return for_each(
            context, subject_fits, lambda s: weight_table(subject_fits[s], roles, population)
        )

    @study_asset(
        study, **common, io_manager_key="tables", deps=[dg.AssetKey([study.name, POPULATION])]
    )
    def state_matches(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """Which of the population's states each state of a subject is: cost, margin, and doubts.

        By what its weights do, where it is visited and how long it lasts. Where the match is
        ambiguous, so are the states' labels, in all tables and figures.
        """
        from glmhmm_core.errors import InputError
        from glmhmm_core.tables.matches import match_table

        roles = roles_of(study.load_task())
        population = stored_population(study, ())

        def table(subject: str) -> "pl.DataFrame":
            if population is None:
                raise InputError(
                    "there is no fit of the population",
                    where="state matches",
                    remedy=f"Materialize {POPULATION}; it takes two subjects.",
                )
            matches = match_table(subject_fits[subject], population, roles)
            doubts = matches.filter("ambiguous").unique("num_states").sort("num_states")
            show(
                context,
                subject,
                {
                    "ambiguous_models": doubts.height,
                    "doubts": "\n".join(
                        f"K={k}: {reason}"
                        for k, reason in doubts.select("num_states", "reason").rows()
                    ),
                },
            )
            return matches

        return for_each(context, subject_fits, table)

    return [trial_table, weight_table, state_matches]


def roles_of(task: "Task") -> "Roles":
    """Name the regressors that states are labeled by: the task's first stimulus, and its bias."""
    from glmhmm_core.states.labels import Roles

    named = {r.kind: r.name for r in reversed(task.regressors) if r.kind in ("stimulus", "bias")}
    return Roles(**named)
