"""The population's fit: all subjects as one, a version that every subject's fit starts from.

New session files refit only their subjects, from the version that is there; another version is
made by schedule, by hand, or because none fits the study as it stands: settings or files are
others, or more than a fifth of the subjects (``OTHERS``).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.per_subject import code_version, study_asset
from glmhmm_assets.progress import Progress
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.stored import read_arrays, read_stored
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded
from glmhmm_core.wording import first_of

if TYPE_CHECKING:
    from glmhmm_core.design.design import Design
    from glmhmm_core.fitting.result import SubjectFits

ROOMS = ("engine", "fitting")
#: The asset, and what it is called among the fits.
NAME = "population_fit"
#: The hierarchical fit, which is made with every version.
HIERARCHY = "hierarchical_fit"
#: Share of the subjects that may not be among those of the version that is there, or of those
#: that may not be subjects any more, before another is made.
OTHERS = 1 / 5
#: Subjects that a message names; of more it gives the number.
NAMED = 10


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


def why_due(study: Study, instance: dg.DagsterInstance, subjects: Sequence[str]) -> str | None:
    """Give the reason to make another version now, or None if the stored one serves.

    Asked of the files: one that is missing or damaged is made again. A version whose hierarchical
    fit was never made, since a run was killed before it, is none.

    Parameters
    ----------
    subjects
        Everyone whom a run would fit: where others than the version's members are among them,
        as :func:`others` says, the version is due. Of nobody, members are not asked for.
    """
    event, beside = (
        instance.get_latest_materialization_event(dg.AssetKey([study.name, name]))
        for name in (NAME, HIERARCHY)
    )
    if event is None or event.asset_materialization is None:
        return "there was none yet"
    told = event.asset_materialization.metadata
    if "settings" not in told or told["settings"].value != study.model_digest():
        return "settings of the study changed"
    try:
        found = _read(study)
        if study.hierarchy.enabled:
            read_stored(study.storage / f"{HIERARCHY}.npz", _hierarchy)
    except InputError as error:
        return str(error)
    if study.hierarchy.enabled and (beside is None or beside.timestamp < event.timestamp):
        return "the hierarchical fit was not made with it"
    counted = study.who_counts(subjects)
    today = [s for s in subjects if s in counted and _may_be_member(study, s)]
    if isinstance(found, Excluded):
        return "there was none, and now are two subjects or more" if len(today) > 1 else None
    return others(members_of(found), today) if today else None


def others(members: Sequence[str], today: Sequence[str]) -> str | None:
    """Say how the members of a pooled fit differ from these subjects; None if they do not.

    It is not when more than ``OTHERS`` of today's subjects are not among its members, or more
    than that of its members are no subjects any more.
    """
    new, gone = sorted(set(today) - set(members)), sorted(set(members) - set(today))
    for some, of, what in (
        (new, today, "subjects are not among those it was made of"),
        (gone, members, "that it was made of are not in the study any more"),
    ):
        if len(some) > OTHERS * len(of):
            return f"{len(some)} of {len(of)} {what}: {first_of(some, NAMED)}"
    return None


def members_of(population: "SubjectFits") -> list[str]:
    """Names of the subjects whose trials a pooled fit was made of."""
    import numpy as np

    return sorted({str(name).partition("/")[0] for name in np.unique(population.keys_session)})


def made_of(population: "SubjectFits") -> str:
    """Say in words whom a pooled fit was made of."""
    members = members_of(population)
    return f"{len(members)} subjects: {first_of(members, NAMED)}"


def matched_to(study: Study) -> str:
    """Say whom the pooled fit was made of that subjects' states are matched to, or why none is."""
    try:
        return f"the pooled fit of {made_of(population_for(study, ()))}"
    except InputError as error:
        return f"none: {error}"


def of_study(study: Study, designs: "Mapping[str, Design | Excluded]") -> "dict[str, Design]":
    """Designs of the subjects that a pooled fit is made of: usable ones that the study includes."""
    counted = study.who_counts(designs)
    return {s: d for s, d in designs.items() if not isinstance(d, Excluded) and s in counted}


def _may_be_member(study: Study, subject: str) -> bool:
    """True unless the subject's stored design is known to be unusable.

    One whose design is not made yet, or damaged, counts: it is made in the run that asks.
    """
    path = study.storage / "design_tensors" / f"{subject}.npz"
    try:
        return not isinstance(read_stored(path, _excluded), Excluded)
    except InputError:
        return True


def _excluded(path: Path) -> Any:
    return read_arrays(path, lambda _: None)


def _hierarchy(path: Path) -> Any:
    from glmhmm_core.fitting.hierarchy_store import load_hierarchy

    return read_arrays(path, load_hierarchy)


def _read(study: Study) -> "SubjectFits | Excluded":
    """The version that is there, or why it could not be made.

    Raises
    ------
    InputError
        There is no whole file.
    """
    path = study.storage / f"{NAME}.npz"
    return _loaded(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=1)
def _loaded(path: Path, _changed: int) -> "SubjectFits | Excluded":
    """Read a version once: the names of states in every table and figure come from it."""
    from glmhmm_core.fitting.store import load_fits

    found: SubjectFits | Excluded = read_stored(path, lambda path: read_arrays(path, load_fits))
    return found


def stored_population(study: Study, designs: "Sequence[Design]") -> "SubjectFits | None":
    """The version that is there, if fits of these designs can start from it.

    After an edit of the task or of the folds it cannot, until another version is made.
    """
    try:
        return population_for(study, designs)
    except InputError:
        return None


def population_for(study: Study, designs: "Sequence[Design]") -> "SubjectFits":
    """The version that is there, for fits of these designs to start from and be matched to.

    Raises
    ------
    InputError
        There is none, or it does not fit the study as it stands; the reason is the true one.
    """

    def refuse(problem: str) -> InputError:
        remedy = f"`glmhmm run {study.name} --refit-pooled` makes it now."
        return InputError(problem, where=f"pooled fit of {study.name}", remedy=remedy)

    try:
        population = _read(study)
    except InputError as error:
        raise refuse(error.problem) from error
    if isinstance(population, Excluded):
        raise refuse(f"it could not be made ({population.reason})")
    settings, fit = study.fit_settings(), population.fits[0]
    theirs = fit.settings.cv_folds
    # One without folds, of too few sessions, serves all the same: no fold starts from it.
    if theirs and (theirs, fit.settings.seed) != (settings.cv_folds, settings.seed):
        raise refuse(
            f"it has {theirs} folds of seed {fit.settings.seed}, the study asks for "
            f"{settings.cv_folds} of seed {settings.seed}"
        )
    model = (fit.emission_names, population.choice_names, fit.baseline_class_idx)
    for design in designs:
        if model != (design.feature_names, design.choice_names, design.baseline_class_idx):
            raise refuse(
                f"it is of the regressors {', '.join(fit.emission_names)} and the choices "
                f"{', '.join(population.choice_names)}, {design.subject} has others"
            )
    return population


def _fit(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "SubjectFits | Excluded":
    use_compilation_cache(study)
    from glmhmm_core.fitting.fingerprint import fingerprint
    from glmhmm_core.fitting.population import SUBJECT, fit_population, pooled_design

    usable = of_study(study, designs)
    facts: dict[str, Any] = {
        "settings": study.model_digest(),
        "subjects": len(usable),
        "made_of": first_of(sorted(usable), NAMED) or "nobody",
        "made_anew": f"when more than {OTHERS:.0%} of the subjects are not among these, or the "
        "reverse; on Sundays if anything is new; by `glmhmm run STUDY --refit-pooled`",
    }
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
    if fits.notes:
        facts["notes"] = "\n".join(fits.notes)
    context.add_output_metadata(facts)
    return fits
