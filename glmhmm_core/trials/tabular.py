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
import polars.selectors as cs

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
from glmhmm_core.trials.ids import are_whole, have_decimals, look_alike, without_decimals
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession
from glmhmm_core.trials.table_files import (
    FIELDS,
    HINT,
    KEY,
    ROW,
    SESSION,
    SUBJECT,
    SUFFIXES,
    NoSuchTable,
    TableFile,
    TableFormat,
    read_table,
    with_ids,
)

#: Names that programs which synchronise folders give to a file that two places have changed.
_CONFLICT = re.compile(r"conflicted copy|\.sync-conflict-|\(case conflict", re.IGNORECASE)

#: The run of rows of its session that a row belongs to.
_RUN = "\0run"


class _Held(NamedTuple):
    """Rows of one subject in one file: their digest and how many they are."""

    digest: str
    n_rows: int


class _Index(NamedTuple):
    """Content of one file by subject, with sentences about it for the report.

    ``written`` says of each column of ids whether all of it are whole numbers, and whether one of
    them has a decimal point; ``keyless`` are the rows without subject or session.
    """

    held: dict[str, _Held]
    written: dict[str, tuple[bool, bool]] = {}  # noqa: RUF012
    keyless: tuple[int, ...] = ()
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
        """Content of each file, in reading order."""
        remembered = _index_memory(self.task, self.format)
        found = []
        for file in self._listed.files:
            try:
                found.append((file, remembered(file)))
            except OSError as error:  # not remembered: it may be gone the next time
                found.append(
                    (file, _Index({}, unreadable=(f"cannot be opened ({error.strerror})",)))
                )
        return found

    @cached_property
    def _of_subject(self) -> dict[str, list[tuple[Stamped, _Held]]]:
        """Files of each subject, with what each holds of it."""
        found: dict[str, list[tuple[Stamped, _Held]]] = {}
        is_plain = self.task.subject_column in self._plain
        for file, index in self._indexed:
            names = pl.Series(list(index.held), dtype=pl.String)
            subjects = without_decimals(names) if is_plain else names
            for subject, held in zip(subjects, index.held.values(), strict=True):
                found.setdefault(subject, []).append((file, held))
        return found

    @cached_property
    def _plain(self) -> tuple[str, ...]:
        """Columns of ids that are whole numbers in all files, though in part written as 907.0."""
        read = [index.written for _, index in self._indexed if index.written]
        names = (self.task.subject_column, *self.task.session_columns)
        return tuple(
            name
            for name in dict.fromkeys(names)
            if all(written[name][0] for written in read)
            and any(written[name][1] for written in read)
        )

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
            ReportRow("file", "unreadable", text, dropped=True)
            for text in unreadable + self._listed.unreadable
        ]
        rows += [ReportRow("file", "not_read", text) for text in not_read + self._listed.not_read]
        return list(self._of_subject), [*rows, *self._said_of_ids(), *self._said()]

    def n_trials(self, subject: str) -> int:
        """Trials of a subject."""
        return sum(held.n_rows for _, held in self._of_subject.get(subject, ()))

    def _said_of_ids(self) -> Iterator[ReportRow]:
        """Rows without an id, ids that are taken for the same, and others that may be."""
        for file, index in self._indexed:
            if index.keyless:
                first, *more = index.keyless
                others = f", and so are {len(more)} more rows" if more else ""
                reason = (
                    f"{self._place(file)}: row {first} has no subject or no session and is left "
                    f"out{others}. NA, nan and the like are no ids: fill in the ids"
                )
                yield ReportRow(
                    "file", "missing_id", reason, n_trials=len(index.keyless), dropped=True
                )
        for name in self._plain:
            reason = (
                f"{name!r} holds whole numbers alone, some of them written with a decimal point: "
                "907 and 907.0 are taken for the same, which is called 907"
            )
            yield ReportRow("file", "same_id", reason)
        for one, other in look_alike(list(self._of_subject)):
            reason = (
                f"the subjects {one!r} and {other!r} are taken for two: if they are one, write "
                f"its id in {self.task.subject_column!r} the same everywhere"
            )
            yield ReportRow("file", "similar_ids", reason, warning=True)

    def _said(self) -> Iterator[ReportRow]:
        """Notes on how files were read, each once with the files that it concerns."""
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
        return list(dict.fromkeys(file for file, _ in self._of_subject.get(subject, ())))

    def digest(self, subject: str, files: Sequence[Stamped]) -> str:
        """SHA-256 of the subject's own rows, and of the names of the files they stand in."""
        total = hashlib.sha256()
        wanted = set(files)
        if self._plain:
            total.update(f"{self._plain}\n".encode())
        for file, held in self._of_subject.get(subject, ()):
            if file in wanted:
                total.update(f"{self._place(file)}\n{held.digest}\n".encode())
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
                rows.append(ReportRow("file", "unreadable", reason, subject, dropped=True))
        return sessions, rows

    def _sessions(self, file: Stamped, subject: str) -> Iterator[RawSession]:
        table = _read_lately(file, self.task, self.format).rows
        table = with_ids(table, self.task, self._plain) if self._plain else table
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
            {name.removeprefix(HINT): part[name] for name in part.columns if name.startswith(HINT)},
            rows=numbers,
            files=(self._place(file),),
            runs=runs,
            fault=_fields_fault(broken.row(0, named=True)) if len(broken) else None,
        )

    def _place(self, file: Stamped | AnyPath) -> str:
        """Give the place of a file below the root."""
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
    first, *others = [part.drop(ROW, _RUN, cs.starts_with(HINT)) for part in parts]
    told = first.n_unique() > 1 and all(first.equals(other) for other in others)
    return parts if told and len(session) == length * runs else []


def _fields_fault(row: dict[str, int]) -> str:
    return (
        f"row {row[ROW]} has {row[FIELDS]} fields, but the header has another number of them: "
        "correct the row"
    )


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
        return _Index({}, unreadable=(str(error),))
    except Unreadable as error:
        return _Index({}, unreadable=(str(error),))
    if table.is_empty():
        return _Index({}, not_read=("is not read: it has no row below its header",))
    names = (task.subject_column, *task.session_columns)
    ids = {name: table[f"{KEY}{name}"] for name in names}
    written = {name: (are_whole(column), have_decimals(column)) for name, column in ids.items()}
    missing: tuple[int, ...] = ()
    if table[SUBJECT].null_count() or table[SESSION].null_count():
        is_keyless = pl.any_horizontal(pl.col(SUBJECT, SESSION).is_null())
        keyless, table = table.filter(is_keyless), table.filter(~is_keyless)
        missing = tuple(keyless[ROW].to_list())
    return _Index(_held(table), written, missing, notes=notes, warnings=warnings)


def _held(table: pl.DataFrame) -> dict[str, _Held]:
    """Digest the rows of each subject, without their places or hints, and count them."""
    columns = [n for n in table.columns if n not in (ROW, SUBJECT) and not n.startswith(HINT)]
    found: dict[str, Any] = {}
    for subject, *values in table.select(SUBJECT, *columns).iter_rows():
        if subject not in found:
            found[subject] = hashlib.sha256(repr(columns).encode())
        found[subject].update(repr(values).encode())
    counts = dict(table.group_by(SUBJECT).len().iter_rows())
    return {name: _Held(digest.hexdigest(), counts[name]) for name, digest in found.items()}
