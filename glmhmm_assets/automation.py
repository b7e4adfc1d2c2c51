"""What happens by itself: new files fit their subjects, and every night goes over all.

A study has one sensor that watches its files and one schedule; what the sensor decides is in
``watching.py``, and telling people of failures in ``notification.py``.
"""

import time
from collections.abc import Sequence

import dagster as dg

from glmhmm_assets.defs.population import is_due
from glmhmm_assets.partitions import STUDY_TAG, known_subjects, range_tags
from glmhmm_assets.study import Study, load_study
from glmhmm_assets.watching import look

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

        def select(subjects: int) -> list[dg.AssetKey]:
            due = is_due(current, context.instance, subjects)
            return [*(asset.key for asset in population), *keys] if due else keys

        return look(current, context.instance, context.cursor, context.log, time.time(), select)

    return session_files


def build_nightly_schedule(
    study: Study, target: Sequence[dg.AssetsDefinition]
) -> dg.ScheduleDefinition:
    """Build the schedule that goes over all subjects: what is there already costs little."""
    return _over_everyone(
        study,
        target,
        "nightly",
        study.schedule.refit,
        "Goes over all subjects; only what is missing or out of date is fitted.",
    )


def build_population_schedule(
    study: Study, target: Sequence[dg.AssetsDefinition]
) -> dg.ScheduleDefinition:
    """Build the schedule that fits the population anew, and all subjects from it."""
    return _over_everyone(
        study,
        target,
        "population",
        study.schedule.population,
        "Fits the population anew with all sessions by now, and all subjects from it.",
    )


def _over_everyone(
    study: Study, target: Sequence[dg.AssetsDefinition], name: str, cron: str, description: str
) -> dg.ScheduleDefinition:
    """Build a schedule that asks for one run over all subjects."""

    @dg.schedule(
        name=f"{study.name}_{name}",
        target=list(target),
        cron_schedule=cron,
        execution_timezone=study.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def over_everyone(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        known = known_subjects(study, context.instance)
        if not known:
            return dg.SkipReason("no subjects yet")
        return dg.RunRequest(tags={**range_tags(known, known), STUDY_TAG: study.name})

    return over_everyone


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
