"""What a study's sensor does at each look at the session files.

``plan`` decides, from what is on disk and what was asked for before, which subjects to fit; it is
a pure function. ``look`` does one look: it reads, plans, and says it in Dagster's words. What the
sensor remembers is in ``sensor_memory.py``.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.partitions import STUDY_TAG, known_subjects, range_tags, subjects_of
from glmhmm_assets.resources.session_files import is_being_written, scan_sessions, tell_report
from glmhmm_assets.sensor_memory import Memory, MemoryFiles
from glmhmm_assets.study import Study
from glmhmm_core.wording import first_of

if TYPE_CHECKING:
    from glmhmm_core.trials.scan import Scan, SubjectFiles

#: A run in one of these is still going to write results.
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


#: Subjects that a message names, which is stored with every look; of more it gives the number.
_NAMED = 5


@dataclass(frozen=True)
class Plan:
    """What a look at the files comes to.

    Attributes
    ----------
    refit
        Files of the subjects that a run is to be asked for, in name order.
    new
        Those of them that are no partitions yet.
    waiting
        Subjects whose files are still being written.
    vanished, returned
        Subjects that have lost all their files, or have them back unchanged, since the last look.
    """

    refit: tuple["SubjectFiles", ...]
    new: tuple[str, ...]
    waiting: tuple[str, ...]
    vanished: tuple[str, ...]
    returned: tuple[str, ...]


def plan(
    study: Study, found: "Scan", memory: Memory, known: Sequence[str], settings: str, now: float
) -> Plan:
    """Decide which subjects to fit.

    A subject is fitted when its content, or the settings, differ from those of the last run asked
    for, and its files are quiet: none changed in the last ``quiet_seconds``, and, since a copy
    can carry an old time, they are the same as one tick ago unless this is the first.

    Parameters
    ----------
    found
        The subjects on disk.
    memory
        What the last tick left.
    known
        Subjects that are partitions.
    settings
        Digest of the study's settings.
    now
        Seconds since the epoch.
    """
    refit, waiting = [], []
    for subject, files in found.subjects.items():
        done = memory.asked.get(subject) == files.digest and memory.settings == settings
        if done and subject in known:
            continue
        moved = bool(memory.seen) and memory.seen.get(subject) != files.digest
        if study.sessions.quiet_seconds > 0 and (moved or is_being_written(study, files, now)):
            waiting.append(subject)
        else:
            refit.append(files)
    gone = {subject for subject in known if subject not in found.subjects}
    return Plan(
        refit=tuple(refit),
        new=tuple(files.subject for files in refit if files.subject not in known),
        waiting=tuple(waiting),
        vanished=tuple(sorted(gone - set(memory.vanished))),
        returned=tuple(sorted(set(memory.vanished) - gone)),
    )


def remember(memory: Memory, found: "Scan", settings: str, looked: Plan, asks: bool) -> Memory:
    """Update the memory after a tick; ``asks`` says whether the plan's run is asked for now."""
    refused = hashlib.sha256(repr(found.report.rows()).encode()).hexdigest()
    after = replace(
        memory,
        seen={subject: files.digest for subject, files in found.subjects.items()},
        vanished=tuple(sorted({*memory.vanished, *looked.vanished} - set(looked.returned))),
        refused=refused,
    )
    if not asks:
        return after
    before = memory.asked if memory.settings == settings else {}
    return replace(
        after,
        settings=settings,
        asked={**before, **{files.subject: files.digest for files in looked.refit}},
        requests=memory.requests + 1,
    )


def look(
    study: Study,
    instance: dg.DagsterInstance,
    cursor: str | None,
    log: Any,
    now: float,
    select: Callable[[Sequence[str]], tuple[list[dg.AssetKey], bool]],
) -> dg.SensorResult:
    """Look at a study's session files once: the body of its sensor.

    Changes that come while a run of the study is waiting or at work are left for a later tick,
    so that they go into one run together and no two runs write the same subject. A sensor
    without a memory waits for that end too, since only then it shows who is done. ``select`` says
    for the subjects that there will be which assets a run is asked for, and whether of all of
    them, since the pooled fit is made anew that they start from.

    Raises
    ------
    InputError
        If the session files cannot be read, or the memory cannot be written.
    """
    files = MemoryFiles(study.storage / "sensor")
    memory = files.read(cursor)
    known = known_subjects(study, instance)
    settings, found = study.settings_digest(), scan_sessions(study)
    busy = instance.get_run_records(
        dg.RunsFilter(tags={STUDY_TAG: study.name}, statuses=_UNFINISHED), limit=1
    )
    if memory is None:
        if busy:
            run = busy[0].dagster_run.run_id[:8]
            reason = f"nothing is known of earlier looks: waiting for run {run} to end"
            return dg.SensorResult(skip_reason=reason)
        done = _done(study, instance, found, settings)
        memory = Memory(settings=settings, asked=done, born=f"{now:.3f}")
    looked = plan(study, found, memory, known, settings, now)
    asks = bool(looked.refit) and not busy
    after = remember(memory, found, settings, looked, asks)

    if after.refused != memory.refused:
        for line in tell_report(study, found.report):
            log.warning(line)
    for subject in looked.vanished:
        log.warning("%s has no session files any more; its results stay as they are", subject)
    events: list[Any] = [_vanished(study, subject) for subject in looked.vanished]
    after_cursor = files.write(after, cursor)
    if not asks:
        return dg.SensorResult(
            cursor=after_cursor,
            asset_events=events,
            skip_reason=_why_nothing(looked, found, busy),
        )
    order = [*known, *looked.new]
    asked = [files.subject for files in looked.refit]
    selection, everyone = select(order)
    log.info("fitting %s", "all subjects" if everyone else first_of(asked, _NAMED))
    return dg.SensorResult(
        cursor=after_cursor,
        asset_events=[*events, *(arrived(study, files) for files in looked.refit)],
        dynamic_partitions_requests=[subjects_of(study).build_add_request(list(looked.new))]
        if looked.new
        else [],
        run_requests=[
            dg.RunRequest(
                run_key=f"{study.name}-{after.born}-{after.requests}",
                tags={
                    **range_tags(order, order if everyone else asked),
                    STUDY_TAG: study.name,
                },
                asset_selection=selection,
            )
        ],
    )


def _done(
    study: Study, instance: dg.DagsterInstance, found: "Scan", settings: str
) -> dict[str, str]:
    """Digests of the subjects whose content went through the whole graph with these settings.

    A sensor without a memory, as after a run by hand, would else ask for everything again.
    """

    def last(asset: str, subject: str) -> tuple[dg.AssetMaterialization | None, float]:
        wanted = dg.AssetRecordsFilter(dg.AssetKey([study.name, asset]), asset_partitions=[subject])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            return record.asset_materialization, record.timestamp
        return None, 0.0

    done = {}
    for subject, files in found.subjects.items():
        (came, arrival), (tracked, end) = (
            last("raw_sessions", subject),
            last("fit_tracking", subject),
        )
        if came is None or tracked is None or end < arrival:
            continue
        if "settings" not in tracked.metadata:
            continue
        same = (came.tags or {}).get("dagster/data_version") == files.digest
        if same and tracked.metadata["settings"].value == settings:
            done[subject] = files.digest
    return done


def arrived(study: Study, files: "SubjectFiles") -> dg.AssetMaterialization:
    """Event of ``raw_sessions`` for a subject with new content."""
    return dg.AssetMaterialization(
        asset_key=dg.AssetKey([study.name, "raw_sessions"]),
        partition=files.subject,
        metadata={
            "files": len(files.files),
            "newest": dg.MetadataValue.timestamp(files.newest),
            "content": files.digest,
        },
        tags={"dagster/data_version": files.digest},
    )


def _vanished(study: Study, subject: str) -> dg.AssetObservation:
    """Event of ``raw_sessions`` for a subject that has lost all its files."""
    return dg.AssetObservation(
        asset_key=dg.AssetKey([study.name, "raw_sessions"]),
        partition=subject,
        metadata={"files": 0, "vanished": "no session files any more; results are kept"},
    )


def _why_nothing(looked: Plan, found: "Scan", busy: Sequence[Any]) -> str:
    said = []
    if looked.refit:
        said.append(
            f"{len(looked.refit)} subjects have changed and wait for run "
            f"{busy[0].dagster_run.run_id[:8]} to end"
        )
    if looked.waiting:
        said.append(f"still being written: {first_of(looked.waiting, _NAMED)}")
    if looked.vanished:
        said.append(f"without files now: {first_of(looked.vanished, _NAMED)}")
    return "; ".join(said) or f"{len(found.subjects)} subjects, nothing new"
