"""Reader of tables, CSV or Parquet: one file or a folder of files, one row per trial.

A file may hold many subjects and sessions. Everything is read as text first, so that both
formats share one path and every value that is no number can be named with its row.
"""

import csv
import difflib
import gzip
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.files import (
    AnyPath,
    FileMemory,
    Stamped,
    Unreadable,
    entries,
    natural_key,
    stamp,
)
from glmhmm_core.trials.report import ReportRow
from glmhmm_core.trials.sessions import RawSession

TableFormat = Literal["csv", "parquet"]
SUFFIXES: dict[str, tuple[str, ...]] = {
    "csv": (".csv", ".csv.gz"),
    "parquet": (".parquet", ".pqt"),
}

#: Columns added to a file's own: its row below the header, from 1; the number of fields in that
#: row, where it is not the header's; subject and session; the run of rows of its session.
_ROW, _FIELDS, _SUBJECT, _SESSION = "\0row", "\0fields", "\0subject", "\0session"
_RUN = "\0run"


class _Index(NamedTuple):
    """What one file holds: a digest per subject, and a sentence for each thing left out."""

    digests: dict[str, str]
    problems: tuple[str, ...]


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
        for file in self._listed[0]:
            try:
                found.append((file, remembered(file)))
            except OSError as error:  # not remembered: it may be gone the next time
                found.append((file, _Index({}, (f"cannot be opened ({error.strerror})",))))
        return found

    @cached_property
    def _listed(self) -> tuple[list[Stamped], list[OSError]]:
        """Table files in natural order, and the folders that cannot be opened."""
        if not self.root.is_dir():
            return [stamp(self.root)], []
        closed: list[OSError] = []
        return list(_below(self.root, SUFFIXES[self.format], closed)), closed

    def subjects(self) -> tuple[list[str], list[ReportRow]]:
        """Names of the subjects, and what is left out of which file."""
        names = dict.fromkeys(name for _, index in self._indexed for name in index.digests)
        problems = [
            f"{self._place(f)}: {text}" for f, index in self._indexed for text in index.problems
        ]
        problems += [
            f"{error.filename}: cannot be opened ({error.strerror})" for error in self._listed[1]
        ]
        return list(names), [ReportRow("file", "unreadable", problem) for problem in problems]

    def files(self, subject: str) -> list[Stamped]:
        """Files that hold rows of a subject, in natural order of their names."""
        return [file for file, index in self._indexed if subject in index.digests]

    def digest(self, subject: str, files: Sequence[Stamped]) -> str:
        """SHA-256 of the subject's own rows, and of the names of the files they stand in."""
        total = hashlib.sha256()
        for file, index in self._indexed:
            if file in files:
                total.update(f"{self._place(file)}\n{index.digests[subject]}\n".encode())
        return total.hexdigest()

    def read(self, subject: str) -> tuple[list[RawSession], list[ReportRow]]:
        """Read all sessions in order of appearance; one that is there twice comes twice."""
        return [
            session for file in self.files(subject) for session in self._sessions(file, subject)
        ], []

    def _sessions(self, file: Stamped, subject: str) -> Iterator[RawSession]:
        table = _read_lately(file, self.task, self.format)
        rows = table.filter((pl.col(_SUBJECT) == subject) & pl.col(_SESSION).is_not_null())
        rows = rows.with_columns(rows[_SESSION].rle_id().alias(_RUN))
        for session in rows.partition_by(_SESSION, maintain_order=True):
            runs = session[_RUN].n_unique()
            for part in _copies(session, runs) or [session]:
                yield self._session(file, part, 1 if part is not session else runs)

    def _session(self, file: Stamped, part: pl.DataFrame, runs: int) -> RawSession:
        numbers = part[_ROW].to_list()
        broken = part.filter(pl.col(_FIELDS).is_not_null())
        which = f"rows {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"row {numbers[0]}"
        return RawSession(
            part[_SUBJECT][0],
            part[_SESSION][0],
            f"{which} of {self._place(file)}",
            {name: part[name] for name in self.task.source_columns if name in part.columns},
            {},
            rows=numbers,
            files=(self._place(file),),
            runs=runs,
            fault=_fields_fault(broken.row(0, named=True)) if len(broken) else None,
        )

    def _place(self, file: Stamped) -> str:
        below = str(file.path).removeprefix(str(self.root)).strip("/\\").replace("\\", "/")
        return below or file.path.name


def _below(folder: AnyPath, suffixes: tuple[str, ...], closed: list[OSError]) -> Iterator[Stamped]:
    """Files of a folder and the folders in it; those that cannot be opened are noted."""
    try:
        listed = entries(folder)
    except OSError as error:
        closed.append(error)
        return
    for entry in sorted(listed, key=lambda entry: natural_key(entry.name)):
        if entry.file is None:
            yield from _below(entry.path, suffixes, closed)
        elif entry.name.lower().endswith(suffixes):
            yield entry.file


def _copies(session: pl.DataFrame, runs: int) -> list[pl.DataFrame]:
    """Give the runs of a session's rows if all say the same: it was written several times.

    Rows of one value throughout say nothing: they may be perfect trials in between others.
    """
    length = len(session) // runs
    parts = [session[i * length : (i + 1) * length] for i in range(runs)]
    if runs == 1 or any(part[_RUN].n_unique() > 1 for part in parts):
        return []
    first, *others = [part.drop(_ROW, _RUN) for part in parts]
    told = first.n_unique() > 1 and all(first.equals(other) for other in others)
    return parts if told and len(session) == length * runs else []


def _fields_fault(row: dict[str, int]) -> str:
    return f"row {row[_ROW]} has {row[_FIELDS]} fields, not as many as the header: correct it"


# -- one file ------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _index_memory(task: Task, file_format: TableFormat) -> FileMemory[_Index]:
    return FileMemory(lambda file: _index(file, task, file_format))


@lru_cache(maxsize=1)
def _read_lately(file: Stamped, task: Task, file_format: TableFormat) -> pl.DataFrame:
    """Read a file; the subjects of one file are read one after the other."""
    return _read(file, task, file_format)


def _index(file: Stamped, task: Task, file_format: TableFormat) -> _Index:
    """Digest the rows of each subject of a file."""
    try:
        table = _read(file, task, file_format)
    except Unreadable as error:
        return _Index({}, (str(error),))
    keyless = table.filter(pl.any_horizontal(pl.col(_SUBJECT, _SESSION).is_null()))
    problems: tuple[str, ...] = ()
    if len(keyless):
        problems = (
            f"{len(keyless)} rows without subject or session are left out (row "
            f"{keyless[_ROW][0]} is the first): fill them in",
        )
    digests = {}
    for (subject,), rows in (
        table.filter(pl.col(_SUBJECT).is_not_null() & pl.col(_SESSION).is_not_null())
        .drop(_ROW)
        .partition_by(_SUBJECT, as_dict=True, maintain_order=True)
        .items()
    ):
        digests[subject] = hashlib.sha256(rows.write_csv().encode()).hexdigest()
    return _Index(digests, problems)


def _read(file: Stamped, task: Task, file_format: TableFormat) -> pl.DataFrame:
    """Read the columns of the task as text, with row, subject and session beside them.

    Raises
    ------
    Unreadable
        The file is no such table, or a column that the task needs is not there.
    """
    data = file.path.read_bytes()
    try:
        table = _read_csv(data) if file_format == "csv" else _read_parquet(data)
    except Exception as error:  # a broken file makes polars raise almost anything
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise Unreadable(f"it is no {file_format} table ({what}): write it again") from error
    keys = (task.subject_column, *task.session_columns)
    _require(table, (*keys, *task.needed_columns, *task.order_columns))
    wanted = dict.fromkeys(name for name in task.source_columns if name in table.columns)
    session = pl.concat_str([_text(name) for name in task.session_columns], separator="_")
    table = table.with_row_index(_ROW, offset=1)
    filled = pl.any_horizontal(pl.col(*dict.fromkeys((*keys, *wanted))).is_not_null())
    return table.filter(filled).select(
        _ROW,
        _FIELDS,
        _text(task.subject_column).alias(_SUBJECT),
        session.alias(_SESSION),
        *wanted,
    )


def _text(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != "").then(pl.col(name))


def _require(table: pl.DataFrame, needed: Sequence[str]) -> None:
    """Refuse a table without the needed columns, or with two of the same name."""
    missing = [name for name in dict.fromkeys(needed) if name not in table.columns]
    if missing:
        own = [name for name in table.columns if not name.startswith("\0")]
        near = {name: difflib.get_close_matches(name, own, n=1) for name in missing}
        guesses = [f"{name!r} may be {found[0]!r}" for name, found in near.items() if found]
        if len(own) == 1 and any(mark in own[0] for mark in ";\t"):
            guesses = ["separate the fields with commas"]
        raise Unreadable(
            f"no column {', '.join(map(repr, missing))}: map it in [columns] of the task"
            + (f" ({'; '.join(guesses)})" if guesses else f" (there are {', '.join(own)})")
        )
    twice = [name for name in needed if f"{name}_duplicated_0" in table.columns]
    if twice:
        raise Unreadable(f"two columns are called {', '.join(map(repr, twice))}: rename one")


def _read_csv(data: bytes) -> pl.DataFrame:
    """Read a CSV file, gzipped or not, as text; rows of a wrong number of fields are marked."""
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""))
    width = len(next(lines, []))
    fields = [len(line) if line and len(line) != width else None for line in lines]
    table = pl.read_csv(io.BytesIO(data), infer_schema=False, truncate_ragged_lines=True)
    marks = pl.Series(_FIELDS, fields, dtype=pl.Int64)
    return table.with_columns(marks)


def _read_parquet(data: bytes) -> pl.DataFrame:
    """Read a Parquet file, every column as text."""
    table = pl.read_parquet(io.BytesIO(data))
    plain = [name for name, dtype in table.schema.items() if not dtype.is_nested()]
    return table.select(pl.col(plain).cast(pl.String)).with_columns(
        pl.lit(None, dtype=pl.Int64).alias(_FIELDS)
    )
