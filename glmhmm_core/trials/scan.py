"""Which subjects a source holds, and a digest of the content of each: what a sensor watches."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from upath import UPath

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.report import ReportRow, report_frame
from glmhmm_core.trials.sources import SourceFormat, open_source, usable_subjects


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject.

    Attributes
    ----------
    subject
        Name of the subject.
    files
        Files that hold something of it, in reading order.
    digest
        SHA-256 of the content that concerns this subject: for ALF the bytes and places of the
        files that the task reads, for tables its own rows of the columns that the task reads and
        the names of their files. Independent of modification times and of where the root lies.
    newest
        Latest modification time among its files, seconds since the epoch.
    """

    subject: str
    files: tuple[Path | UPath, ...]
    digest: str
    newest: float


@dataclass(frozen=True)
class Scan:
    """What a source holds: usable subjects by name, sorted, and a report of what is refused."""

    subjects: dict[str, SubjectFiles]
    report: pl.DataFrame


def scan(root: str | Path | UPath, source_format: SourceFormat, task: Task) -> Scan:
    """List the subjects of a source and digest their content.

    A file is read again only if its size or modification time changed since the last scan of
    this process.

    Parameters
    ----------
    root
        Folder of session files; for tables a single file too.
    source_format
        ``alf``, ``csv`` or ``parquet``.
    task
        Says which columns count.

    Raises
    ------
    InputError
        The root is missing, or holds no session file at all.
    """
    source = open_source(root, source_format, task)
    names, rows = usable_subjects(source)
    subjects = {}
    for name in names:
        try:
            files = source.files(name)
        except OSError as error:
            reason = f"its folders cannot be opened ({error.strerror}: {error.filename})"
            rows.append(ReportRow("subject", "unreadable", reason, name, dropped=True))
            continue
        if not files:
            reason = "it has no session files: add them, or remove its folder"
            rows.append(ReportRow("subject", "no_sessions", reason, name, n_trials=0, dropped=True))
            continue
        subjects[name] = SubjectFiles(
            subject=name,
            files=tuple(file.path for file in files),
            digest=source.digest(name, files),
            newest=max(file.mtime_ns for file in files) / 1e9,
        )
    if not subjects and all(row.rule in ("no_sessions", "not_read") for row in rows):
        others = [row.reason for row in rows if row.rule == "not_read"]
        there = f"; {others[0]}" if others else ""
        if len(others) > 1:
            there += f"; {len(others) - 1} more are not read either"
        raise InputError(
            f"no session file of format {source_format}{there}",
            where=str(root),
            remedy="Give the folder that holds them, or correct the format.",
        )
    return Scan(subjects, report_frame(rows))
