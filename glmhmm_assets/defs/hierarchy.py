"""The hierarchical fit: a population learned from all subjects, and every subject shrunk to it.

The population is a version, made with the pooled fit and by hand; new session files fit only
their subjects anew, under the version that is there, which their fingerprints name.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.cohort import when_parents_change
from glmhmm_assets.defs.population import HIERARCHY as NAME
from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.defs.population import of_study, population_for
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.per_subject import code_version, exclude, show, study_asset, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.stored import read_arrays, read_stored
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded

if TYPE_CHECKING:
    from glmhmm_core.design.design import Design
    from glmhmm_core.fitting.hierarchy import Hierarchy
    from glmhmm_core.fitting.result import SubjectFits

ROOMS = ("engine", "fitting")
#: The asset of its subjects' fits.
SHRUNKEN = "shrunken_fits"
LENIENT = {"allow_missing_partitions": True}


def shrunken_input(study: Study) -> dict[str, dg.AssetIn]:
    """The subjects' fits as an input of an asset: of a study that has them, from who has them."""
    asked = study.hierarchy.enabled
    return {SHRUNKEN: dg.AssetIn([study.name, SHRUNKEN], metadata=LENIENT)} if asked else {}


def build_hierarchical_fit(study: Study) -> list[dg.AssetsDefinition]:
    """Build the asset of the learned population; none if the study switched it off."""

    @study_asset(
        study,
        name=NAME,
        kinds={"jax"},
        code_version=code_version(*ROOMS),
        io_manager_key="hierarchies",
        ins={"design_tensors": dg.AssetIn([study.name, "design_tensors"], metadata=LENIENT)},
        deps=[[study.name, POPULATION]],
        pool="gpu",
    )
    def hierarchical_fit(context: dg.AssetExecutionContext, design_tensors: dict) -> Any:
        """How the subjects' weights and transitions are spread around the population's mean.

        Mean and spread are learned (empirical Bayes by Laplace's method): from all sessions,
        without those of each fold, and from everyone's past for each prospective fold. A subject
        with few sessions borrows strength from it.
        """
        return _learn(context, study, design_tensors)

    return [hierarchical_fit] if study.hierarchy.enabled else []


def _learn(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "Hierarchy | Excluded":
    use_compilation_cache(study)
    from glmhmm_core.fitting.hierarchy import fit_hierarchy, hierarchy_fingerprint

    usable = of_study(study, designs)
    asked = study.hierarchy_states, study.comparison.prospective_folds
    try:
        pooled = population_for(study, list(usable.values()))
    except InputError as error:
        context.add_output_metadata({"excluded": str(error)})
        return Excluded(NAME, str(error))
    found = stored_hierarchy(study)
    mark = hierarchy_fingerprint(usable, pooled, *asked)
    try:
        if found is None or found.fingerprint != mark:
            found = fit_hierarchy(usable, pooled, *asked)
    except InputError as error:
        context.add_output_metadata({"excluded": str(error)})
        return Excluded(NAME, str(error))
    except MemoryError:
        raise
    except Exception as error:
        # The other fits of the run must not be lost to it.
        context.log.exception("no hierarchical fit after an unexpected error")
        reason = f"unexpected {type(error).__name__}: {error} (traceback in the log of this run)"
        context.add_output_metadata({"excluded": reason})
        return Excluded(NAME, reason)
    facts: dict[str, Any] = {
        "fingerprint": found.fingerprint,
        "population": found.population,
        "subjects": len(found.subjects),
        "learned_from": ", ".join(found.subjects),
    }
    for level in found.levels:
        k, rounds = level.num_states, level.log_marginal.tolist()
        facts |= {f"rounds_K{k}": len(rounds), f"converged_K{k}": level.converged}
        facts |= {f"log_marginal_K{k}": dg.MetadataValue.json(rounds)}
    for kind, folds in (("folds", found.folds), ("prospective_folds", found.forecasts)):
        every = [level.converged for fold in folds for level in fold.levels]
        if every:
            facts[f"{kind}_converged"] = f"{sum(every)} of {len(every)}"
    if found.notes:
        facts["notes"] = "\n".join(found.notes)
    context.add_output_metadata(facts)
    return found


def stored_hierarchy(study: Study, designs: "Sequence[Design]" = ()) -> "Hierarchy | None":
    """The version that is there, if these designs can be fitted under it as the study says."""
    from glmhmm_core.fitting.hierarchy_store import load_hierarchy

    try:
        found = read_stored(study.storage / f"{NAME}.npz", load_hierarchy)
    except InputError:  # it says why there is none, or it is damaged: the next version mends it
        return None
    settings, known = study.fit_settings(), found.levels[0].specification
    theirs = found.settings.cv_folds
    # One without folds, of too few sessions, serves all the same: no held-out score is under it.
    same = not theirs or (theirs, found.settings.seed) == (settings.cv_folds, settings.seed)
    same &= tuple(level.num_states for level in found.levels) == study.hierarchy_states
    model = (known.emission_names, found.choice_names, found.baseline_class_idx)
    for design in designs:
        same &= model == (design.feature_names, design.choice_names, design.baseline_class_idx)
    return found if same else None


def _why_none(study: Study) -> str:
    """Say why no version serves: its own reason, or that its file or settings are others."""
    from glmhmm_core.fitting.hierarchy_store import load_hierarchy

    remedy = f"`glmhmm run {study.name} --refit-pooled` makes it now."
    try:
        path = study.storage / f"{NAME}.npz"
        found = read_stored(path, lambda path: read_arrays(path, load_hierarchy))
    except InputError as error:
        return f"no {NAME}: {error.problem}. {remedy}"
    if isinstance(found, Excluded):
        return f"no {NAME}: {found.reason}"
    return f"the {NAME} that is there is of other settings, regressors or folds. {remedy}"


def build_shrunken_fits(study: Study) -> list[dg.AssetsDefinition]:
    """Build the per-subject asset of fits under the learned priors."""

    @study_asset(
        study,
        **subject_asset(study, kinds={"jax"}, rooms=("comparison", *ROOMS)),
        io_manager_key="fits",
        deps=[[study.name, NAME]],
        pool="gpu",
    )
    def shrunken_fits(
        context: dg.AssetExecutionContext, design_tensors: dict, subject_fits: dict
    ) -> dict:
        """Every subject's fits under the priors that `hierarchical_fit` learned.

        Folds are fitted under priors that were learned without their sessions. States keep the
        population's numbers. The page has the held-out gain over the fit with ordinary priors,
        which saw the same sessions: where a refit is held, there are newer ones.
        """
        fits = _fit_batch(context, study, _as_compared(design_tensors, subject_fits))
        for subject, one in fits.items():
            _tell(context, subject, one, subject_fits[subject])
        return fits

    return [shrunken_fits] if study.hierarchy.enabled else []


def _as_compared(designs: dict, ordinary: dict) -> dict:
    """Designs of the sessions that the ordinary fits saw; all of them where there are no fits."""
    from glmhmm_core.fitting.result import SubjectFits

    fits = {s: one for s, one in ordinary.items() if isinstance(one, SubjectFits)}
    return {
        s: design.of_sessions(fits[s].keys_session.tolist()) if s in fits else design
        for s, design in designs.items()
    }


def _fit_batch(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "dict[str, SubjectFits | Excluded]":
    """Fit what the store does not hold."""
    use_compilation_cache(study)
    from glmhmm_core.fitting.shrinkage import fit_shrunken, shrunken_fingerprint

    usable = {s: d for s, d in designs.items() if not isinstance(d, Excluded)}
    hierarchy = stored_hierarchy(study, list(usable.values()))
    if hierarchy is None:
        reason = _why_none(study)
        return {
            s: d if isinstance(d, Excluded) else Excluded(s, reason) for s, d in designs.items()
        }
    store = FitStore(study.storage / "shrunken")
    marks = {s: shrunken_fingerprint(design, hierarchy) for s, design in usable.items()}
    fits: dict[str, Any] = {s: store.find(s, mark) for s, mark in marks.items()}
    todo = {s: usable[s] for s, one in fits.items() if one is None}
    context.log.info("subjects to fit under the learned priors: %d", len(todo))
    for subject, one in fit_shrunken(todo, hierarchy).items():
        fits[subject] = one
        if not isinstance(one, Excluded):
            store.keep(one, marks[subject])
    return {s: fits.get(s, designs[s]) for s in context.partition_keys}


def _tell(
    context: dg.AssetExecutionContext,
    subject: str,
    one: "SubjectFits | Excluded",
    ordinary: "SubjectFits | Excluded",
) -> None:
    """Show the essentials of one subject's shrunken fits on its materialization."""
    from glmhmm_core.comparison.scores import gain_over, heldout_bits_per_trial

    if isinstance(one, Excluded):
        exclude(context, one)
        return
    facts: dict[str, Any] = {"fingerprint": one.fingerprint, "hierarchy": one.population or ""}
    for fit in one.fits:
        own = None if isinstance(ordinary, Excluded) else ordinary.find(fit.num_states)
        gain, error = gain_over(fit, own)
        for name, value in (
            ("heldout_bits_per_trial", heldout_bits_per_trial(fit)),
            ("gain_over_warm_start", gain),
            ("gain_over_warm_start_se", error),
            ("converged", fit.converged),
        ):
            if value is not None:
                facts[f"{name}_K{fit.num_states}"] = value
    if one.notes:
        facts["notes"] = "\n".join(one.notes)
    show(context, subject, facts)


def build_shrinkage(study: Study) -> list[dg.AssetsDefinition]:
    """Build the table and the figure of the learned population with all of its subjects."""

    @study_asset(
        study,
        automation_condition=when_parents_change(study),
        code_version=code_version(*ROOMS, "comparison", "plots", "states", "tables", "tasks"),
        kinds={"polars", "parquet"},
        io_manager_key="tables",
        ins={
            name: dg.AssetIn([study.name, name], metadata=LENIENT)
            for name in (SHRUNKEN, "subject_fits")
        },
    )
    def shrinkage(
        context: dg.AssetExecutionContext, shrunken_fits: dict, subject_fits: dict
    ) -> Any:
        """Population mean and spread of every parameter, and how far each subject is shrunk.

        With each subject's held-out gain over its fit under ordinary priors.
        """
        return _shrinkage(context, study, shrunken_fits, subject_fits)

    return [shrinkage] if study.hierarchy.enabled else []


def _shrinkage(
    context: dg.AssetExecutionContext, study: Study, shrunken: dict, ordinary: dict
) -> Any:
    use_compilation_cache(study)
    import polars as pl

    from glmhmm_core.plots.hierarchy import population_weights
    from glmhmm_core.tables.cohort import members
    from glmhmm_core.tables.hierarchy import shrinkage_table

    hierarchy = stored_hierarchy(study)
    there = [one for one in shrunken.values() if not isinstance(one, Excluded)]
    # After another version, subjects that are not fitted under it yet do not belong to it.
    fitted = [one for one in there if hierarchy and one.population == hierarchy.fingerprint]
    if hierarchy is None or not fitted:
        reason = "No subject has a fit under the learned priors."
        context.add_output_metadata({"excluded": reason})
        return Excluded("shrinkage", reason)
    own = {s: one for s, one in ordinary.items() if not isinstance(one, Excluded)}
    table = shrinkage_table(hierarchy, fitted, own, naming_of(study))
    facts: dict[str, Any] = {
        "fingerprint": hierarchy.fingerprint,
        "subjects": len(fitted),
        "left_out": len(shrunken) - len(fitted),
        "dagster/row_count": table.height,
    }
    gallery = Gallery.of_cohort(study)
    others = sorted(set(shrunken) - {one.subject for one in fitted})
    for (k,), rows in table.group_by("num_states"):
        gains = rows.unique("subject")["heldout_gain"].drop_nulls().to_numpy()
        if len(gains):
            facts[f"mean_heldout_gain_K{k}"] = float(gains.mean())
            facts[f"subjects_gaining_K{k}"] = int((gains > 0).sum())
        counted, absent = members(fitted, k, others)
        if not counted:
            gallery.remove(study.name, f"population_K{k}")
            continue
        shown = rows.filter(pl.col("subject").is_in([one.subject for one in counted]))
        arguments = (shown, k, study.title, absent)
        drawn = gallery.draw(study.name, f"population_K{k}", population_weights, arguments)
        facts |= {f"population_K{k}_{what}": value for what, value in drawn.items()}
    context.add_output_metadata(facts)
    return table
