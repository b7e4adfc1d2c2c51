"""All subjects of a study together: made anew when fits of any of them changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.defs.population import matched_to
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.per_subject import code_version, study_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import Excluded, SubjectFits

ROOMS = ("comparison", "engine", "fitting", "plots", "states", "tables", "tasks")


#: The pictures; not every cohort has all of them.
PICTURES = ("weights", "occupancy", "psychometrics", "heldout_bits", "transitions")


def when_parents_change(study: Study) -> dg.AutomationCondition:
    """Condition to make an asset over all subjects again: once, after the subjects' run.

    Dagster's ``eager`` alone would stay silent as long as any subject has no fits, for instance
    one whose first run failed; the cohort is then the others. What the asset needs of the cohort's
    own stage has to be there. A run over subjects ends with ``fit_tracking``: before that some of
    its tables are new and others are old or missing.
    """
    missing = dg.AutomationCondition.any_deps_missing()
    own_stage = dg.AssetSelection.groups(f"{study.name}_cohort")
    at_work = dg.AutomationCondition.asset_matches(
        dg.AssetKey([study.name, "fit_tracking"]), dg.AutomationCondition.in_progress()
    )
    eager = dg.AutomationCondition.eager().without(~missing)
    return eager & ~missing.allow(own_stage) & ~at_work


def build_cohort(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets over all subjects of a study."""
    common: dict[str, Any] = {
        "automation_condition": when_parents_change(study),
        "code_version": code_version(*ROOMS),
    }

    @study_asset(
        study,
        **common,
        kinds={"polars", "parquet"},
        io_manager_key="tables",
        ins={"subject_fits": of_everyone(study, "subject_fits")},
    )
    def cohort_summary(context: dg.AssetExecutionContext, subject_fits: dict) -> Any:
        """One row per subject and number of states: scores, and the states with their names.

        A subject that is left out has one row with the reason.
        """
        from glmhmm_core.tables.cohort import cohort_summary

        fitted, left_out = _sort(study, subject_fits)
        summary = cohort_summary(fitted, left_out, naming_of(study))
        counts: dict[str, Any] = {"subjects": len(fitted), "left_out": len(left_out)}
        counts |= {"matched_to": matched_to(study)}
        context.add_output_metadata(counts | {"dagster/row_count": summary.height})
        return summary

    @study_asset(
        study,
        **common,
        kinds={"matplotlib"},
        ins={
            "subject_fits": of_everyone(study, "subject_fits"),
            "cleaned_sessions": of_everyone(study, "cleaned_sessions"),
        },
        deps=[dg.AssetKey([study.name, "cohort_summary"])],
    )
    def cohort_figures(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> None:
        """Weights, transitions, occupancies, psychometric curves and held-out bits over subjects.

        Each picture shows the subjects singly and their mean. States are pooled that match the same
        state of the pooled fit. Subjects without the model, or whose fit did not converge, are left
        out; they are counted on the picture, as are states that match none.
        """
        fitted, left_out = _sort(study, subject_fits)
        gallery = Gallery.of_cohort(study)
        pictures = _pictures(study, fitted, left_out, cleaned_sessions)
        for name, function, arguments in pictures:
            shown = gallery.draw(study.name, name, function, arguments)
            context.add_output_metadata({f"{name}_{what}": value for what, value in shown.items()})
        context.add_output_metadata({"matched_to": matched_to(study)})
        for name in set(PICTURES) - {name for name, *_ in pictures}:
            gallery.remove(study.name, name)

    return [cohort_summary, cohort_figures]


def of_everyone(study: Study, asset: str) -> dg.AssetIn:
    """All subjects of an asset, whoever has it by now."""
    lenient = {"allow_missing_partitions": True}
    return dg.AssetIn(key=[study.name, asset], metadata=lenient)


def _sort(
    study: Study, fits: "Mapping[str, SubjectFits | Excluded]"
) -> "tuple[list[SubjectFits], list[Excluded]]":
    """Sort the subjects that count into those with fits and those without."""
    from glmhmm_core.fitting.result import Excluded

    only = study.who_counts(fits)
    fitted: list[SubjectFits] = []
    left_out: list[Excluded] = []
    for subject, one in fits.items():
        if subject not in only:
            continue
        if isinstance(one, Excluded):
            left_out.append(one)
        else:
            fitted.append(one)
    return fitted, left_out


def _pictures(
    study: Study,
    fitted: "Sequence[SubjectFits]",
    left_out: "Sequence[Excluded]",
    cleaned: Mapping[str, Any],
) -> list[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """List the cohort's pictures: name, figure function and what it gets."""
    import polars as pl

    from glmhmm_core.plots import cohort, cohort_states
    from glmhmm_core.tables.behavior import psychometric_table
    from glmhmm_core.tables.cohort import NO_FITS, members
    from glmhmm_core.tables.parameters import state_table, transition_table, weight_table
    from glmhmm_core.tables.scores import score_table

    # The model that most subjects have, of those up to the study's number of states.
    shown = [shown_fit(study, one).num_states for one in fitted]
    if not shown:
        return []
    k = max(set(shown), key=shown.count)
    names = [one.subject for one in left_out]
    counted, absent = members(fitted, k, names)
    scores = pl.concat([score_table(one) for one in fitted])
    gains = (scores, study.title, {NO_FITS: names} if names else {})
    pictures: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
        ("heldout_bits", cohort_states.cohort_heldout_bits, gains)
    ]
    if not counted:
        return pictures
    task, naming = study.load_task(), naming_of(study)
    title = (k, study.title)
    weights = pl.concat([weight_table(one, naming) for one in counted])
    states = pl.concat([state_table(one, naming) for one in counted])
    pictures += [
        ("weights", cohort.cohort_weights, (weights, *title, absent)),
        ("occupancy", cohort_states.cohort_occupancy, (states, *title, absent)),
    ]
    curves = [
        psychometric_table(one, cleaned[one.subject], stimulus.name, naming)
        for one in counted
        for stimulus in task.stimuli[:1]
        if cleaned[one.subject].filter("in_chain")[stimulus.name].is_not_null().any()
    ]
    if curves:
        drawn = (pl.concat(curves), *title, task.stimuli[0].label, absent)
        pictures.append(("psychometrics", cohort.cohort_psychometrics, drawn))
    if k > 1:
        transitions = pl.concat([transition_table(one, naming) for one in counted])
        arguments = (transitions, states, *title, absent)
        pictures.append(("transitions", cohort_states.cohort_transitions, arguments))
    return pictures
