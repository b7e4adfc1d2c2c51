"""Tidy tables out of the fits: every trial with its states, every weight with its name."""

from typing import TYPE_CHECKING

import dagster as dg

from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.defs.population import made_of, population_for, stored_population
from glmhmm_assets.per_subject import for_each, show, study_asset, subject_asset
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.states.naming import Naming

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

        naming = naming_of(study)
        return for_each(
            context,
            subject_fits,
            lambda s: trial_table(subject_fits[s], cleaned_sessions[s], naming),
        )

    @study_asset(study, **common, io_manager_key="tables")
    def weight_table(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """Every emission weight of every model, one row each.

        A weight is the log-odds of its class against the baseline class, per unit of its
        regressor.
        """
        from glmhmm_core.tables.parameters import weight_table

        naming = naming_of(study)
        return for_each(context, subject_fits, lambda s: weight_table(subject_fits[s], naming))

    @study_asset(
        study, **common, io_manager_key="tables", deps=[dg.AssetKey([study.name, POPULATION])]
    )
    def state_matches(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """Match of each state of a subject to one of the pooled fit's: cost, margin, and doubts.

        By what its weights do, where it is visited and how long it lasts. A state that is matched
        without ambiguity has the pooled state's name in all tables and figures; any other is
        named by itself, with "(own)" behind, and the reason is here.
        """
        from glmhmm_core.tables.matches import match_table

        naming = naming_of(study)
        try:
            members = made_of(population_for(study, ()))
        except InputError as error:
            reason = str(error)
            return for_each(context, subject_fits, lambda s: Excluded(s, reason))

        def table(subject: str) -> "pl.DataFrame":
            matches = match_table(subject_fits[subject], naming)
            alone = matches.filter("state_ambiguous")
            show(
                context,
                subject,
                {
                    "matched_to": f"the pooled fit of {members}",
                    "states": matches.height,
                    "unmatched_states": alone.height,
                    "doubts": "\n".join(
                        f"K={k}, {label}: {reason}"
                        for k, label, reason in alone.select(
                            "num_states", "state_label", "state_reason"
                        ).rows()
                    ),
                },
            )
            return matches

        return for_each(context, subject_fits, table)

    return [trial_table, weight_table, state_matches]


def naming_of(study: Study) -> "Naming":
    """Names of states in all tables and figures: by the pooled fit, if there is one.

    The task's first stimulus tells engaged states.
    """
    from glmhmm_core.states.labels import Roles
    from glmhmm_core.states.naming import Naming

    stimuli = [r.name for r in study.load_task().regressors if r.kind == "stimulus"]
    return Naming(Roles(*stimuli[:1]), stored_population(study, ()))
