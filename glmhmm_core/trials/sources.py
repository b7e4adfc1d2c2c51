"""Sources of session files: what every reader offers, and which reader a format has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from upath import UPath

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.alf import AlfSource
from glmhmm_core.trials.files import Stamped, to_path
from glmhmm_core.trials.names import check_subject_name, name_key
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession
from glmhmm_core.trials.tabular import TableSource

SourceFormat = Literal["alf", "csv", "parquet"]


class Source(Protocol):
    """The session files of a study, as one reader sees them."""

    def subjects(self) -> tuple[list[str], list[ReportRow]]:
        """Names of all subjects, usable or not, and what is refused as a whole."""

    def files(self, subject: str) -> list[Stamped]:
        """Files that hold something of a subject, in reading order."""

    def n_trials(self, subject: str) -> int | None:
        """Trials of a subject, as far as that is known before they are read."""

    def digest(self, subject: str, files: Sequence[Stamped]) -> str:
        """SHA-256 of the content that concerns a subject."""

    def read(self, subject: str) -> tuple[list[RawSession], list[ReportRow]]:
        """All sessions of a subject, in order, and what was not taken for one."""


def open_source(root: str | Path | UPath, source_format: SourceFormat, task: Task) -> Source:
    """Open the session files of a study; InputError if there is nothing at that place."""
    path = to_path(root)
    try:
        is_there = path.exists()
    except OSError as error:
        raise InputError(
            f"it cannot be opened ({error.strerror})", where=str(path), remedy="Make it readable."
        ) from error
    if not is_there:
        raise InputError(
            "there is no such file or folder", where=str(path), remedy="Correct the path."
        )
    if source_format == "alf":
        return AlfSource(path, task)
    return TableSource(path, task, source_format)


def usable_subjects(source: Source) -> tuple[list[str], list[ReportRow]]:
    """Names of the subjects that can be used, sorted, and why others cannot.

    Refused are names that are no file names, and names that a file system which ignores case
    would take for one.
    """
    names, rows = source.subjects()
    same: dict[str, list[str]] = {}
    for name in names:
        try:
            check_subject_name(name)
            same.setdefault(name_key(name), []).append(name)
        except InputError as error:
            reason = f"{error.problem}{_where(source, name)}: {error.remedy.lower().rstrip('.')}"
            rows.append(_refused(source, name, reason))
    for alike in same.values():
        for name in alike if len(alike) > 1 else ():
            others = " and ".join(repr(other) for other in alike if other != name)
            reason = (
                f"its name{_where(source, name)} differs from {others} in case alone (or in how "
                "an accent is encoded): rename one of them"
            )
            rows.append(_refused(source, name, reason))
    return sorted(alike[0] for alike in same.values() if len(alike) == 1), rows


def _where(source: Source, subject: str) -> str:
    """Say in which file a subject stands, if it can be told."""
    try:
        files = source.files(subject)
    except OSError:
        return ""
    return f" (in {files[0].path})" if files else ""


def _refused(source: Source, subject: str, reason: str) -> ReportRow:
    n_trials = source.n_trials(subject)
    return ReportRow("subject", "subject_name", reason, subject, n_trials=n_trials, dropped=True)
