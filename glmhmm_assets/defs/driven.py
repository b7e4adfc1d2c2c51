"""Models whose transitions have regressors (GLM-HMM-T), beside those with a constant chain.

A study that names transition regressors has these assets; ``subject_fits`` and all that is made
of it stay as they are.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import (
    check_errors,
    check_fits,
    error_check_specs,
    fit_check_specs,
    shown_fit,
)
from glmhmm_assets.defs.cohort import of_everyone, when_parents_change
from glmhmm_assets.defs.figures import draw
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.per_subject import code_version, for_each, show, study_asset, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.progress import Progress
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.design.design import Design
    from glmhmm_core.fitting.result import Excluded, SubjectFits

TABLES = ("comparison", "engine", "fitting", "states", "tables", "tasks")
#: The asset of the fits.
NAME = "transition_fits"
#: Pictures of one subject, each an asset.
FIGURES = ("transition_weights", "driven_transitions", "staying")


def build_driven(study: Study) -> list[dg.AssetsDefinition]:
    """Build the per-subject assets of models with transition regressors; none without any."""
    if not study.model.transition_regressors:
        return []
    return [_build_fits(study), _build_weight_table(study), *_build_figures(study)]


def driven_input(study: Study) -> dict[str, dg.AssetIn]:
    """The fits as a further input of an asset: of a study that has them, from who has them."""
    if not study.model.transition_regressors:
        return {}
    lenient = {"allow_missing_partitions": True}
    return {NAME: dg.AssetIn([study.name, NAME], metadata=lenient)}


def _build_fits(study: Study) -> dg.AssetsDefinition:
    @study_asset(
        study,
        **subject_asset(study, kinds={"jax"}, rooms=("comparison", "engine", "fitting", "tasks")),
        name=NAME,
        io_manager_key="fits",
        check_specs=fit_check_specs(study, NAME),
        pool="gpu",
    )
    def transition_fits(
        context: dg.AssetExecutionContext, subject_fits: dict, design_tensors: dict
    ) -> Iterator[Any]:
        """GLM-HMM-Ts of every subject: transitions depend on the study's transition regressors.

        For every number of states above one, on the same folds as the fits with a constant
        chain, and from where those ended: a fold from the same fold's. That optimum is kept
        unless a restart of its own predicts held-out choices better. Fits are kept under
        fingerprints as those are.
        """
        fits = _fit(context, study, subject_fits, design_tensors)

        def told(subject: str) -> "SubjectFits":
            show(context, subject, _facts(fits[subject], subject_fits[subject]))
            return fits[subject]

        values = for_each(context, fits, told)
        yield dg.Output(values)
        yield from check_fits(study, values, {}, NAME)

    return transition_fits


def _fit(
    context: dg.AssetExecutionContext,
    study: Study,
    constant: "Mapping[str, SubjectFits | Excluded]",
    designs: "Mapping[str, Design | Excluded]",
) -> "dict[str, Any]":
    """Fit what the store does not hold; fits, or why there are none, by subject."""
    use_compilation_cache(study)
    from glmhmm_core.errors import InputError
    from glmhmm_core.fitting.batch import fit_subjects
    from glmhmm_core.fitting.fingerprint import fingerprint
    from glmhmm_core.fitting.result import Excluded

    settings = study.model.transition_settings(study.load_task())
    num_states = [k for k in study.model.num_states if k > 1]
    store = FitStore(study.storage / NAME)
    fits: dict[str, Any] = {}
    todo, starts = {}, {}
    for subject, design in designs.items():
        before = constant[subject]
        if isinstance(design, Excluded) or isinstance(before, Excluded):
            fits[subject] = design if isinstance(design, Excluded) else before
            continue
        # Where a refit is held there are sessions that the fits which stand did not see.
        seen = design.of_sessions(before.keys_session.tolist())
        try:
            mark = fingerprint(seen, num_states, settings, before)
        except InputError as error:
            fits[subject] = Excluded(subject, str(error))
            continue
        stored = store.find(subject, mark)
        if stored is None:
            todo[subject], starts[subject] = seen, before
        else:
            fits[subject] = stored
            show(context, subject, {"from_store": True})

    def finished(one: "SubjectFits | Excluded") -> None:
        if not isinstance(one, Excluded):
            store.keep(one, one.fingerprint)
        context.log.info("finished %s", one.subject)

    if todo:
        progress = Progress(
            context.log.info,
            models=len(todo) * len(num_states),
            folds=len(todo) * settings.cv_folds,
        )
        fits |= fit_subjects(
            todo,
            num_states,
            settings,
            population=starts,
            on_finished=finished,
            progress_callback=progress,
        )
    return {subject: fits[subject] for subject in context.partition_keys}


def _facts(driven: "SubjectFits", constant: "SubjectFits") -> dict[str, Any]:
    """What a subject's page says: held-out gain over the constant chain, and what to know."""
    from glmhmm_core.fitting.optimum import heldout_gain

    facts: dict[str, Any] = {"fingerprint": driven.fingerprint, "started_from": driven.population}
    for fit in driven.fits:
        k = fit.num_states
        facts[f"converged_K{k}"] = fit.converged and all(f.converged for f in fit.cv_metrics)
        same = [one for one in constant.fits if one.num_states == k]
        if same and fit.cv_metrics:
            gain, error = heldout_gain(fit.cv_metrics, same[0].cv_metrics)
            if gain is not None and error is not None:
                facts[f"gain_over_constant_chain_K{k}"] = gain
                facts[f"gain_over_constant_chain_se_K{k}"] = error
    remarks = dict.fromkeys(r for fit in driven.fits for r in (*driven.notes, *fit.remarks))
    if remarks:
        facts["remarks"] = "\n".join(remarks)
    return facts


def _build_weight_table(study: Study) -> dg.AssetsDefinition:
    @study_asset(
        study,
        **subject_asset(study, kinds={"polars", "parquet"}, rooms=TABLES),
        io_manager_key="tables",
        check_specs=error_check_specs(study, "transition_weight_table"),
    )
    def transition_weight_table(
        context: dg.AssetExecutionContext, transition_fits: dict
    ) -> Iterator[Any]:
        """Every transition weight of every model, one row per edge and regressor.

        A weight is the log-odds of leaving the source for the target over staying, per unit of
        its regressor; the rows called bias are these log-odds where all regressors are 0.
        Standard errors are of the model that the figures show.
        """
        from glmhmm_core.fitting.uncertainty import standard_errors
        from glmhmm_core.tables.driven import transition_weight_table

        use_compilation_cache(study)
        naming = naming_of(study)
        undetermined: dict[str, tuple[str, ...]] = {}

        def table(subject: str) -> "pl.DataFrame":
            shown = shown_fit(study, transition_fits[subject])
            known = standard_errors(shown)
            show(context, subject, {"near_singular": known.near_singular})
            if known.near_singular:
                undetermined[subject] = known.remarks
            errors = {shown.num_states: known.table}
            return transition_weight_table(transition_fits[subject], naming, errors)

        yield dg.Output(for_each(context, transition_fits, table))
        yield from check_errors(study, "transition_weight_table", undetermined)

    return transition_weight_table


def _build_figures(study: Study) -> list[dg.AssetsDefinition]:
    common = subject_asset(study, kinds={"matplotlib"}, rooms=("plots", *TABLES))

    @study_asset(study, **common)
    def transition_weights(
        context: dg.AssetExecutionContext, transition_fits: dict, transition_weight_table: dict
    ) -> None:
        """Weights of the transition regressors on every edge, with intervals."""
        from glmhmm_core.plots.driven import transition_weights

        _draw(context, study, transition_fits, transition_weights, transition_weight_table.get)

    @study_asset(study, **common)
    def driven_transitions(context: dg.AssetExecutionContext, transition_fits: dict) -> None:
        """Transition probabilities at the regressors' zero and averaged over the trials."""
        from glmhmm_core.plots.driven import driven_transitions
        from glmhmm_core.tables.driven import driven_transition_table

        naming = naming_of(study)
        _draw(
            context,
            study,
            transition_fits,
            driven_transitions,
            lambda s: driven_transition_table(transition_fits[s], naming),
        )

    @study_asset(study, **common)
    def staying(context: dg.AssetExecutionContext, transition_fits: dict) -> None:
        """Probability of staying in each state against each regressor."""
        from glmhmm_core.plots.driven import staying
        from glmhmm_core.tables.driven import staying_table

        naming = naming_of(study)
        _draw(
            context,
            study,
            transition_fits,
            staying,
            lambda s: staying_table(transition_fits[s], naming),
        )

    return [transition_weights, driven_transitions, staying]


def _draw(
    context: dg.AssetExecutionContext, study: Study, fits: dict, function: Any, table: Any
) -> None:
    """Draw the asset's figure of every subject from its table."""

    def plan(one: "SubjectFits") -> Any:
        return (table(one.subject), shown_fit(study, one).num_states), function

    draw(context, study, fits, plan)


def build_driven_cohort(study: Study) -> list[dg.AssetsDefinition]:
    """Build the picture over all subjects; none without transition regressors."""
    if not study.model.transition_regressors:
        return []

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version("plots", *TABLES),
        kinds={"matplotlib"},
        ins={name: of_everyone(study, name) for name in ("transition_weight_table", NAME)},
    )
    def cohort_transition_weights(
        context: dg.AssetExecutionContext, transition_weight_table: dict, transition_fits: dict
    ) -> None:
        """Transition weights of every subject, and their mean, on every edge of named states.

        Subjects without the model, or whose fit did not converge, are left out and counted on the
        picture.
        """
        import polars as pl

        from glmhmm_core.fitting.result import SubjectFits
        from glmhmm_core.plots.driven import cohort_transition_weights
        from glmhmm_core.tables.cohort import members

        only = study.who_counts(transition_fits)
        fits = {s: one for s, one in transition_fits.items() if s in only}
        fitted = [one for one in fits.values() if isinstance(one, SubjectFits)]
        gallery = Gallery.of_cohort(study)
        # The number of states that most subjects have, of those up to the study's.
        shown = [shown_fit(study, one).num_states for one in fitted]
        k = max(set(shown), key=shown.count, default=0)
        names = {one.subject for one in fitted}
        counted, absent = members(fitted, k, [s for s in fits if s not in names])
        made = [transition_weight_table.get(one.subject) for one in counted]
        tables = [table for table in made if isinstance(table, pl.DataFrame)]
        if not tables:
            gallery.remove(study.name, "transition_weights")
            return
        arguments = (pl.concat(tables), k, study.title, absent)
        context.add_output_metadata(
            gallery.draw(study.name, "transition_weights", cohort_transition_weights, arguments)
        )

    return [cohort_transition_weights]
