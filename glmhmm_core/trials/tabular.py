"""Reader of tables, CSV or Parquet: one file or a folder of files, one row per trial.

A file may hold many subjects and sessions. Everything is read as text first, so that both
formats share one path and every value that is no number can be named with its row.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.files import (
    AnyPath,
    Entry,
    FileMemory,
    Stamped,
    Unreadable,
    entries,
    natural_key,
    readable,
    stamp,
)
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession
from glmhmm_core.trials.table_files import (
    FIELDS,
    ROW,
    SESSION,
    SUBJECT,
    SUFFIXES,
    NoSuchTable,
    TableFile,
    TableFormat,
    read_table,
)

#: Names that programs which synchronise folders give to a file that two places have changed.
_CONFLICT = re.compile(r"conflicted copy|\.sync-conflict-|\(case conflict", re.IGNORECASE)

#: The run of rows of its session that a row belongs to.
_RUN = "\0run"


class _Index(NamedTuple):
    """What one file holds: a digest per subject, and a sentence for each thing that is to say."""

    digests: dict[str, str]
    unreadable: tuple[str, ...] = ()
    not_read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass
class _Listed:
    """Table files in natural order, and a sentence for each other thing in the folder."""

    files: list[Stamped] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    followed: set[Path] = field(default_factory=set)  # where links led


@dataclass(frozen=True)
class TableSource:
    """The sessions in a table file, or in all table files below a folder."""

    root: AnyPath
    task: Task
    format: TableFormat

    @cached_property
    def _indexed(self) -> list[tuple[Stamped, _Index]]:
        """What each file holds, in reading order."""
        remembered = _index_memory(self.task, self.format)
        found = []
        for file in self._listed.files:
            try:
                found.append((file, remembered(file)))
            except OSError as error:  # not remembered: it may be gone the next time
                found.append((file, _Index({}, (f"cannot be opened ({error.strerror})",))))
        return found

    @cached_property
    def _of_subject(self) -> dict[str, list[tuple[Stamped, str]]]:
        """Files of each subject, with the digest of its rows in each."""
        found: dict[str, list[tuple[Stamped, str]]] = {}
        for file, index in self._indexed:
            for subject, digest in index.digests.items():
                found.setdefault(subject, []).append((file, digest))
        return found

    @cached_property
    def _listed(self) -> _Listed:
        listed = _Listed()
        if self.root.is_dir():
            self._list(self.root, listed)
        else:
            listed.files.append(stamp(self.root))
        return listed

    def _list(self, folder: AnyPath, listed: _Listed) -> int:
        """List a folder and the folders in it; give how many files are read."""
        try:
            found = entries(folder, hidden=True)
        except OSError as error:
            listed.unreadable.append(f"{error.filename}: cannot be opened ({error.strerror})")
            return 0
        before = len(listed.files)
        for entry in sorted(found, key=lambda entry: natural_key(entry.name)):
            why = self._why_not(entry, listed)
            if not why and entry.file is not None and not entry.fault:
                listed.files.append(entry.file)
                continue
            if not why and not entry.fault and not self._list(entry.path, listed):
                why = "it is a folder without such files" if self._is_table(entry.name) else ""
            if entry.fault:
                listed.unreadable.append(f"{self._place(entry.path)}: {entry.fault}")
            elif why:
                listed.not_read.append(f"{self._place(entry.path)}: is not read: {why}")
        return len(listed.files) - before

    def _why_not(self, entry: Entry, listed: _Listed) -> str:
        """Say why an entry of a folder is passed over; empty for one that is read."""
        if entry.name.startswith("."):
            return "it is hidden"
        if _CONFLICT.search(entry.name):
            return "it is a copy that a conflict left: keep one of the two, without such a name"
        if entry.file is not None and not self._is_table(entry.name):
            return f"its name does not end in {', '.join(SUFFIXES[self.format])}"
        return self._leads_back(entry, listed) if entry.is_link and not entry.fault else ""

    def _leads_back(self, link: Entry, listed: _Listed) -> str:
        """Say of a link that it leads to a folder that holds it, or to what is read anyway."""
        target, root = (Path(str(path)).resolve() for path in (link.path, self.root))
        is_folder = link.file is None
        if is_folder and Path(str(link.path.parent)).resolve().is_relative_to(target):
            return f"it is a link back to {readable(str(target))}, which holds it"
        is_read = target in listed.followed
        if target.is_relative_to(root):
            hidden = any(part.startswith(".") for part in target.relative_to(root).parts)
            is_read |= not hidden and (is_folder or self._is_table(target.name))
        if is_read:
            return f"it is a link to {readable(str(target))}, which is read already"
        listed.followed.add(target)
        return ""

    def _is_table(self, name: str) -> bool:
        return name.lower().endswith(SUFFIXES[self.format])

    def subjects(self) -> tuple[list[str], list[ReportRow]]:
        """Names of the subjects, and what is left out of which file."""
        unreadable = [
            f"{self._place(f)}: {text}" for f, index in self._indexed for text in index.unreadable
        ]
        not_read = [
            f"{self._place(f)}: {text}" for f, index in self._indexed for text in index.not_read
        ]
        rows = [
            ReportRow("file", "unreadable", text) for text in unreadable + self._listed.unreadable
        ]
        rows += [ReportRow("file", "not_read", text) for text in not_read + self._listed.not_read]
        return list(self._of_subject), [*rows, *self._said()]

    def _said(self) -> Iterator[ReportRow]:
        """How files were read, each thing once with the files it is true of."""
        for rule, is_warning in (("text_form", False), ("looks_wrong", True)):
            places: dict[str, list[str]] = {}
            for file, index in self._indexed:
                for text in index.warnings if is_warning else index.notes:
                    places.setdefault(text, []).append(self._place(file))
            for text, (first, *more) in places.items():
                others = f" and {len(more)} more files" if more else ""
                yield ReportRow("file", rule, f"{first}{others}: {text}", warning=is_warning)

    def files(self, subject: str) -> list[Stamped]:
        """Files that hold rows of a subject, in natural order of their names."""
        return [file for file, _ in self._of_subject.get(subject, ())]

    def digest(self, subject: str, files: Sequence[Stamped]) -> str:
        """SHA-256 of the subject's own rows, and of the names of the files they stand in."""
        total = hashlib.sha256()
        wanted = set(files)
        for file, digest in self._of_subject.get(subject, ()):
            if file in wanted:
                total.update(f"{self._place(file)}\n{digest}\n".encode())
        return total.hexdigest()

    def read(self, subject: str) -> tuple[list[RawSession], list[ReportRow]]:
        """Read all sessions in order of appearance; one that is there twice comes twice."""
        sessions: list[RawSession] = []
        rows = []
        for file in self.files(subject):
            try:
                sessions += self._sessions(file, subject)
            except Unreadable as error:  # changed since it was listed
                reason = f"{self._place(file)}: {error}"
                rows.append(ReportRow("file", "unreadable", reason, subject))
        return sessions, rows

    def _sessions(self, file: Stamped, subject: str) -> Iterator[RawSession]:
        table = _read_lately(file, self.task, self.format).rows
        rows = table.filter((pl.col(SUBJECT) == subject) & pl.col(SESSION).is_not_null())
        rows = rows.with_columns(rows[SESSION].rle_id().alias(_RUN))
        for session in rows.partition_by(SESSION, maintain_order=True):
            runs = session[_RUN].n_unique()
            for part in _copies(session, runs) or [session]:
                yield self._session(file, part, 1 if part is not session else runs)

    def _session(self, file: Stamped, part: pl.DataFrame, runs: int) -> RawSession:
        numbers = part[ROW].to_list()
        broken = part.filter(pl.col(FIELDS).is_not_null())
        which = f"rows {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"row {numbers[0]}"
        return RawSession(
            part[SUBJECT][0],
            part[SESSION][0],
            f"{which} of {self._place(file)}",
            {name: part[name] for name in self.task.source_columns if name in part.columns},
            {},
            rows=numbers,
            files=(self._place(file),),
            runs=runs,
            fault=_fields_fault(broken.row(0, named=True)) if len(broken) else None,
        )

    def _place(self, file: Stamped | AnyPath) -> str:
        """Where a file is below the root."""
        path = file.path if isinstance(file, Stamped) else file
        below = str(path).removeprefix(str(self.root)).strip("/\\").replace("\\", "/")
        return readable(below or path.name)


def _copies(session: pl.DataFrame, runs: int) -> list[pl.DataFrame]:
    """Give the runs of a session's rows if all say the same: it was written several times.

    Rows of one value throughout say nothing: they may be perfect trials in between others.
    """
    length = len(session) // runs
    parts = [session[i * length : (i + 1) * length] for i in range(runs)]
    if runs == 1 or any(part[_RUN].n_unique() > 1 for part in parts):
        return []
    first, *others = [part.drop(ROW, _RUN) for part in parts]
    told = first.n_unique() > 1 and all(first.equals(other) for other in others)
    return parts if told and len(session) == length * runs else []


def _fields_fault(row: dict[str, int]) -> str:
    return f"row {row[ROW]} has {row[FIELDS]} fields, not as many as the header: correct it"


# -- one file ------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _index_memory(task: Task, file_format: TableFormat) -> FileMemory[_Index]:
    return FileMemory(lambda file: _index(file, task, file_format))


@lru_cache(maxsize=1)
def _read_lately(file: Stamped, task: Task, file_format: TableFormat) -> TableFile:
    """Read a file; the subjects of one file are read one after the other."""
    return read_table(file, task, file_format)


def _index(file: Stamped, task: Task, file_format: TableFormat) -> _Index:
    """Digest the rows of each subject of a file."""
    try:
        table, notes, warnings = read_table(file, task, file_format)
    except NoSuchTable as error:
        if file.path.name.lower().removesuffix(".gz").endswith(".txt"):
            return _Index({}, not_read=(f"is not read: {error}",))
        return _Index({}, (str(error),))
    except Unreadable as error:
        return _Index({}, (str(error),))
    if table.is_empty():
        return _Index({}, not_read=("is not read: it has no row below its header",))
    problems: tuple[str, ...] = ()
    if table[SUBJECT].null_count() or table[SESSION].null_count():
        is_keyless = pl.any_horizontal(pl.col(SUBJECT, SESSION).is_null())
        keyless, table = table.filter(is_keyless), table.filter(~is_keyless)
        problems = (
            f"{len(keyless)} rows without subject or session are left out (row "
            f"{keyless[ROW][0]} is the first): fill them in",
        )
    return _Index(_digests(table), problems, notes=notes, warnings=warnings)


def _digests(table: pl.DataFrame) -> dict[str, str]:
    """SHA-256 of the rows of each subject, without their places."""
    columns = [name for name in table.columns if name not in (ROW, SUBJECT)]
    found: dict[str, Any] = {}
    for subject, *values in table.select(SUBJECT, *columns).iter_rows():
        if subject not in found:
            found[subject] = hashlib.sha256(repr(columns).encode())
        found[subject].update(repr(values).encode())
    return {subject: digest.hexdigest() for subject, digest in found.items()}
