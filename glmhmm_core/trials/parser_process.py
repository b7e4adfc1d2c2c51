"""A process that parses files whose bytes nobody has checked: it may crash, hang or grow alone.

Parsers of binary formats can abort on damaged files, which no ``except`` catches. So they run
here, and ``isolated.py``, which starts this process, loses nothing but the process. The operating
system ends it when a file takes too long, or asks for too much memory where it can be told to.

A request is two lengths, a JSON header and the file's bytes; an answer has the same form, with
columns as an Arrow IPC stream. A parser is a function of bytes and options, in ``PARSERS``.
"""

import contextlib
import io
import json
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import polars as pl

LENGTHS = struct.Struct("<QQ")


class Parsed(NamedTuple):
    """Content of a file as a parser found it.

    Attributes
    ----------
    names
        All columns of the file.
    table
        The wanted columns that hold one value per row, and further ones that were asked for.
    faults
        Reasons why the other wanted columns cannot be read, by name.
    """

    names: list[str]
    table: pl.DataFrame
    faults: dict[str, str]


def parse_parquet(
    data: bytes, wanted: Sequence[str], *, as_text: bool, more: str | None = None
) -> Parsed:
    """Read the wanted columns of a Parquet file; the others are not decoded.

    Parameters
    ----------
    more
        Regular expression for the names of further columns, read where they hold plain values.
    as_text
        Give text in place of numbers.
    """
    schema = pl.read_parquet_schema(io.BytesIO(data))
    there = [name for name in schema if name in wanted]
    kinds = {name: _kind_of_values(schema[name]) for name in there}
    faults = {
        name: f"column {name!r} holds {kind}, not one number or text per row"
        for name, kind in kinds.items()
        if kind
    }
    plain = [name for name in there if not kinds[name]]
    if more is not None:
        others = [n for n in schema if n not in wanted and re.fullmatch(more, n)]
        plain += [name for name in others if not _kind_of_values(schema[name])]
    table = pl.read_parquet(io.BytesIO(data), columns=plain) if plain else pl.DataFrame()
    columns = [
        _in_seconds(table[name]).cast(_plain_type(schema[name], as_text=as_text)) for name in plain
    ]
    return Parsed(list(schema), pl.DataFrame(columns), faults)


def _in_seconds(column: pl.Series) -> pl.Series:
    """Give durations as numbers; any other column stays."""
    if not isinstance(column.dtype, pl.Duration):
        return column
    per_second = {"ns": 1e9, "us": 1e6, "ms": 1e3}[column.dtype.time_unit]
    return column.to_physical() / per_second


def _plain_type(dtype: pl.DataType, *, as_text: bool) -> type[pl.DataType]:
    """Find the one of five types that a column is given as."""
    if as_text or not (dtype.is_numeric() or dtype == pl.Boolean):
        return pl.String
    if dtype.is_integer():
        return pl.UInt64 if dtype.is_unsigned_integer() else pl.Int64
    return pl.Boolean if dtype == pl.Boolean else pl.Float64


def _kind_of_values(dtype: pl.DataType) -> str:
    """Words for a type that no column of trials has; empty for one that it may have."""
    if dtype.is_nested():
        return "lists or records"
    if dtype in (pl.Binary, pl.Object):
        return "bytes"
    return ""


PARSERS: Mapping[str, Callable[..., Parsed]] = {"parquet": parse_parquet}


def main() -> None:
    """Answer requests until nobody asks any more."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, whatever it is doing
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    while lengths := requests.read(LENGTHS.size):
        header_length, data_length = LENGTHS.unpack(lengths)
        request = json.loads(requests.read(header_length))
        data = requests.read(data_length)
        _limit_memory(request["memory"])
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        try:
            found = PARSERS[request["parser"]](data, **request["options"])
        except Exception:
            _answer(answers, {"damaged": True}, b"")
        except BaseException:  # a panic of polars, whose state cannot be trusted from here on
            _answer(answers, {"damaged": True}, b"")
            os._exit(0)
        else:
            columns = io.BytesIO()
            found.table.write_ipc_stream(columns)
            _answer(answers, {"names": found.names, "faults": found.faults}, columns.getvalue())


def _answer(answers: BinaryIO, header: Mapping[str, Any], columns: bytes) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    text = json.dumps(header).encode()
    answers.write(LENGTHS.pack(len(text), len(columns)) + text + columns)
    answers.flush()


def _limit_memory(more: int) -> None:
    """Allow this many bytes more than there are now; only Linux keeps to such a limit."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        now = pages * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + more, hard))


if __name__ == "__main__":
    main()
