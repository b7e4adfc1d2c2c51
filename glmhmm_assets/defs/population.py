"""The population's fit: all subjects as one, a version that every subject's fit starts from.

New session files refit only their subjects, from the version that is there; another version is
made by schedule, by hand, or because none fits the study as it stands.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.per_subject import code_version, study_asset
from glmhmm_assets.progress import Progress
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.design.design import Design
    from glmhmm_core.fitting.result import Excluded, SubjectFits

ROOMS = ("engine", "fitting")
#: The asset, and what it is called among the fits.
NAME = "population_fit"
#: The hierarchical fit, which is made with every version.
HIERARCHY = "hierarchical_fit"


def build_population_fit(study: Study) -> dg.AssetsDefinition:
    """Build the asset of the population's fit."""

    @study_asset(
        study,
        name=NAME,
        kinds={"jax"},
        code_version=code_version(*ROOMS),
        io_manager_key="fits",
        ins={
            "design_tensors": dg.AssetIn(
                key=[study.name, "design_tensors"], metadata={"allow_missing_partitions": True}
            )
        },
        pool="gpu",
    )
    def population_fit(context: dg.AssetExecutionContext, design_tensors: dict) -> Any:
        """The same models, fitted to the trials of all subjects as if they were one.

        Every subject's fit starts from here too, and keeps that optimum unless its own restarts
        predict held-out choices better. Folds are those of the subjects, so that no subject's
        held-out sessions are in the fit that its fold starts from. With fewer than two subjects
        there is none.
        """
        return _fit(context, study, design_tensors)

    return population_fit


def is_due(study: Study, instance: dg.DagsterInstance, subjects: int) -> bool:
    """Whether no version is there that fits the study's settings and number of subjects.

    One whose hierarchical fit was never made, since a run was killed before it, is none.
    """
    event, beside = (
        instance.get_latest_materialization_event(dg.AssetKey([study.name, name]))
        for name in (NAME, HIERARCHY)
    )
    if event is None or event.asset_materialization is None:
        return True
    if study.hierarchy.enabled and (beside is None or beside.timestamp < event.timestamp):
        return True
    told = event.asset_materialization.metadata
    if "settings" not in told or told["settings"].value != study.model_digest():
        return True
    return "excluded" in told and subjects > 1


def stored_population(study: Study, designs: "Sequence[Design]") -> "SubjectFits | None":
    """The version that is there, if fits of these designs can start from it.

    After an edit of the task or of the folds it cannot, until another version is made.
    """
    from glmhmm_core.errors import InputError

    path = study.storage / f"{NAME}.npz"
    if not path.exists():
        return None
    try:
        population = _loaded(path, path.stat().st_mtime_ns)
    except InputError:  # it says why there is none, or it is damaged: the next version mends it
        return None
    settings, fit = study.fit_settings(), population.fits[0]
    same = (fit.settings.cv_folds, fit.settings.seed) == (settings.cv_folds, settings.seed)
    model = (fit.emission_names, population.choice_names, fit.baseline_class_idx)
    for design in designs:
        same &= model == (design.feature_names, design.choice_names, design.baseline_class_idx)
    return population if same else None


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int) -> "SubjectFits":
    """Read a version once: the names of states in every table and figure come from it."""
    from glmhmm_core.fitting.store import load_fits

    return load_fits(path)


def _fit(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "SubjectFits | Excluded":
    use_compilation_cache(study)
    from glmhmm_core.errors import InputError
    from glmhmm_core.fitting.fingerprint import fingerprint
    from glmhmm_core.fitting.population import SUBJECT, fit_population, pooled_design
    from glmhmm_core.fitting.result import Excluded

    usable = {s: d for s, d in designs.items() if not isinstance(d, Excluded)}
    facts: dict[str, Any] = {"settings": study.model_digest(), "subjects": len(usable)}
    num_states, settings = study.model.num_states, study.fit_settings()
    store = FitStore(study.storage / NAME)
    try:
        mark = fingerprint(pooled_design(usable), num_states, settings)
        fits = store.find(SUBJECT, mark)
        if fits is None:
            progress = Progress(context.log.info, models=len(num_states), folds=settings.cv_folds)
            fits = fit_population(usable, num_states, settings, progress_callback=progress)
            store.keep(fits, mark)
    except InputError as error:
        context.add_output_metadata({**facts, "excluded": str(error)})
        return Excluded(SUBJECT, str(error))
    facts |= {"fingerprint": fits.fingerprint, "trials": len(fits.fits[0].y)}
    facts |= {f"log_likelihood_K{fit.num_states}": fit.raw_log_likelihood for fit in fits.fits}
    context.add_output_metadata(facts)
    return fits
