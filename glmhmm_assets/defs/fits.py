"""From designs to fitted models: all subjects of a run in one batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import check_fits, fit_check_specs, shown_fit
from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.defs.population import made_of, population_for, stored_population
from glmhmm_assets.per_subject import attempt, exclude, show, study_asset, subject_asset
from glmhmm_assets.progress import Progress
from glmhmm_assets.standing import Standing, champion_of, fit_store, settle
from glmhmm_assets.study import Study
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import Excluded

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import FitResult, SubjectFits

#: Rooms that make fits, and decide which of them stand.
ROOMS = ("comparison", "engine", "fitting", "states", "tables")


class Promotion(dg.Config):
    """What a person decides that the rule did not."""

    promote: list[str] = Field(
        default=[], description="Subjects whose fits were held, and are promoted by hand."
    )


def build_subject_fits(study: Study) -> dg.AssetsDefinition:
    """Build the asset of fitted models."""

    @study_asset(
        study,
        **subject_asset(study, kinds={"jax"}, rooms=ROOMS),
        io_manager_key="fits",
        check_specs=fit_check_specs(study),
        deps=[[study.name, POPULATION]],
        pool="gpu",
    )
    def subject_fits(
        context: dg.AssetExecutionContext, config: Promotion, design_tensors: dict
    ) -> Iterator[Any]:
        """Softmax GLM-HMMs of every subject, for every number of states that the study names.

        All subjects, numbers of states, restarts and folds are one batch in one process. Each
        starts from the population's fit, where there is one, and from restarts of its own. A
        subject's fits are kept under a fingerprint of its data, its settings and the sources
        that make them, as soon as they are finished: a run that finds them there fits nothing,
        and one that was killed goes on where it stopped.

        A refit starts from the subject's earlier fit too, whose score on the sessions that are
        new to it is shown. It takes the earlier one's place if it converged, is the best of its
        starts and has the same states; else it is held for review, and the earlier fit stands
        here and in all tables and figures. `glmhmm promote STUDY --subject NAME`, or this asset
        with `promote: [NAME]` as its config, promotes it by hand.
        """
        fits: dict[str, Any] = {}
        held: dict[str, str] = {}
        population = stored_population(study, ())

        def stand(subject: str, one: _Fitted) -> "SubjectFits":
            by_hand = subject in config.promote
            design = design_tensors[subject]
            standing = settle(study, design, one.fits, one.inputs, by_hand=by_hand)
            _tell(context, study, standing, one.inputs, population)
            if standing.held:
                held[subject] = standing.promotion
            return standing.fits

        for subject, one in fit_batch(context, study, design_tensors).items():
            value: Any = one
            if isinstance(one, _Fitted):
                value = attempt(context, subject, partial(stand, one=one))
            fits[subject] = exclude(context, value) if isinstance(value, Excluded) else value
        yield dg.Output(fits)
        yield from check_fits(study, fits, held)

    return subject_fits


@dataclass(frozen=True)
class _Fitted:
    """A subject's newest fits, and the fingerprint that they are kept under."""

    fits: "SubjectFits"
    inputs: str


def fit_batch(
    context: dg.AssetExecutionContext, study: Study, designs: dict
) -> "dict[str, _Fitted | Excluded]":
    """Fit what the store does not hold; give everything in the order of the run's partitions."""
    use_compilation_cache(study)
    from glmhmm_core.comparison.succession import succeed
    from glmhmm_core.fitting.batch import fit_subjects
    from glmhmm_core.fitting.fingerprint import fingerprint

    num_states, settings = study.model.num_states, study.fit_settings()
    usable = [d for d in designs.values() if not isinstance(d, Excluded)]
    population = None
    try:
        population = population_for(study, usable)
        context.log.info("starting from the pooled fit of %s", made_of(population))
    except InputError as error:
        context.log.info("own restarts alone: %s", error)
    store = fit_store(study)
    fits: dict[str, Any] = {s: d for s, d in designs.items() if isinstance(d, Excluded)}
    todo, inputs, earlier = {}, {}, {}
    for subject, design in designs.items():
        if subject in fits:
            continue
        inputs[subject] = fingerprint(design, num_states, settings, population)
        stored = store.find(subject, inputs[subject])
        if stored is None:
            todo[subject] = design
            if before := champion_of(study, subject, design):
                earlier[subject] = before
        else:
            fits[subject] = _Fitted(stored, inputs[subject])
            show(context, subject, {"from_store": True})
    context.log.info("subjects fitted already: %d, to fit: %d", len(fits), len(todo))

    def finished(one: "SubjectFits | Excluded") -> None:
        if not isinstance(one, Excluded):
            before = earlier.get(one.subject)
            one = succeed(one, before) if before else one
            store.keep(one, inputs[one.subject])
            fits[one.subject] = _Fitted(one, inputs[one.subject])
            context.log.info("finished %s", one.subject)
        else:
            fits[one.subject] = one

    if todo:
        progress = Progress(
            context.log.info,
            models=len(todo) * len(num_states),
            folds=len(todo) * settings.cv_folds,
        )
        fit_subjects(
            todo,
            num_states,
            settings,
            population=population,
            earlier=earlier,
            on_finished=finished,
            progress_callback=progress,
        )
    return {subject: fits[subject] for subject in context.partition_keys}


def _tell(
    context: dg.AssetExecutionContext,
    study: Study,
    standing: Standing,
    inputs: str,
    population: "SubjectFits | None",
) -> None:
    """Show the essentials of one subject's fits on its materialization."""
    from glmhmm_core.comparison.scores import bits_per_trial, heldout_bits_per_trial

    one = standing.fits
    fit = shown_fit(study, one)
    heldout = heldout_bits_per_trial(fit)
    facts: dict[str, Any] = {
        "fingerprint": one.fingerprint,
        "champion": standing.champion,
        "promotion": _in_words(standing),
        "prospective_test": _prospective_test(shown_fit(study, standing.newest)),
        "population": one.population or "none",
        "population_made_of": started_from(one, population),
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
    if standing.held:
        facts["held_fit"] = standing.newest.fingerprint
        file = fit_store(study).path(one.subject, inputs)
        facts["held_fit_file"] = dg.MetadataValue.path(str(file))
    if score := shown_fit(study, standing.newest).succession:
        facts["earlier"] = score.earlier
        if score.log_likelihood is not None:
            facts["prospective_log_likelihood"] = score.log_likelihood
            facts["prospective_bits_per_trial"] = score.bits_per_trial
    if remarks := dict.fromkeys(remark for each in one.fits for remark in each.remarks):
        facts["remarks"] = "\n".join(remarks)
    if one.notes:
        facts["notes"] = "\n".join(one.notes)
    show(context, one.subject, facts)


def started_from(fits: "SubjectFits", population: "SubjectFits | None") -> str:
    """Say whom the pooled fit was made of that a subject's fits started from."""
    if fits.population is None:
        return "none"
    if population is None or population.fingerprint != fits.population:
        return "an earlier version than the one that is there"
    return made_of(population)


def _in_words(standing: Standing) -> str:
    """Say what became of the newest fits, and so which fits are shown."""
    if not standing.held:
        return standing.promotion
    held = standing.promotion.rstrip(".")
    if standing.champion:
        return f"{held}. The earlier fit stands: everything shown is of it."
    return f"{held}. No earlier fit is of these data: everything shown is of this one."


def _prospective_test(fit: "FitResult") -> str:
    """Say how the earlier model predicted the sessions that it never saw."""
    test = fit.succession
    if test is None:
        return "none: there was no earlier fit"
    changed = ""
    if test.changed_sessions:
        changed = f"{len(test.changed_sessions)} sessions were corrected or removed"
    if test.log_likelihood is None or test.bits_per_trial is None:
        return f"none: no new sessions with choices{changed and ', ' + changed}"
    glm = test.glm_bits_per_trial
    return (
        f"the earlier model of {fit.num_states} states on {len(test.new_sessions)} new sessions "
        f"({test.new_choices} choices): {test.log_likelihood:.1f} nats, {test.bits_per_trial:.3f} "
        f"bits per trial{'' if glm is None else f', the GLM {glm:.3f}'}"
        f"{changed and '; ' + changed}"
    )
