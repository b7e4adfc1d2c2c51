"""One table file, CSV or Parquet, as the columns that a task reads, all of them as text."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import polars as pl

from glmhmm_core.tasks.task import Task
from glmhmm_core.trials.delimited import read_delimited
from glmhmm_core.trials.files import Stamped, Unreadable, read_bytes, readable
from glmhmm_core.trials.ids import to_ids, without_decimals
from glmhmm_core.trials.isolated import parse_isolated
from glmhmm_core.trials.order_hints import HINTS, date_columns
from glmhmm_core.trials.parser_process import Parsed
from glmhmm_core.wording import first_of

TableFormat = Literal["csv", "parquet"]
#: Suffixes of the files that are read, below a folder, under each format.
SUFFIXES: dict[TableFormat, tuple[str, ...]] = {
    "csv": tuple(f".{kind}{packed}" for kind in ("csv", "tsv", "txt") for packed in ("", ".gz")),
    "parquet": (".parquet", ".pqt"),
}

#: Columns added to a file's own: its row below the header, from 1; the number of fields in that
#: row, where it is not the header's; subject and session; before the columns that these are of.
ROW, FIELDS, SUBJECT, SESSION = "\0row", "\0fields", "\0subject", "\0session"
KEY = "\0key:"
#: Before the columns that the task does not read, which may tell an order that it does not name.
HINT = "\0hint:"

#: Names of columns that a message lists, and characters of each.
_NAMED, _NAME_LENGTH = 12, 40


class TableFile(NamedTuple):
    """A table file as the task reads it.

    Attributes
    ----------
    rows
        One row per trial: ``ROW``, ``FIELDS``, ``SUBJECT``, ``SESSION``, the columns that the task
        reads, and behind ``HINT`` those that may tell an order. Rows in which nothing stands that
        the task reads are left out.
    notes, warnings
        What was taken for granted in reading it, and what looks wrong.
    """

    rows: pl.DataFrame
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class NoSuchTable(Unreadable):
    """A file has none of the columns that the task needs: it is of another kind."""


def read_table(file: Stamped, task: Task, file_format: TableFormat) -> TableFile:
    """Read the columns of the task as text, with row, subject and session beside them.

    Raises
    ------
    Unreadable
        The file is no such table, or a column that the task needs is not there.
    OSError
        It cannot be opened.
    """
    keys = (task.subject_column, *task.session_columns)
    needed = tuple(dict.fromkeys((*keys, *task.needed_columns, *task.order_columns)))
    wanted = tuple(dict.fromkeys((*needed, *task.source_columns)))
    data = read_bytes(file.path)
    if not data:
        raise Unreadable("is empty")
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    if file_format == "csv":
        text = {extra.source for extra in task.extras if extra.is_text}
        names, columns, fields, notes, warnings = read_delimited(
            data, wanted, [name for name in wanted if name not in text.union(keys)], HINTS
        )
        table = pl.DataFrame(columns)
    else:
        names, table, faults = _parse_parquet(data, wanted)
        if any(name in faults for name in needed):
            raise Unreadable(next(fault for name, fault in faults.items() if name in needed))
        warnings = tuple(f"{fault}: it is left empty" for fault in faults.values())
        fields = pl.Series([None] * len(table), dtype=pl.Int64)
    _require(names, needed, wanted, task)
    columns = {name: _filled(table[name]) for name in table.columns}
    ids = {f"{KEY}{name}": to_ids(columns[name]) for name in dict.fromkeys(keys)}
    rows = pl.DataFrame(
        {
            ROW: pl.int_range(1, len(table) + 1, eager=True),
            FIELDS: fields,
            **ids,
            **{
                name: columns[name]
                for name in dict.fromkeys(task.source_columns)
                if name in columns
            },
            **{f"{HINT}{name}": columns[name] for name in _hints(list(columns), task)},
        }
    )
    read = {name: columns[name] for name in wanted if name in columns}
    is_passed_over = _repeats_header(read)
    if is_passed_over.any():
        first, *more = rows.filter(is_passed_over)[ROW]
        said = f"row {first} repeats the header and is passed over"
        notes = (*notes, said + (f", and so are {len(more)} more rows" if more else ""))
    if all(column.null_count() for column in read.values()):  # else no row is blank
        is_blank = pl.all_horizontal(column.is_null() for column in read.values())
        is_passed_over |= pl.select(is_blank).to_series()
    rows = rows.filter(~is_passed_over)
    return TableFile(with_ids(rows, task), notes, warnings)


def _repeats_header(columns: Mapping[str, pl.Series]) -> pl.Series:
    """Rows in which every column holds its own name, as where files were joined end to end."""
    is_name = pl.all_horizontal(
        column.str.strip_chars() == pl.lit(name) for name, column in columns.items()
    )
    return pl.select(is_name.fill_null(False)).to_series()


def _parse_parquet(data: bytes, wanted: Sequence[str]) -> Parsed:
    """Parse a Parquet file; a damaged column that may only tell an order costs nothing else."""
    try:
        return parse_isolated("parquet", data, wanted=wanted, more=HINTS, as_text=True)
    except Unreadable:
        return parse_isolated("parquet", data, wanted=wanted, as_text=True)


def _hints(names: Sequence[str], task: Task) -> list[str]:
    """Columns that may tell an order and that the task does not read; of its ids, the dates."""
    ids = (task.subject_column, *task.session_columns)
    dates = date_columns(task.session_columns)
    others = [name for name in names if name not in (*ids, *task.source_columns)]
    return [name for name in names if name in dates or name in others]


def with_ids(rows: pl.DataFrame, task: Task, plain: Sequence[str] = ()) -> pl.DataFrame:
    """Add subject and session, made of the columns that hold their ids.

    Parameters
    ----------
    rows
        A table's rows.
    task
        Which columns hold the ids.
    plain
        Those of them whose ids are whole numbers: 907.0 is 907.
    """
    ids = {
        name: without_decimals(rows[KEY + name]) if name in plain else rows[KEY + name]
        for name in (task.subject_column, *task.session_columns)
    }
    sessions = [ids[name] for name in task.session_columns]
    session = sessions[0]
    if len(sessions) > 1:
        session = pl.select(pl.concat_str(*sessions, separator="_")).to_series()
    return rows.with_columns(ids[task.subject_column].alias(SUBJECT), session.alias(SESSION))


def _filled(column: pl.Series) -> pl.Series:
    """Give a column with null where nothing stands."""
    is_empty = column == ""
    return column.set(is_empty, None) if is_empty.any() else column


def _require(
    names: Sequence[str], needed: Sequence[str], wanted: Sequence[str], task: Task
) -> None:
    """Refuse a table without the needed columns, or with two of the same name."""
    missing = [name for name in needed if name not in names]
    if missing:
        near = {name: difflib.get_close_matches(name, names, n=1) for name in missing}
        guesses = [f"{name!r} may be {_short(found[0])!r}" for name, found in near.items() if found]
        kind = NoSuchTable if len(missing) == len(needed) else Unreadable
        raise kind(
            f"has no column {', '.join(map(repr, missing))}: correct the name in "
            f"{task.tables_of(missing)} of the task"
            + (f" ({'; '.join(guesses)})" if guesses else f" (there are {_list(names)})")
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and name in wanted]
    if twice:
        raise Unreadable(
            f"has two columns that are called {', '.join(map(repr, twice))}: rename one"
        )


def _list(names: Sequence[str]) -> str:
    """List names of columns, however many and long they are."""
    return first_of([_short(name) for name in names], _NAMED)


def _short(name: str) -> str:
    name = readable(name)
    return name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}..."
