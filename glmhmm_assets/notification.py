"""Telling people of a failed run, through the program that the study file names.

Nothing is sent by this project itself: the program gets the facts as JSON on its standard input
(and in the variable GLMHMM_FAILURE) and decides what to do with them.
"""

import json
import os
import subprocess
from typing import Any

import dagster as dg

from glmhmm_assets.partitions import STUDY_TAG
from glmhmm_assets.study import NotifyTable, Study, load_study

#: Characters of an error message that are passed on; a variable cannot hold any length.
LONGEST_MESSAGE = 4000


def build_failure_sensor(study: Study) -> dg.SensorDefinition:
    """Build the sensor that tells of a study's failed runs."""

    @dg.run_failure_sensor(
        name=f"{study.name}_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Tells of failed runs through the command that the study file names.",
    )
    def failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        notify = load_study(study.file, study.home).notify
        run = context.dagster_run
        if notify is None or not _is_of(study, run):
            return dg.SkipReason("of another study" if notify else "no [notify] in the study file")
        if run.status is not dg.DagsterRunStatus.FAILURE:
            return dg.SkipReason("a person ended the run")
        tell(notify, describe_failure(study, context))
        context.log.info("told %s of run %s", notify.command[0], run.run_id)
        return None

    return failures


def _is_of(study: Study, run: dg.DagsterRun) -> bool:
    """Whether a run was asked for by the study's automation, or made some of its assets."""
    selected = run.asset_selection or ()
    return run.tags.get(STUDY_TAG) == study.name or any(k.path[0] == study.name for k in selected)


def describe_failure(study: Study, context: dg.RunFailureSensorContext) -> dict[str, Any]:
    """Gather what a person wants to know about a failed run; every value is JSON."""
    run = context.dagster_run
    steps = context.get_step_failure_events()
    errors = [event.step_failure_data.error for event in steps]
    # Dagster wraps what an asset raised in an error of its own.
    reasons = [str((error.cause or error).message).strip() for error in errors if error]
    message = "\n".join([context.failure_event.message or "", *reasons])
    return {
        "study": study.name,
        "title": study.title,
        "run_id": run.run_id,
        "failed_steps": [event.step_key for event in steps],
        "first_subject": run.tags.get("dagster/asset_partition_range_start")
        or run.tags.get("dagster/partition"),
        "last_subject": run.tags.get("dagster/asset_partition_range_end")
        or run.tags.get("dagster/partition"),
        "will_retry": run.tags.get("dagster/will_retry") == "true",
        "message": message.strip()[:LONGEST_MESSAGE],
    }


def tell(notify: NotifyTable, facts: dict[str, Any]) -> None:
    """Run the command with the facts; no shell reads it.

    Raises
    ------
    dagster.Failure
        The program is missing, failed or did not end in time; the sensor's tick shows it.
    """
    text = json.dumps(facts, ensure_ascii=False) + "\n"
    place = "Correct 'command' in [notify] of the study file."
    try:
        done = subprocess.run(
            notify.command,
            input=text,
            env={**os.environ, "GLMHMM_FAILURE": text},
            timeout=notify.timeout_seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise dg.Failure(
            f"{notify.command[0]} did not end within {notify.timeout_seconds:g} s. {place}"
        ) from error
    except OSError as error:
        raise dg.Failure(f"{notify.command[0]} cannot be run ({error}). {place}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-LONGEST_MESSAGE:]
        raise dg.Failure(
            f"{notify.command[0]} ended with exit code {done.returncode}: {said}. {place}"
        )
