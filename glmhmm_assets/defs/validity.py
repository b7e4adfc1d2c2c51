"""Whether the states can be trusted: what the shown model simulates, recovers and says of states.

All of it is about the model that the figures show.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import check_predictions, prediction_check_specs, shown_fit
from glmhmm_assets.defs.cohort import of_everyone, when_parents_change
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.per_subject import code_version, for_each, show, study_asset, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.fitting.result import SubjectFits

ROOMS = (
    *("comparison", "design", "engine", "fitting", "plots"),
    *("simulation", "states", "tables", "tasks", "trials"),
)


def build_validity(study: Study) -> list[dg.AssetsDefinition]:
    """Build the per-subject assets that put the states to the test."""
    common = subject_asset(study, kinds={"jax", "parquet", "matplotlib"}, rooms=ROOMS)
    tables: dict[str, Any] = {**common, "io_manager_key": "tables"}

    @study_asset(study, **tables, check_specs=prediction_check_specs(study))
    def predictive_checks(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> Iterator[Any]:
        """What the model simulates beside the data: switches, runs, repetition of choices.

        States are decoded alike in the data and in every simulated data set. A model that fails
        here is wrong in that respect, however well it scores.
        """
        from glmhmm_core.comparison.predictive_checks import predictive_checks
        from glmhmm_core.plots.validity import predictive_checks as draw

        use_compilation_cache(study)

        def check(subject: str) -> "pl.DataFrame":
            fits = subject_fits[subject]
            given = closed_loop(study, fits, cleaned_sessions[subject])
            table = predictive_checks(
                shown_fit(study, fits),
                **given,
                num_simulations=study.checks.simulations,
                seed=study.model.seed,
            )
            named = _named(study, fits, table)
            shares = table.filter(statistic="share_switching").row(0, named=True)
            facts = {
                "checks": table.drop_nulls("fails").height,
                "outside_95_percent": int(table["fails"].sum()),
                "share_of_sessions_with_a_switch": shares["data"],
                "the_same_simulated": shares["simulated"],
            }
            show(context, subject, facts)
            _picture(context, study, subject, draw, named)
            return named

        values = for_each(context, subject_fits, check)
        _forget(context, study, values)
        yield dg.Output(values)
        yield from check_predictions(study, values)

    @study_asset(study, **tables)
    def parameter_recovery(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> dict:
        """What comes back when the model is fitted to data that it made itself.

        One row per simulation and parameter, with how well states were decoded. A parameter that
        is not recovered cannot be read off the real fit.
        """
        from glmhmm_core.comparison.recovery import recover
        from glmhmm_core.plots.validity import parameter_recovery as draw
        from glmhmm_core.tables.validity import recovery_table

        use_compilation_cache(study)

        def again(subject: str) -> "pl.DataFrame":
            fits = subject_fits[subject]
            fit = shown_fit(study, fits)
            recovered = recover(
                fit,
                **closed_loop(study, fits, cleaned_sessions[subject]),
                num_simulations=study.checks.recoveries,
                n_restarts=study.checks.recovery_restarts,
                seed=study.model.seed,
            )
            table = recovery_table(recovered, fits, fit.num_states, naming_of(study))
            weights = table.filter(parameter="weight").drop_nulls("se")
            facts = {
                "decoded": recovered.decoding["decoded"].mean(),
                "decoded_with_true_parameters": recovered.decoding["ceiling"].mean(),
                "found_best_optimum": int(recovered.decoding["found_optimum"].sum()),
                "recoveries": recovered.decoding.height,
                "weights_covered": weights["covered"].mean(),
            }
            show(context, subject, {k: v for k, v in facts.items() if v is not None})
            _picture(context, study, subject, draw, table)
            return table

        values = for_each(context, subject_fits, again)
        _forget(context, study, values)
        return values

    @study_asset(study, **tables)
    def state_paths(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """How often states switch and how long they last, over paths drawn from the posterior.

        With intervals, and beside them the same of the most probable state of every trial, as
        the literature has it: that path is too regular, its runs are too long.
        """
        from glmhmm_core.comparison.path_statistics import path_table

        use_compilation_cache(study)

        def paths(subject: str) -> "pl.DataFrame":
            fits = subject_fits[subject]
            table = path_table(shown_fit(study, fits), seed=study.model.seed)
            return _named(study, fits, table)

        return for_each(context, subject_fits, paths)

    @study_asset(study, **tables)
    def state_accuracy(
        context: dg.AssetExecutionContext,
        subject_fits: dict,
        cleaned_sessions: dict,
        state_paths: dict,
    ) -> dict:
        """Accuracy in every state, weighted by the posterior: unbiased if the model holds.

        Beside it the trials of a posterior of at least .9, as the literature has it (biased), and
        the same of the posterior without the trial's own choice. The picture has dwell and
        occupancy too.
        """
        from glmhmm_core.plots.validity import state_statistics
        from glmhmm_core.tables.behavior import accuracy_table

        task, naming = study.load_task(), naming_of(study)
        stimulus = task.main_stimulus.name if task.main_stimulus else None

        def accuracy(subject: str) -> "pl.DataFrame":
            fits = subject_fits[subject]
            cleaned = cleaned_sessions[subject]
            table = accuracy_table(fits, cleaned, stimulus, naming)
            _picture(context, study, subject, state_statistics, table, state_paths[subject])
            return table

        values = for_each(context, subject_fits, accuracy)
        _forget(context, study, values)
        return values

    asked = [predictive_checks] if study.checks.simulations else []
    asked += [parameter_recovery] if study.checks.recoveries else []
    return [*asked, state_paths, state_accuracy]


def build_cohort_checks(study: Study) -> list[dg.AssetsDefinition]:
    """Build the predictive checks over all subjects, if the study asks for any."""

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version(*ROOMS),
        kinds={"polars", "parquet", "matplotlib"},
        io_manager_key="tables",
        ins={name: of_everyone(study, name) for name in ("predictive_checks", "subject_fits")},
    )
    def cohort_checks(
        context: dg.AssetExecutionContext, predictive_checks: Any, subject_fits: Any
    ) -> Any:
        """Switching in the data and in simulations, over subjects.

        That one subject fails a check may be chance; that most lie on one side is not. Subjects
        without checks, or whose fit did not converge, are left out and counted on the picture.
        """
        import polars as pl

        from glmhmm_core.fitting.result import Excluded
        from glmhmm_core.plots.validity import cohort_checks as draw
        from glmhmm_core.tables.cohort import NOT_CONVERGED
        from glmhmm_core.tables.validity import cohort_checks

        only = study.who_counts(subject_fits)
        checks: list[pl.DataFrame] = []
        absent: dict[str, list[str]] = {}
        for subject in sorted(only & set(subject_fits)):
            table, fits = predictive_checks.get(subject), subject_fits[subject]
            if not isinstance(table, pl.DataFrame) or isinstance(fits, Excluded):
                absent.setdefault("without checks", []).append(subject)
            elif not shown_fit(study, fits).converged:
                absent.setdefault(NOT_CONVERGED, []).append(subject)
            else:
                checks.append(table)
        if not checks:
            reason = "no subject has predictive checks of a fit that converged"
            context.add_output_metadata({"excluded": reason})
            return Excluded("cohort", reason)
        summary = cohort_checks(checks)
        arguments = (pl.concat(checks), summary, study.title, absent)
        shown = Gallery.of_cohort(study).draw(study.name, "checks", draw, arguments)
        share = summary.filter(statistic="share_switching").row(0, named=True)
        context.add_output_metadata(
            {
                "subjects": share["subjects"],
                "share_of_sessions_with_a_switch": share["data"],
                "the_same_simulated": share["simulated"],
                "subjects_below_their_simulations": share["below"],
                "p_value": share["p_value"],
                **shown,
            }
        )
        return summary

    return [cohort_checks] if study.checks.simulations else []


def closed_loop(study: Study, fits: "SubjectFits", cleaned: "pl.DataFrame") -> dict[str, Any]:
    """What it takes to simulate a fit with its choices and outcomes fed back."""
    from glmhmm_core.simulation.feedback import history_of, transition_history_of
    from glmhmm_core.tables.trials import chain_rows
    from glmhmm_core.trials.rewarded import rewarded_class

    task = study.load_task()
    shown = shown_fit(study, fits)
    rewarded = rewarded_class(chain_rows(fits, cleaned), task) if task.needs_feedback else None
    return {
        "history": history_of(task),
        "transition_history": transition_history_of(task, shown.transition_names),
        "rewarded": rewarded,
    }


def _named(study: Study, fits: "SubjectFits", table: "pl.DataFrame") -> "pl.DataFrame":
    from glmhmm_core.tables.validity import with_states

    naming = naming_of(study)
    return with_states(table, fits, shown_fit(study, fits).num_states, naming)


def _picture(
    context: dg.AssetExecutionContext, study: Study, subject: str, draw: Any, *tables: Any
) -> None:
    name = context.asset_key.path[-1]
    show(context, subject, Gallery.of_subjects(study).draw(subject, name, draw, tables))


def _forget(context: dg.AssetExecutionContext, study: Study, values: Mapping[str, Any]) -> None:
    """Remove the pictures of subjects that are left out."""
    from glmhmm_core.fitting.result import Excluded

    for subject, value in values.items():
        if isinstance(value, Excluded):
            Gallery.of_subjects(study).remove(subject, context.asset_key.path[-1])
