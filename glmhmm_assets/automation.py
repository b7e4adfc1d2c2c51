"""Sensors and schedules: new files refit their subjects; each night those behind are refitted.

The decisions of the file sensor are in ``watching.py``, the question who is behind is answered in
``up_to_date.py``, and failures are reported in ``notification.py``.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from glmhmm_assets.defs.population import why_due
from glmhmm_assets.partitions import STUDY_TAG, known_subjects, range_tags
from glmhmm_assets.resources.session_files import scan_sessions
from glmhmm_assets.study import Study, load_study
from glmhmm_assets.up_to_date import Record
from glmhmm_assets.watching import look
from glmhmm_core.errors import InputError

if TYPE_CHECKING:
    from glmhmm_core.trials.scan import Scan

#: Seconds between two looks at the session files.
LOOK_EVERY = 30


def build_session_sensor(
    study: Study,
    per_subject: Sequence[dg.AssetsDefinition],
    population: Sequence[dg.AssetsDefinition],
) -> dg.SensorDefinition:
    """Build the sensor that watches a study's session files.

    A run that it asks for makes the population's fits too if none is there that serves. The study
    file is read again at every tick, as it is in every run: an edit counts at once.
    """

    @dg.sensor(
        name=f"{study.name}_session_files",
        target=[*population, *per_subject],
        minimum_interval_seconds=LOOK_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Watches {study.sessions_root} and asks for one run for all subjects whose files, or "
            "whose settings, changed. A failed run is not asked for again by itself: re-execute "
            "it, wait for the nightly schedule, or reset this sensor's cursor, which asks for "
            "everyone who has not gone through the whole graph."
        ),
    )
    def session_files(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        current = load_study(study.file, study.home)
        keys = [key for asset in per_subject for key in asset.keys]

        def select(subjects: Sequence[str]) -> tuple[list[dg.AssetKey], bool]:
            due = why_due(current, context.instance, subjects)
            if due is None:
                return keys, False
            context.log.info("the pooled fit is made anew, and all subjects from it: %s", due)
            return [*(asset.key for asset in population), *keys], True

        return look(current, context.instance, context.cursor, context.log, time.time(), select)

    return session_files


def build_nightly_schedule(
    study: Study, per_subject: Sequence[dg.AssetsDefinition]
) -> dg.ScheduleDefinition:
    """Build the schedule that goes over the subjects of whom anything is out of date."""
    return _schedule(
        study,
        per_subject,
        "nightly",
        study.schedule.refit,
        "Goes over the subjects of whom anything is missing or out of date, if there are any.",
        lambda current, instance: nightly_run(Record(current, instance, per_subject)),
    )


def nightly_run(record: Record) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run over those who are behind; the smallest range with all of them in it."""
    outdated = record.outdated(_found(record.study))
    return _run(record, outdated) if outdated else dg.SkipReason("everything is up to date")


def build_population_schedule(
    study: Study,
    population: Sequence[dg.AssetsDefinition],
    per_subject: Sequence[dg.AssetsDefinition],
) -> dg.ScheduleDefinition:
    """Build the schedule that fits the population anew, and all subjects from it."""
    return _schedule(
        study,
        [*population, *per_subject],
        "population",
        study.schedule.population,
        "Fits the population anew with all sessions by now, and all subjects from it, if anything "
        "is new.",
        lambda current, instance: population_run(
            Record(current, instance, per_subject), population
        ),
    )


def population_run(
    record: Record, population: Sequence[dg.AssetsDefinition]
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run over everyone if anything is new since the population was fitted."""
    known = known_subjects(record.study, record.instance)
    due = why_due(record.study, record.instance, known)
    if due or record.has_news_for(population) or record.outdated(_found(record.study)):
        return _run(record, known)
    return dg.SkipReason("nothing is new since the population was fitted")


def _run(record: Record, subjects: Sequence[str]) -> dg.RunRequest:
    known = known_subjects(record.study, record.instance)
    return dg.RunRequest(tags={**range_tags(known, subjects), STUDY_TAG: record.study.name})


def _schedule(
    study: Study,
    target: Sequence[dg.AssetsDefinition],
    name: str,
    cron: str,
    description: str,
    ask: Callable[[Study, dg.DagsterInstance], dg.RunRequest | dg.SkipReason],
) -> dg.ScheduleDefinition:
    """Build a schedule that asks for a run; the study file is read again at every tick."""

    @dg.schedule(
        name=f"{study.name}_{name}",
        target=list(target),
        cron_schedule=cron,
        execution_timezone=study.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def over_subjects(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        current = load_study(study.file, study.home)
        if not known_subjects(current, context.instance):
            return dg.SkipReason("no subjects yet")
        return ask(current, context.instance)

    return over_subjects


def _found(study: Study) -> "Scan | None":
    """Scan the session files; None if they cannot be read, which the run then tells of."""
    try:
        return scan_sessions(study)
    except InputError:
        return None


def build_cohort_sensor(
    study: Study, cohort: Sequence[dg.AssetsDefinition]
) -> dg.AutomationConditionSensorDefinition:
    """Build the sensor that makes the assets over all subjects anew after a run.

    They have no partitions, so the run that fits cannot make them too. Without a sensor of its
    own an asset's condition does nothing until somebody switches Dagster's on.
    """
    return dg.AutomationConditionSensorDefinition(
        name=f"{study.name}_cohort",
        target=dg.AssetSelection.assets(*cohort),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=LOOK_EVERY,
        run_tags={"glmhmm/cohort_of": study.name},
        description="Makes the cohort's table and figure anew when fits of any subject changed.",
    )
