"""The last stages: what was fitted and judged gets its runs in MLflow, linked both ways.

They are apart from the fits, so that a store that does not answer loses none of them and these
assets alone are run again.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.defs.cohort import when_parents_change
from glmhmm_assets.defs.driven import FIGURES as DRIVEN_FIGURES
from glmhmm_assets.defs.driven import NAME as DRIVEN
from glmhmm_assets.defs.driven import driven_input
from glmhmm_assets.defs.findings import findings, tables_of
from glmhmm_assets.defs.fits import started_from
from glmhmm_assets.defs.hierarchy import SHRUNKEN, shrunken_input
from glmhmm_assets.defs.population import stored_population
from glmhmm_assets.defs.session_kinds import NAME as SESSION_KINDS
from glmhmm_assets.defs.session_kinds import TABLE as SESSION_FIGURE
from glmhmm_assets.defs.session_kinds import session_input
from glmhmm_assets.per_subject import code_version, study_asset, subject_asset
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.standing import held_fits, status_of
from glmhmm_assets.study import Study
from glmhmm_assets.up_to_date import marks

if TYPE_CHECKING:
    from glmhmm_assets.resources.logged_model import LoggedModel
    from glmhmm_core.fitting.result import SubjectFits

#: Pictures that compare all models of a subject; the others show one of them.
ALL_MODELS = ("comparison", "em_traces", "heldout_bits")
ONE_MODEL = (
    "weights",
    "transition_matrix",
    "session_posteriors",
    "state_dynamics",
    "psychometrics",
)
#: Pictures that are drawn with a table, of the shown model too.
WITH_TABLE = ("predictive_checks", "parameter_recovery", "state_accuracy")
ROOMS = ("baselines", "comparison", "engine", "fitting", "states", "tables")


def build_fit_tracking(study: Study) -> dg.AssetsDefinition:
    """Build the study's ``fit_tracking`` asset."""
    # A table that is not there yet, or of a run that did not make it, is not waited for.
    lenient = {"allow_missing_partitions": True}
    driven = driven_input(study)
    tables = {name: dg.AssetIn([study.name, name], metadata=lenient) for name in tables_of(study)}
    pictures = (*ALL_MODELS, *ONE_MODEL, *(DRIVEN_FIGURES if driven else ()))

    @study_asset(
        study,
        **subject_asset(study, kinds={"mlflow"}, rooms=ROOMS),
        ins={
            "baseline_fits": dg.AssetIn([study.name, "baseline_fits"], metadata=lenient),
            **driven,
            **session_input(study),
            **shrunken_input(study),
            **tables,
        },
        deps=[[study.name, name] for name in pictures],
    )
    def fit_tracking(
        context: dg.AssetExecutionContext,
        subject_fits: dict[str, Any],
        baseline_fits: dict[str, Any],
        tracker: dg.ResourceParam[MlflowTracker],
        **tables: dict[str, Any],
    ) -> None:
        """One MLflow run per model, with parameters, scores, EM trace, tables and figures.

        A subject whose fit did not change keeps its runs, and what was made of the fit is
        brought up to date; a new fit marks the old runs superseded, but for one that is held for
        review, which has `champion = false` and the reason. Materialize this asset alone after
        MLflow was away.
        """
        from glmhmm_core.fitting.result import Excluded, SubjectFits

        # By these the automation knows, without a memory of its own, who is done.
        done = marks(study)
        origin = tracker.origin(study.name, study.task, context.run.run_id)
        with tracker.open(study.name) as store:
            for subject, fits in subject_fits.items():
                if isinstance(fits, Excluded):
                    store.supersede(subject, f"left out: {fits.reason}")
                    facts = {**done, "excluded": fits.reason}
                    context.add_asset_metadata(facts, partition_key=subject)
                    continue
                there = {name: table.get(subject) for name, table in tables.items()}
                more, shrunken = there.pop(DRIVEN, None), there.pop(SHRUNKEN, None)
                kinds = there.pop(SESSION_KINDS, None)
                models = _models(study, fits, there, (*ALL_MODELS, *ONE_MODEL, *WITH_TABLE))
                # Tables that do not say of which model they are, are of these.
                said = {n: t for n, t in there.items() if "model" in getattr(t, "columns", ())}
                if isinstance(more, SubjectFits):
                    models += _models(study, more, said, DRIVEN_FIGURES, DRIVEN)
                if isinstance(shrunken, SubjectFits):
                    models += _shrunken_models(study, shrunken, fits, said)
                models += _baselines(study, fits, baseline_fits.get(subject), said)
                models += _baselines(study, fits, kinds, said, SESSION_KINDS)
                held = held_fits(study, fits)
                # Nothing was made of what is held: tables and pictures are of the fits that stand.
                review = _models(study, held, {}, ()) if held else []
                runs = store.log(subject, models, origin, review)
                links = {
                    f"mlflow_{_short(*key)}": dg.MetadataValue.url(run.url)
                    for key, run in runs.items()
                }
                context.add_asset_metadata(
                    {
                        **done,
                        "mlflow": dg.MetadataValue.url(store.subject_url(subject)),
                        **links,
                        "runs_new": sum(not run.reused for run in runs.values()),
                        "fingerprint": fits.fingerprint,
                    },
                    partition_key=subject,
                )

    return fit_tracking


def _models(
    study: Study,
    fits: "SubjectFits",
    tables: dict[str, Any],
    pictures: tuple[str, ...],
    asset: str = "subject_fits",
) -> "list[LoggedModel]":
    """Everything that one asset fitted to a subject, with what was made of it."""
    from glmhmm_assets.resources.model_run import logged_fit
    from glmhmm_core.comparison.scores import model_name

    shown = shown_fit(study, fits)
    ordinary = asset == "subject_fits"
    status = status_of(study, fits) if ordinary else None
    pooled = started_from(fits, stored_population(study, ())) if ordinary else ""
    return [
        logged_fit(
            fits,
            fit,
            findings(
                tables,
                (model_name(fit), fit.num_states),
                _figures(study, fits.subject, pictures, fit is shown),
                fit is shown and ordinary,
            ),
            asset,
            status,
            pooled,
        )
        for fit in fits.fits
    ]


def _shrunken_models(
    study: Study, shrunken: "SubjectFits", fits: "SubjectFits", tables: dict[str, Any]
) -> "list[LoggedModel]":
    """What was fitted under the population's learned priors, with its gain over ordinary ones."""
    from glmhmm_assets.resources.logged_model import known
    from glmhmm_assets.resources.model_run import logged_fit
    from glmhmm_core.comparison.scores import gain_over, model_name

    models = []
    pictures = _figures(study, fits.subject, ("comparison",), shown=False)
    for fit in shrunken.fits:
        if fit.specification.population is not None:
            names = ("gain_over_warm_start", "gain_over_warm_start_se")
            gains = zip(names, gain_over(fit, fits.find(fit.num_states)), strict=True)
            told = findings(tables, (model_name(fit), fit.num_states), pictures, shown=False)
            told = replace(told, metrics={**told.metrics, **known(dict(gains))})
            models.append(logged_fit(shrunken, fit, told, SHRUNKEN))
    return models


def _baselines(
    study: Study,
    fits: "SubjectFits",
    baselines: Any,
    tables: dict[str, Any],
    asset: str = "baseline_fits",
) -> "list[LoggedModel]":
    """What else one asset fitted to a subject, if anything, with what was made of it."""
    from glmhmm_assets.resources.baseline_run import logged_baseline
    from glmhmm_core.baselines.result import SubjectBaselines

    if not isinstance(baselines, SubjectBaselines):
        return []
    names = ("comparison", SESSION_FIGURE) if asset == SESSION_KINDS else ("comparison",)
    pictures = _figures(study, fits.subject, names, shown=asset == SESSION_KINDS)
    return [
        logged_baseline(
            baselines,
            fit,
            fits.fits[0],
            findings(tables, (fit.model, fit.num_states), pictures, shown=False),
            asset,
        )
        for fit in baselines.fits
    ]


def _short(model: str, num_states: int) -> str:
    """A model in the name of its link: "K3" of a GLM-HMM."""
    if model in ("glm", "glmhmm"):
        return f"K{num_states}"
    return model if num_states == 1 else f"{model}_K{num_states}"


def _figures(study: Study, subject: str, pictures: tuple[str, ...], shown: bool) -> list[Path]:
    """Pick a subject's picture files that belong to a model."""
    folder = study.storage / "figures" / subject
    names = [name for name in pictures if shown or name in ALL_MODELS]
    return [file for name in names if (file := folder / f"{name}.png").exists()]


def build_cohort_tracking(study: Study) -> dg.AssetsDefinition:
    """Build the study's ``cohort_tracking`` asset."""

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version("comparison"),
        kinds={"mlflow"},
        deps=[[study.name, "cohort_figures"]],
    )
    def cohort_tracking(
        context: dg.AssetExecutionContext,
        state_choice: Any,
        cohort_summary: Any,
        cohort_comparison: Any,
        tracker: dg.ResourceParam[MlflowTracker],
    ) -> None:
        """What is said of all subjects together as MLflow runs of the subject ``cohort``.

        One run has the number of states: gains, reason, tables and figures; the other the
        comparison of models and its conclusion. Older ones are marked superseded.
        """
        from glmhmm_assets.resources.cohort_run import COHORT, logged_choice, logged_comparison
        from glmhmm_core.comparison.selection import SelectionRule
        from glmhmm_core.fitting.result import Excluded

        origin = tracker.origin(study.name, study.task, context.run.run_id)
        with tracker.open(study.name, "cohort_tracking") as store:
            folder = study.storage / "cohort" / "figures" / study.name
            figures = sorted(folder.glob("[!.]*.png"))
            models: list[LoggedModel] = []
            if isinstance(state_choice, Excluded):
                context.add_output_metadata({"excluded": state_choice.reason})
            elif isinstance(cohort_summary, Excluded):
                context.add_output_metadata({"excluded": cohort_summary.reason})
            else:
                rule = SelectionRule()
                models.append(logged_choice(state_choice, cohort_summary, rule, figures))
            if not isinstance(cohort_comparison, Excluded):
                ours = [file for file in figures if file.stem == "comparison"]
                models.append(logged_comparison(cohort_comparison, ours))
            runs = store.log(COHORT, models, origin)
            context.add_output_metadata(
                {
                    "runs_new": sum(not run.reused for run in runs.values()),
                    **{model: dg.MetadataValue.url(run.url) for (model, _), run in runs.items()},
                }
            )

    return cohort_tracking
