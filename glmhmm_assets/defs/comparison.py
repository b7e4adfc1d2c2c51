"""Which model explains a subject's choices, how sure its parameters are, and how many states."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import check_errors, error_check_specs, shown_fit
from glmhmm_assets.defs.cohort import of_everyone, when_parents_change
from glmhmm_assets.defs.driven import NAME as DRIVEN
from glmhmm_assets.defs.driven import driven_input
from glmhmm_assets.defs.figures import draw
from glmhmm_assets.defs.hierarchy import SHRUNKEN, shrunken_input
from glmhmm_assets.defs.rivals import (
    DRIVEN_FORECASTS,
    SHRUNKEN_FORECASTS,
    forecasts_input,
)
from glmhmm_assets.defs.session_kinds import NAME as SESSION_KINDS
from glmhmm_assets.defs.session_kinds import session_input
from glmhmm_assets.per_subject import code_version, for_each, show, study_asset, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.comparison.contenders import Contender
    from glmhmm_core.fitting.result import FitResult

T = TypeVar("T")

ROOMS = ("baselines", "comparison", "engine", "fitting", "states", "tables")
DRAWN = ("baselines", "comparison", "engine", "fitting", "plots", "tables")


def build_comparison(study: Study) -> list[dg.AssetsDefinition]:
    """Build the per-subject assets of comparison and of standard errors."""
    common = subject_asset(study, kinds={"jax", "parquet"}, rooms=ROOMS)

    @study_asset(
        study,
        **common,
        io_manager_key="tables",
        ins={
            **driven_input(study),
            **forecasts_input(study),
            **session_input(study),
            **shrunken_input(study),
        },
    )
    def model_comparison(
        context: dg.AssetExecutionContext,
        subject_fits: dict,
        baseline_fits: dict,
        prospective_fits: dict,
        **more: dict,
    ) -> dict:
        """GLM, lapse GLMs, drifting weights and GLM-HMMs, one row each, scored on the same folds.

        A GLM-HMM that predicts held-out choices no better than a GLM with lapses has found no
        strategies, and one that forecasts no better than drifting weights may have found slow
        change. Gains are over the GLM, paired by session. `hierarchical` is fitted under priors
        learned from all subjects, without the sessions of each fold; for prospective folds, from
        everyone's past.
        """
        made = {
            "subject_fits": subject_fits,
            "baseline_fits": baseline_fits,
            "prospective_fits": prospective_fits,
            **more,
        }

        def table(subject: str) -> "pl.DataFrame":
            from glmhmm_core.comparison.conclusion import conclude
            from glmhmm_core.tables.comparison import comparison_table

            models = side_by_side({name: values.get(subject) for name, values in made.items()})
            table = comparison_table(subject, models)
            show(context, subject, {"conclusion": conclude(models), **best_models(table)})
            return table

        return for_each(context, subject_fits, table)

    @study_asset(study, **subject_asset(study, kinds={"matplotlib"}, rooms=DRAWN))
    def comparison(context: dg.AssetExecutionContext, model_comparison: dict) -> None:
        """Held-out bits per trial of every model, and their gains over the GLM with errors."""
        from glmhmm_core.plots.comparison import comparison

        draw(context, study, model_comparison, lambda t: ((t, t["subject"][0]), comparison))

    @study_asset(
        study,
        **common,
        io_manager_key="tables",
        check_specs=error_check_specs(study, "parameter_errors"),
    )
    def parameter_errors(context: dg.AssetExecutionContext, subject_fits: dict) -> Iterator[Any]:
        """Standard errors and 95 % intervals of the model that the figures show.

        From the observed information of the MAP objective, or from what `[uncertainty]` in the
        study file asks for: a session bootstrap, or sampling within the fit's mode by NUTS. One
        row per weight and log-odds.
        """
        use_compilation_cache(study)
        undetermined: dict[str, tuple[str, ...]] = {}

        def errors(subject: str) -> "pl.DataFrame":
            table, facts = errors_of(study, shown_fit(study, subject_fits[subject]))
            show(context, subject, facts)
            if facts["near_singular"]:
                undetermined[subject] = (facts["remarks"],)
            return table

        yield dg.Output(for_each(context, subject_fits, errors))
        yield from check_errors(study, "parameter_errors", undetermined)

    return [model_comparison, comparison, parameter_errors]


def errors_of(study: Study, fit: "FitResult") -> "tuple[pl.DataFrame, dict[str, Any]]":
    """Errors of a fit's parameters by the study's method, and what the page says of them."""
    from glmhmm_core.fitting.uncertainty import standard_errors

    asked = study.uncertainty
    known = standard_errors(fit)
    facts: dict[str, Any] = {"method": asked.method, "near_singular": known.near_singular}
    table, remarks = known.table, known.remarks
    if asked.method == "bootstrap":
        from glmhmm_core.comparison.bootstrap import bootstrap_sessions

        drawn = bootstrap_sessions(fit, asked.resamples, study.model.seed)
        table = drawn.table
        facts |= {"not_converged": drawn.not_converged, "ambiguous": drawn.ambiguous}
    elif asked.method == "nuts":
        from glmhmm_core.comparison.nuts import sample_within_mode

        mode = sample_within_mode(fit, draws=asked.draws, seed=study.model.seed)
        table, remarks = mode.table, remarks + mode.remarks
        facts |= {
            "divergences": mode.divergences,
            "relabelled": mode.relabelled,
            "largest_r_hat": mode.table["r_hat"].max(),
            "least_effective_draws": mode.table["effective_draws"].min(),
        }
    if remarks:
        facts["remarks"] = "\n".join(remarks)
    return table, facts


def side_by_side(made: Mapping[str, Any]) -> "list[Contender]":
    """Put a subject's models side by side, by the assets that made them.

    What could not be had (``Excluded``, None) is missing.
    """
    from glmhmm_core.baselines.result import SubjectBaselines
    from glmhmm_core.comparison.contenders import contenders
    from glmhmm_core.fitting.result import SubjectFits

    def there(kind: type[T], *assets: str) -> list[T]:
        return [one for name in assets if isinstance(one := made.get(name), kind)]

    baselines = there(SubjectBaselines, "baseline_fits", SESSION_KINDS)
    return contenders(
        there(SubjectFits, "subject_fits", DRIVEN, SHRUNKEN),
        [fit for one in baselines for fit in one.fits],
        there(SubjectFits, "prospective_fits", DRIVEN_FORECASTS, SHRUNKEN_FORECASTS),
    )


def best_models(table: "pl.DataFrame") -> dict[str, Any]:
    """Held-out gains over the GLM of the best lapse GLM and GLM-HMMs, for the page."""
    import polars as pl

    facts: dict[str, Any] = {}
    scored = table.drop_nulls("gain_over_glm").sort("gain_over_glm")
    kinds = ("glmhmm", "glmhmm_t", "glmhmm_sessions", "hierarchical")
    for what, is_it in (
        ("lapse", pl.col("model").str.starts_with("lapse")),
        *((kind, pl.col("model") == kind) for kind in kinds),
    ):
        best = scored.filter(is_it).tail(1).to_dicts()
        if best:
            states = f" of {best[0]['num_states']} states" if what != "lapse" else ""
            facts[f"best_{what}"] = best[0]["model"] + states
            facts[f"best_{what}_gain_over_glm"] = best[0]["gain_over_glm"]
    return facts


def build_cohort_comparison(study: Study) -> dg.AssetsDefinition:
    """Build the asset that holds models against one another over all subjects."""

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version(*DRAWN),
        kinds={"polars", "matplotlib"},
        io_manager_key="tables",
        ins={"model_comparison": of_everyone(study, "model_comparison")},
    )
    def cohort_comparison(context: dg.AssetExecutionContext, model_comparison: dict) -> Any:
        """Every model over all subjects: held-out bits per trial, and gains over the GLM.

        A subject's model that did not converge, or has no held-out score, is left out of that
        model's mean and counted. The conclusion says what the gains, paired by subject, carry.
        """
        import polars as pl

        from glmhmm_core.plots.comparison import cohort_comparison_figure
        from glmhmm_core.tables.comparison import cohort_comparison, conclude_cohort

        only = study.who_counts(model_comparison)
        tables = [
            table
            for subject, table in model_comparison.items()
            if subject in only and isinstance(table, pl.DataFrame)
        ]
        if not tables:
            return no_cohort(context, "no subject has been compared")
        everyone = pl.concat(tables)
        shown = Gallery.of_cohort(study).draw(
            study.name, "comparison", cohort_comparison_figure, (everyone, study.title)
        )
        conclusion = conclude_cohort(everyone)
        context.add_output_metadata({"conclusion": conclusion, "subjects": len(tables), **shown})
        return cohort_comparison(everyone).with_columns(conclusion=pl.lit(conclusion))

    return cohort_comparison


def no_cohort(context: dg.AssetExecutionContext, reason: str) -> Any:
    """Show why there is nothing to say of the cohort, and hand the reason on."""
    from glmhmm_core.fitting.result import Excluded

    context.add_output_metadata({"excluded": reason})
    return Excluded("cohort", reason)


def build_state_choice(study: Study) -> dg.AssetsDefinition:
    """Build the asset that chooses the cohort's number of states."""

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version("comparison"),
        kinds={"polars", "parquet"},
        io_manager_key="tables",
    )
    def state_choice(context: dg.AssetExecutionContext, cohort_summary: Any) -> Any:
        """How many states the cohort has, and why.

        The smallest number whose next state gains less than .01 held-out bits per trial, or
        less than two paired standard errors over subjects; states that are hardly visited, or
        left at once, are not reached. The table has the gain of every step.
        """
        from glmhmm_core.comparison.selection import choose_for_cohort
        from glmhmm_core.errors import InputError
        from glmhmm_core.fitting.result import Excluded

        if isinstance(cohort_summary, Excluded):
            return no_cohort(context, cohort_summary.reason)
        try:
            chosen = choose_for_cohort(cohort_summary)
        except InputError as error:
            return no_cohort(context, str(error))
        context.add_output_metadata(
            {
                "num_states": chosen.num_states,
                "reason": chosen.reason,
                "at_limit": chosen.at_limit,
                "subjects_left_out": chosen.left_out["subject"].n_unique(),
            }
        )
        return chosen.table

    return state_choice
