"""Reader of ALF/ONE folders: ``<lab>/Subjects/<subject>/<date>/<number>/alf/_ibl_trials.*``.

The namespace may be another laboratory's, or none (``trials.choice.npy``).

The root may be the folder of the labs, one lab's folder, or its ``Subjects`` folder. Attributes
are single ``.npy`` files or columns of ``_ibl_trials.table.pqt``; file names may carry a UUID
before their extension, as a ONE cache names them. Of an attribute that is there in several
revisions the newest counts, and the report says so. The files may lie in a collection below
``alf/``; a session with trials in several collections is left out, for nobody can say which is
meant. Nothing is ever unpickled.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import polars as pl

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.alf_folders import Attribute, Collection, collections, names_of
from glmhmm_core.trials.files import (
    AnyPath,
    Entry,
    FileMemory,
    Stamped,
    Unreadable,
    entries,
    read_bytes,
    readable,
    sha256,
)
from glmhmm_core.trials.isolated import parse_isolated
from glmhmm_core.trials.npy import read_column
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"\d+")

_digest = FileMemory(lambda file: sha256(file.path))


class _Folder(NamedTuple):
    """One session's ``alf`` folder, with its collections of trial files: one if all is well."""

    session: str
    path: AnyPath
    collections: list[Collection]
    closed: list[tuple[AnyPath, str]]  # what cannot be opened in it, and why


@dataclass(frozen=True)
class AlfSource:
    """The sessions below a root, in ALF folders."""

    root: AnyPath
    task: Task

    @cached_property
    def _homes(self) -> dict[str, list[AnyPath]]:
        """Folders of each subject: one, unless two labs have the same name."""
        found: dict[str, list[AnyPath]] = defaultdict(list)
        for entry in self._in_subjects:
            if entry.file is None and not entry.fault:
                found[entry.name].append(entry.path)
        return dict(found)

    @cached_property
    def _in_subjects(self) -> list[Entry]:
        """Everything in the ``Subjects`` folders, and the labs that cannot be opened."""
        labs, found = _subjects_folders(self.root)
        for folder in labs:
            try:
                found += entries(folder)
            except OSError as error:
                fault = f"cannot be opened ({error.strerror})"
                found.append(Entry(folder.name, folder, None, fault=fault))
        return found

    def subjects(self) -> tuple[list[str], list[ReportRow]]:
        """Names of the subjects, and what is refused as a whole."""
        clashes = {name: homes for name, homes in self._homes.items() if len(homes) > 1}
        rows = [self._closed(e.path, e.fault) for e in self._in_subjects if e.fault]
        rows += [
            ReportRow(
                "subject",
                "duplicate_subject",
                f"{' and '.join(map(self._place, homes))} have the same name: rename one, or give "
                "the folder of one lab",
                name,
                dropped=True,
            )
            for name, homes in clashes.items()
        ]
        return [name for name in self._homes if name not in clashes], rows

    def files(self, subject: str) -> list[Stamped]:
        """Trial files of a subject that the task reads, in the order of their sessions."""
        return [
            file
            for folder in self._sessions(subject)
            for collection in folder.collections
            for _, attribute in sorted(collection.attributes.items())
            for file in attribute.files
        ]

    def n_trials(self, subject: str) -> None:
        """Give no number of trials: it stands in files that are not read for it."""

    def digest(self, subject: str, files: Sequence[Stamped]) -> str:
        """SHA-256 of the files' bytes and of their places below the subject's folder."""
        home = str(self._homes[subject][0])
        total = hashlib.sha256()
        for file in files:
            place = str(file.path).removeprefix(home).replace("\\", "/")
            try:
                content = _digest(file)
            except (OSError, Unreadable):
                content = "unreadable"
            total.update(f"{place}\n{content}\n".encode())
        return total.hexdigest()

    def read(self, subject: str) -> tuple[list[RawSession], list[ReportRow]]:
        """Read all sessions in chronological order, and say which folders are none."""
        found = entries(self._homes[subject][0])
        numbers = [entry for _, in_day in self._days(subject) for entry in in_day]
        rows = [self._closed(e.path, e.fault, subject) for e in found + numbers if e.fault]
        rows += [
            ReportRow(
                "file",
                "unknown_folder",
                f"{self._place(entry.path)} is not used, its name is no date: write it YYYY-MM-DD",
                subject,
            )
            for entry in found
            if entry.file is None and not _DATE.fullmatch(entry.name)
        ]
        sessions = []
        for folder in self._sessions(subject):
            rows += [self._closed(path, why, subject) for path, why in folder.closed]
            if len(folder.collections) != 1:
                rows.append(self._unclear(subject, folder))
                continue
            (collection,) = folder.collections
            place = self._place(collection.path)
            columns, defects, told = _read_columns(
                collection.attributes, frozenset(self.task.source_columns)
            )
            sessions.append(RawSession(subject, folder.session, place, columns, defects))
            if told:
                reason = f"{place}: {told}"
                rows.append(ReportRow("session", "revision", reason, subject, folder.session))
            if len(collection.namespaces) > 1:
                names = " and ".join(f"{name}trials" for name in sorted(collection.namespaces))
                reason = f"{place}: {names} files are read together: keep those of one experiment"
                rows.append(
                    ReportRow(
                        *("session", "namespaces", reason, subject, folder.session), warning=True
                    )
                )
        return sessions, rows

    def _closed(self, path: AnyPath, why: str, subject: str | None = None) -> ReportRow:
        reason = f"{self._place(path)}: {why}"
        return ReportRow("file", "unreadable", reason, subject, dropped=True)

    def _unclear(self, subject: str, folder: _Folder) -> ReportRow:
        """Say of a session without trial files, or with several collections of them."""
        if not folder.collections:
            reason = (
                f"{self._place(folder.path)} holds no trials file that the task reads: add them"
            )
            return ReportRow(
                "session",
                "no_files",
                reason,
                subject,
                folder.session,
                n_trials=0,
                dropped=True,
            )
        places = " and ".join(self._place(collection.path) for collection in folder.collections)
        reason = f"{places} hold trials of the same session: keep one of them there"
        return ReportRow(
            "session", "several_collections", reason, subject, folder.session, dropped=True
        )

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return names_of(self.task.source_columns)

    def _days(self, subject: str) -> list[tuple[str, list[Entry]]]:
        """Dates of a subject, with what is in the folder of each: sessions by number."""
        days = entries(self._homes[subject][0], _DATE)
        return [(day.name, entries(day.path, _NUMBER)) for day in days if day.file is None]

    def _sessions(self, subject: str) -> Iterator[_Folder]:
        """List the session folders of a subject by date and number."""
        for day, found in self._days(subject):
            numbers = [entry for entry in found if not entry.fault]
            for number in sorted(numbers, key=lambda entry: int(entry.name)):
                alf = number.path / "alf"
                session = f"{day}_{int(number.name):03d}"
                yield _Folder(session, alf, *collections(alf, self._names))

    def _place(self, path: AnyPath) -> str:
        """Where a path is below the root."""
        return readable(str(path).removeprefix(str(self.root)).strip("/\\") or str(path))


def _subjects_folders(root: AnyPath) -> tuple[list[AnyPath], list[Entry]]:
    """Find the ``Subjects`` folders that a root stands for, and labs that cannot be opened."""
    if root.name == "Subjects":
        return [root], []
    if (root / "Subjects").is_dir():
        return [root / "Subjects"], []
    listed = entries(root) if root.is_dir() else []
    closed = [entry for entry in listed if entry.fault]
    found = []
    for lab in listed:
        try:
            if lab.file is None and (lab.path / "Subjects").is_dir():
                found.append(lab.path / "Subjects")
        except OSError as error:
            closed.append(lab._replace(fault=f"cannot be opened ({error.strerror})"))
    if not found:
        raise InputError(
            "no <lab>/Subjects folder below it",
            where=str(root),
            remedy="Give the folder of the labs, or of one lab, as ALF has them.",
        )
    return found, closed


def _read_columns(
    attributes: Mapping[str, Attribute], wanted: frozenset[str]
) -> tuple[dict[str, pl.Series], dict[str, str], str]:
    """Read the wanted attributes of one session.

    A newer revision goes over an older; within one, the table and a single file have to agree.

    Returns
    -------
    columns, defects
        The columns by name, and what is wrong with which.
    told
        What was taken from a revision in place of an older one; empty if nothing was.
    """
    columns: dict[str, pl.Series] = {}
    defects: dict[str, str] = {}
    revisions: dict[str, str] = {}
    older = {(name, a.revision): a.older for name, a in attributes.items() if a.older}
    order = sorted(attributes, key=lambda name: (attributes[name].revision, name != "table"))
    for attribute in order:
        files, revision, _ = attributes[attribute]
        try:
            found, faults = _read_attribute(attribute, files, wanted)
        except Unreadable as error:
            missed = wanted if attribute == "table" else {attribute}
            defects |= dict.fromkeys(missed, str(error))
            continue
        defects |= {name: why for name, why in faults.items() if name not in columns}
        for name, column in found.items():
            defects.pop(name, None)  # of a table that could not be read
            before = revisions.get(name, revision)
            if before != revision:
                older[name, revision] = [*older.get((name, revision), []), before]
            elif name in columns and not columns[name].equals(column):
                defects[name] = f"the table and the file of {name!r} disagree: remove one"
            columns[name], revisions[name] = column, revision
    return columns, defects, _tell_revisions(older)


def _tell_revisions(older: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Say what older revisions were passed over, by attribute and the revision that counts."""
    passed: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (name, revision), others in sorted(older.items()):
        names = " and ".join(other or "what has no revision" for other in dict.fromkeys(others))
        passed[revision, names].append(name)
    return "; ".join(
        f"{', '.join(names)} of revision {revision}, the newest, in place of {others}"
        for (revision, others), names in passed.items()
    )


def _read_attribute(
    attribute: str, files: Sequence[Stamped], wanted: frozenset[str]
) -> tuple[dict[str, pl.Series], dict[str, str]]:
    """Read the columns that an attribute's file holds, with faults of those that have any."""
    names = [file.path.name for file in files]
    if len(files) > 1:
        raise Unreadable(f"{' and '.join(names)} are of the same kind: keep one of them")
    try:
        data = read_bytes(files[0].path)
        if attribute != "table":
            return {attribute: read_column(data, attribute)}, {}
        _, table, faults = parse_isolated("parquet", data, wanted=sorted(wanted), as_text=False)
        columns = {name: table[name] for name in table.columns}
        return columns, {name: f"{names[0]}: {fault}" for name, fault in faults.items()}
    except Unreadable as error:
        raise Unreadable(f"{names[0]} {error}") from error
    except OSError as error:
        raise Unreadable(f"{names[0]} cannot be opened ({error.strerror})") from error
