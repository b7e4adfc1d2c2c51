"""From designs to fitted models: all subjects of a run in one batch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import check_fits, fit_check_specs, shown_fit
from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.defs.population import stored_population
from glmhmm_assets.per_subject import exclude, show, subject_asset
from glmhmm_assets.progress import Progress
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import Excluded, SubjectFits

#: Rooms of the core that make a fit.
ROOMS = ("engine", "fitting")


def build_subject_fits(study: Study) -> dg.AssetsDefinition:
    """Build the asset of fitted models."""

    @dg.asset(
        **subject_asset(study, kinds={"jax"}, rooms=ROOMS),
        io_manager_key="fits",
        check_specs=fit_check_specs(study),
        deps=[[study.name, POPULATION]],
        pool="gpu",
    )
    def subject_fits(context: dg.AssetExecutionContext, design_tensors: dict) -> Iterator[Any]:
        """Softmax GLM-HMMs of every subject, for every number of states that the study names.

        All subjects, numbers of states, restarts and folds are one batch in one process. Each
        starts from the population's fit, where there is one, and from restarts of its own. A
        subject's fits are kept under a fingerprint of its data, its settings and the sources
        that make them, as soon as they are finished: a run that finds them there fits nothing,
        and one that was killed goes on where it stopped.
        """
        fits = fit_batch(context, study, design_tensors)
        for subject, one in fits.items():
            _tell(context, study, subject, one)
        yield dg.Output(fits)
        yield from check_fits(study, fits)

    return subject_fits


def fit_batch(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "dict[str, SubjectFits | Excluded]":
    """Fit what the store does not hold; give everything in the order of the run's partitions."""
    use_compilation_cache(study)
    from glmhmm_core.fitting.batch import fit_subjects
    from glmhmm_core.fitting.fingerprint import fingerprint
    from glmhmm_core.fitting.result import Excluded

    num_states, settings = study.model.num_states, study.fit_settings()
    usable = [d for d in designs.values() if not isinstance(d, Excluded)]
    population = stored_population(study, usable)
    if population is None:
        context.log.info("no fit of the population to start from: own restarts alone")
    store = FitStore(study.storage / "fits")
    fits: dict[str, Any] = {s: d for s, d in designs.items() if isinstance(d, Excluded)}
    todo = {}
    for subject, design in designs.items():
        if subject in fits:
            continue
        stored = store.find(subject, fingerprint(design, num_states, settings, population))
        if stored is None:
            todo[subject] = design
        else:
            fits[subject] = stored
            show(context, subject, {"from_store": True})
    context.log.info("%d subjects are fitted already, %d to fit", len(fits), len(todo))

    def finished(one: "SubjectFits | Excluded") -> None:
        if not isinstance(one, Excluded):
            store.keep(one)
        context.log.info("finished %s", one.subject)

    if todo:
        # One state has one optimum and needs one start.
        starts = sum(1 if k == 1 else settings.n_restarts for k in num_states)
        progress = Progress(
            context.log.info,
            restarts=len(todo) * starts,
            folds=len(todo) * settings.cv_folds,
        )
        fits |= fit_subjects(
            todo,
            num_states,
            settings,
            population=population,
            on_finished=finished,
            progress_callback=progress,
        )
    return {subject: fits[subject] for subject in context.partition_keys}


def _tell(
    context: dg.AssetExecutionContext, study: Study, subject: str, one: "SubjectFits | Excluded"
) -> None:
    """Show the essentials of one subject's fits on its materialization."""
    from glmhmm_core.comparison.scores import bits_per_trial, heldout_bits_per_trial
    from glmhmm_core.fitting.result import Excluded

    if isinstance(one, Excluded):
        exclude(context, one)
        return
    fit = shown_fit(study, one)
    heldout = heldout_bits_per_trial(fit)
    facts: dict[str, Any] = {
        "fingerprint": one.fingerprint,
        "population": one.population or "none",
        "trials": len(fit.y),
        "num_states_shown": fit.num_states,
        "log_likelihood": fit.raw_log_likelihood,
        "bits_per_trial": bits_per_trial(fit),
        "accuracy": fit.accuracy,
        "iterations": fit.num_iterations,
        "converged": fit.converged,
    }
    if heldout is not None:
        facts["heldout_bits_per_trial"] = heldout
    if fit.own_optimum is not None:
        own = fit.own_optimum
        facts |= {
            "optimum": "own restarts" if own.chosen else "population",
            "own_objective_gain": own.objective_gain,
            "own_state_agreement": own.state_agreement,
        }
        if own.heldout_gain is not None:
            facts["own_heldout_gain"] = own.heldout_gain
    if one.notes:
        facts["notes"] = "\n".join(one.notes)
    show(context, subject, facts)
