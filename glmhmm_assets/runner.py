"""Running a study by hand: the graph's own assets, in this process, recorded in the instance.

What belongs here is which partitions to ask Dagster for, and keeping out of the way of the runs
that the sensor asks for. How a run is told to a terminal is in ``following.py``.
"""

import contextlib
import difflib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.launcher.base import WorkerStatus
from dagster._core.utils import make_new_run_id
from filelock import FileLock, Timeout
from rich.console import Console

from glmhmm_assets.definitions import build_defs
from glmhmm_assets.defs.population import HIERARCHY, NAMED, why_due
from glmhmm_assets.defs.population import NAME as POPULATION
from glmhmm_assets.following import follow
from glmhmm_assets.interrupting import execute
from glmhmm_assets.last_lines import Listed, Outcome, listed_by_checks
from glmhmm_assets.launcher import BY_HAND_TAG, by_hand_lock
from glmhmm_assets.leftovers import clear
from glmhmm_assets.partitions import STUDY_TAG, known_subjects, range_tags
from glmhmm_assets.resources.session_files import (
    is_being_written,
    refused_subjects,
    scan_sessions,
    tell_report,
)
from glmhmm_assets.standing import refit_log
from glmhmm_assets.stores import dagster_instance
from glmhmm_assets.study import Study
from glmhmm_assets.watching import arrived
from glmhmm_core.errors import InputError
from glmhmm_core.wording import first_of

if TYPE_CHECKING:
    from glmhmm_core.trials.scan import SubjectFiles

#: Assets that the population's fit is made of.
BEFORE_POPULATION = ("cleaned_sessions", "cleaning_report", "design_tensors")
#: A run in one of these is writing results.
_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


def run_study(
    study: Study,
    asked: Sequence[str],
    console: Console,
    *,
    promote: bool = False,
    refit_pooled: bool = False,
) -> Outcome:
    """Bring a study's subjects up to date; only what is missing or changed is fitted.

    Parameters
    ----------
    study
        The study; DAGSTER_HOME is its home.
    asked
        Subjects to go over; all that have session files if empty.
    console
        Where progress is told.
    promote
        Promote the fits of those asked for, which are held for review.
    refit_pooled
        Make the pooled fit anew, whether or not it is due.

    Raises
    ------
    InputError
        If the session files cannot be used, a subject has none, the study is being run, or there
        is nothing to promote.
    """
    with dagster_instance(study.home) as instance, _alone(study, instance):
        with console.status(f"{study.name}: reading session files"):
            found = scan_sessions(study)
        for line in tell_report(study, found.report.filter(~found.report["warning"])):
            console.print(line, markup=False)
        subjects = _choose(study, asked, list(found.subjects))
        known = known_subjects(study, instance)
        files = [found.subjects[subject] for subject in subjects]
        _wait_until_written(study, [f for f in files if f.subject in known], console)
        new = [subject for subject in subjects if subject not in known]
        instance.add_dynamic_partitions(study.partitions_name, new)
        _record_arrivals(study, instance, files)
        if promote:
            _check_held(study, subjects)
        due = _why_pooled(study, instance, bool(asked), refit_pooled)
        if due:
            console.print(f"The pooled fit is made anew: {due}", markup=False)
        promoted = subjects if promote else ()
        events = _materialize(study, instance, subjects, console, promoted, pooled=bool(due))
    reasons: dict[str, str | None] = {} if asked else dict(refused_subjects(found))
    reasons |= dict.fromkeys(subjects, "its run failed before it was fitted")
    told = _told(study, "subject_fits", events)
    reasons |= {subject: facts.get("excluded") for subject, facts in told.items()}
    promotions = {subject: facts.get("promotion", "") for subject, facts in told.items()}
    return Outcome(
        fitted=tuple(subject for subject, reason in reasons.items() if reason is None),
        left_out={subject: reason for subject, reason in reasons.items() if reason is not None},
        held={subject: said for subject, said in promotions.items() if said.startswith("held")},
        problems=tuple(_message(event) for event in events if event.is_step_failure),
        checks=listed_by_checks(events) | _unmatched(study, events),
    )


def _why_pooled(study: Study, instance: dg.DagsterInstance, some: bool, asked: bool) -> str | None:
    """Give the reason to make the pooled fit in this run, None if there is none.

    A run of some subjects does not ask who its members are: the others would not follow it.
    """
    if asked:
        return "--refit-pooled asks for it"
    return why_due(study, instance, () if some else known_subjects(study, instance))


def _check_held(study: Study, subjects: Sequence[str]) -> None:
    """Refuse to promote where nothing is held."""
    for subject in subjects:
        newest = refit_log(study).newest(subject)
        if newest is None or newest[2].startswith("promoted"):
            raise InputError(
                f"no fit of {subject!r} is held for review",
                where=f"study {study.name!r}",
                remedy="The check refits_promoted of subject_fits lists those that are.",
            )


def _record_arrivals(
    study: Study, instance: dg.DagsterInstance, files: "Sequence[SubjectFiles]"
) -> None:
    """Record the content of session files that Dagster has not seen, as the sensor does."""
    for one in files:
        event = arrived(study, one)
        last = instance.fetch_materializations(
            dg.AssetRecordsFilter(event.asset_key, asset_partitions=[one.subject]), limit=1
        ).records
        before = last[0].asset_materialization if last else None
        if before is None or before.tags != event.tags:
            instance.report_runless_asset_event(event)


def _materialize(
    study: Study,
    instance: dg.DagsterInstance,
    subjects: Sequence[str],
    console: Console,
    promote: Sequence[str],
    pooled: bool,
) -> list[dg.DagsterEvent]:
    """Run the graph over stretches of neighboring partitions; give what happened.

    One run over everything between the first and the last would fit subjects that nobody asked
    for. The stretches share this process, so that nothing is compiled twice. The population's
    fit, if it is to be made, needs the designs of all stretches before.
    """
    definitions = build_defs(study.home)
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = [key for key in job.asset_layer.executable_asset_keys if key.path[0] == study.name]
    partitioned = [key for key in keys if job.asset_layer.get(key).is_partitioned]
    population = [key for key in keys if key.path[-1] in (POPULATION, HIERARCHY)]
    cohort = [key for key in keys if key not in partitioned and key not in population]
    known = known_subjects(study, instance)
    stretches = _stretches(known, subjects)
    steps = [(stretch, list(partitioned)) for stretch in stretches]
    steps[-1][1].extend(cohort)  # the cohort's assets go over all subjects, once
    if pooled:
        steps[0][1].extend(population)
        before = [key for key in partitioned if key.path[-1] in BEFORE_POPULATION]
        steps = [(stretch, before) for stretch in stretches[1:]] + steps
    events: list[dg.DagsterEvent] = []
    fits = dg.AssetKey([study.name, "subject_fits"])
    for stretch, selection in steps:
        config = {"promote": [subject for subject in promote if subject in stretch]}
        ops = {fits.to_python_identifier(): {"config": config}} if fits in selection else {}
        run_id = make_new_run_id()
        with follow(instance, run_id, console, study.name):
            result = execute(
                job,
                instance,
                run_id,
                asset_selection=selection,
                tags={
                    **range_tags(stretch, stretch),
                    STUDY_TAG: study.name,
                    BY_HAND_TAG: "yes",
                    "dagster/max_retries": "0",  # nobody but a person starts it again
                },
                run_config={
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                    "ops": ops,
                },
            )
        events += result.all_events
    return events


def _message(event: dg.DagsterEvent) -> str:
    """Say why a step failed: in its own words if it had some, else by the innermost error."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        said = failure.user_failure_data.description
    else:
        error = failure.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = error.message.strip() if error else "failed"
    return f"{event.step_key}: {said}"


def _unmatched(study: Study, events: Sequence[dg.DagsterEvent]) -> dict[str, list[Listed]]:
    """List the states without a name in the model that the figures show, as a check would."""
    shown = f"K={study.figures.num_states}"
    lines = [
        {"subject": subject, "what": doubt}
        for subject, facts in _told(study, "state_matches", events).items()
        for doubt in facts.get("doubts", "").splitlines()
        if doubt.startswith(shown)
    ]
    return {"states_matched": lines} if lines else {}


def _told(study: Study, asset: str, events: Sequence[dg.DagsterEvent]) -> dict[str, dict[str, str]]:
    """For every subject of whom an asset was stored, what its page says in words."""
    key = dg.AssetKey([study.name, asset])
    made = [
        e.step_materialization_data.materialization
        for e in events
        if e.asset_key == key and e.is_step_materialization
    ]
    return {
        m.partition: {name: str(fact.value) for name, fact in m.metadata.items()}
        for m in made
        if m.partition
    }


def _choose(study: Study, asked: Sequence[str], present: Sequence[str]) -> list[str]:
    """Give the subjects asked for, in the order of all; refuse one that has no files."""
    if not present:
        raise InputError(
            f"no subject in {study.sessions_root} can be used",
            where=f"study {study.name!r}",
            remedy=f"See `glmhmm check {study.name}`, and [subjects] include in {study.file}.",
        )
    from glmhmm_core.trials.ids import find_id

    wanted = {subject: find_id(subject, present) for subject in asked}
    for subject, found in wanted.items():
        if found is None:
            near = difflib.get_close_matches(subject, present, n=3)
            raise InputError(
                f"there are no session files of subject {subject!r}",
                where="--subject",
                remedy=f"Did you mean {' or '.join(near)}?"
                if near
                else f"There are: {first_of(present, NAMED)}.",
            )
    return [subject for subject in present if not asked or subject in wanted.values()]


def _stretches(order: Sequence[str], subjects: Sequence[str]) -> list[list[str]]:
    """Split subjects into runs of neighbors in the order of the partition set."""
    stretches: list[list[str]] = []
    before = None
    for position in sorted(order.index(subject) for subject in subjects):
        if before is None or position != before + 1:
            stretches.append([])
        stretches[-1].append(order[position])
        before = position
    return stretches


def _wait_until_written(study: Study, files: "Sequence[SubjectFiles]", console: Console) -> None:
    """Wait for files that changed just now, as the sensor does: they may be half copied."""
    while waiting := [f for f in files if is_being_written(study, f, time.time())]:
        left = max(f.newest for f in waiting) + study.sessions.quiet_seconds - time.time()
        names = first_of([f.subject for f in waiting], NAMED)
        console.print(f"Waiting {left:.0f} s: files of {names} changed just now", markup=False)
        time.sleep(max(left, 0.1))


@contextlib.contextmanager
def _alone(study: Study, instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep two runs from writing the same subjects.

    Runs of the daemon wait for unfinished runs of their study, so one whose process was killed
    has to be marked failed, or they would wait for ever.
    """
    clear(study.home, instance)
    try:
        held = FileLock(by_hand_lock(study.home, study.name)).acquire(timeout=0)
    except Timeout:
        raise InputError(
            "it is being run by hand already",
            where=f"study {study.name!r}",
            remedy="Wait for that run, or end it.",
        ) from None
    with held:
        ours = dg.RunsFilter(tags={STUDY_TAG: study.name}, statuses=_AT_WORK)
        for run in instance.get_runs(ours):
            if _is_gone(instance, run):
                instance.report_run_failed(run, "Its process is gone.")
                continue
            raise InputError(
                f"Dagster is at work on it (run {run.run_id[:8]})",
                where=f"study {study.name!r}",
                remedy="Wait for that run, or end it in the Dagster pages.",
            )
        yield


def _is_gone(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    launcher = instance.run_launcher
    if not launcher.supports_check_run_worker_health:
        return False
    health = launcher.check_run_worker_health(run)
    return health.status in (WorkerStatus.NOT_FOUND, WorkerStatus.FAILED)
