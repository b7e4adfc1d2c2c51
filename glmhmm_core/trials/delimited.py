"""Reader of text tables as laboratories have them: any common delimiter, encoding and line end.

Nothing is guessed in silence: what was taken for granted is in ``notes``. Quotes are read as
pandas reads them. Python's own ``csv`` does the parsing, which no bytes can crash.
"""

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import polars as pl

from glmhmm_core.trials.files import MOST_BYTES, Unreadable

#: Delimiters by the words for them; of two that fit alike the first is taken.
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "spaces"}

#: Characters of the longest line, and of the longest field.
_LONGEST = 2**25
#: A gzip file may unpack to this many times its size, and ``_UNPACKED`` bytes more.
_RATIO, _UNPACKED = 200, 2**26
#: A line behind the last one: if it is not a row of its own, a quote is open before it.
_END = "\0end\0"
#: Rows that are made into columns at a time.
_CHUNK = 20_000
#: Rows that tell whether the header lacks a field.
_ROWS_SEEN = 20
#: Rows among which the header is looked for, and wanted columns that tell it where it is not first.
_HEADER_WITHIN, _HEADER_HAS = 20, 2

#: First bytes of files that are no text, and what they are.
_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel workbook or another ZIP archive: save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV",
    b"PAR1": 'a Parquet file: read it with format = "parquet"',
    b"\x89HDF": "an HDF5 file: save its table as CSV",
    b"\x93NUMPY": "an .npy file: save it as CSV",
    b"%PDF": "a PDF file: save its table as CSV",
    b"BZh": "compressed with bzip2: unpack it",
    b"\xfd7zXZ": "compressed with xz: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
}


class Delimited(NamedTuple):
    """A text table.

    Attributes
    ----------
    names
        All columns of the header, in order.
    columns
        The wanted columns, and those of further names, as text; null where nothing stands.
    n_fields
        Number of fields of every row that has not as many as the header, else null.
    notes
        What was taken for granted: delimiter, lines above the header, decimal commas.
    warnings
        What looks wrong: the encoding, rows that run over several lines.
    """

    names: list[str]
    columns: dict[str, pl.Series]
    n_fields: pl.Series
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def read_delimited(
    data: bytes, wanted: Iterable[str], numbers: Iterable[str] = (), more: str | None = None
) -> Delimited:
    """Read a text table, gzipped or not.

    Parameters
    ----------
    data
        Bytes of the file.
    wanted
        Columns to keep, where they are there. They also tell which delimiter it is.
    numbers
        Columns whose decimal commas become points, if commas do not separate the fields.
    more
        Regular expression for the names of further columns to keep; they tell no delimiter.

    Raises
    ------
    Unreadable
        It is no such table.
    """
    csv.field_size_limit(_LONGEST)
    data = _unpack(data)
    encoding, warnings = _encoding(data)
    text = _Text(data, encoding)
    wanted = tuple(dict.fromkeys(wanted))
    delimiter, n_before, is_said = _delimiter(text, frozenset(wanted))
    rows = _Rows(text, delimiter, n_before)
    names = _bare(next(rows, []), frozenset(wanted))
    if not names:
        raise Unreadable("is empty")
    notes = [] if delimiter == "," else [f"fields are separated by {DELIMITERS[delimiter]}"]
    if n_before and not is_said:
        notes.append("the lines above the header are passed over")
    first = list(itertools.islice(rows, _ROWS_SEEN))
    if _have_names(first, len(names)):
        names = ["", *names]
        notes.append("rows begin with a name that the header has no column for, as R writes them")
    others = [name for name in names if more is not None and re.fullmatch(more, name)]
    kept = dict.fromkeys((*wanted, *others))
    indices = {name: names.index(name) for name in kept if name in names}
    columns, n_fields = _columns(itertools.chain(first, rows), indices, len(names))
    if delimiter != ",":
        pointed = _decimal_points({n: columns[n] for n in numbers if n in columns})
        columns |= pointed
        if pointed:
            notes.append(f"commas are decimal commas in {', '.join(map(repr, pointed))}")
    return Delimited(
        names, columns, n_fields, tuple(notes), (*warnings, *rows.tell_long_rows(names))
    )


# -- bytes to text -------------------------------------------------------------------------------


class _Text(NamedTuple):
    data: bytes
    encoding: str

    def lines(self) -> Iterator[str]:
        """Lines with their ends (LF, CR LF or CR), and a last one that is ``_END``."""
        text = io.TextIOWrapper(io.BytesIO(self.data), self.encoding, newline="")
        while line := text.readline(_LONGEST):
            if len(line) == _LONGEST and line[-1] not in "\r\n":
                raise Unreadable(f"a line is longer than {_LONGEST} characters: break it")
            yield line
        yield _END


def _unpack(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    most = min(MOST_BYTES, _UNPACKED + _RATIO * len(data))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(most + 1)
    except (EOFError, OSError, zlib.error):
        raise Unreadable("is a damaged gzip file: copy it again from its source") from None
    if len(unpacked) > most:
        raise Unreadable(f"unpacks to more than {most / 2**20:.0f} MiB: split it")
    return unpacked


def _encoding(data: bytes) -> tuple[str, list[str]]:
    """Find the encoding, and say so where it is a guess."""
    for start, what in _OTHER_FORMATS.items():
        if data.startswith(start):
            raise Unreadable(f"is {what}")
    marks = {
        codecs.BOM_UTF8: "utf-8-sig",
        codecs.BOM_UTF32_LE: "utf-32",
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    for mark, encoding in marks.items():
        if data.startswith(mark):
            if not _decodes(data, encoding):
                raise Unreadable(f"is no {encoding[:6].upper()} text, as it begins: save it anew")
            return encoding, []
    head = data[:4096]
    for encoding, zeros in {"utf-16-le": head[1::2], "utf-16-be": head[::2]}.items():
        if len(zeros) > 1 and zeros.count(0) > 0.7 * len(zeros) and _decodes(data, encoding):
            return encoding, ["it is read as UTF-16: save it as UTF-8 if names look wrong"]
    if _decodes(data, "utf-8"):
        return "utf-8", []
    if b"\0" in data:
        raise Unreadable("is no text: save it as CSV")
    said = "it is not UTF-8 and read as {}: save it as UTF-8 if names look wrong"
    if _decodes(data, "cp1252"):
        return "cp1252", [said.format("Windows-1252, which has Latin-1 in it")]
    return "latin-1", [said.format("Latin-1")]


def _decodes(data: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(data), 2**20):
            decoder.decode(data[start : start + 2**20])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


# -- text to rows --------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """Delimiter, lines before the header, and whether these only name the delimiter."""

    delimiter: str
    n_before: int
    is_said: bool = False


def _delimiter(text: _Text, wanted: frozenset[str]) -> _Layout:
    """Find the delimiter and the header.

    The delimiter is the one under which the header has the most wanted columns, then the most
    fields; spaces stand within names too, so they need wanted columns. The header is the first
    row, or, where that has no wanted column, one of the next with several.
    """
    first = next(text.lines()).rstrip("\r\n")
    named = re.fullmatch(r'"?sep=(.)"?', first)
    if named and named[1] in DELIMITERS:  # Excel's own line
        return _Layout(named[1], 1, is_said=True)

    def look(delimiter: str) -> tuple[int, int, _Layout]:
        rows = _Rows(text, delimiter, 0)
        first = (-1, 0, _Layout(delimiter, 0))
        with contextlib.suppress(Unreadable):  # which is said where the rows are read
            for row in itertools.islice(rows, _HEADER_WITHIN):
                n_wanted = len(wanted.intersection(_bare(row, wanted)))
                n_fields = 0 if delimiter == " " else len(row)
                if not rows.number:
                    first = (n_wanted, n_fields, _Layout(delimiter, 0))
                    if n_wanted:
                        break
                elif n_wanted >= _HEADER_HAS:
                    return n_wanted, n_fields, _Layout(delimiter, rows.line)
        return first

    return max(map(look, DELIMITERS), key=lambda found: found[:2])[2]


def _bare(names: Sequence[str], wanted: frozenset[str]) -> list[str]:
    """Names of columns without space around them, unless the task writes it too."""
    return [name if name in wanted else name.strip("\ufeff \t") for name in names]


class _Rows(Iterator[list[str]]):
    """Rows of a text, the header first; blank lines before it are passed over."""

    def __init__(self, text: _Text, delimiter: str, skip: int) -> None:
        lines = text.lines()
        for _ in range(skip):
            next(lines)
        self._reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter == " ")
        self._delimiter = delimiter
        self.line = 0  # lines before the row
        self.number = -1  # of the row, 0 for the header
        self._long: list[tuple[int, int, list[str]]] = []  # rows over several lines

    def __next__(self) -> list[str]:
        before = self._reader.line_num
        try:
            row = next(self._reader)
            while self.number < 0 and not any(map(str.strip, row)):
                before = self._reader.line_num
                row = next(self._reader)
        except csv.Error:
            raise Unreadable(
                f"row {self.number + 1} has a field of more than {_LONGEST} characters, or a "
                'quote (") in it is never closed: correct it'
            ) from None
        except UnicodeDecodeError:  # within a line, in an encoding that was tried on the whole
            raise Unreadable("is no text: save it as CSV") from None
        if row and row[-1].endswith(_END):
            if row == [_END]:
                raise StopIteration
            raise Unreadable(
                f'row {self.number + 1} opens a quote (") that is never closed: close it, or '
                "double it if it is part of the text"
            )
        self.number += 1
        self.line = before
        n_lines = self._reader.line_num - before
        if n_lines > 1:
            self._long.append((self.number, n_lines, row if len(self._long) < 1 else []))
        return row

    def tell_long_rows(self, names: Sequence[str]) -> list[str]:
        """Say which rows run over several lines, since a stray quote makes them."""
        if not self._long:
            return []
        number, n_lines, row = self._long[0]
        fields = {n: field for n, field in zip(names, row, strict=False) if _is_long(field)}
        where = f"{', '.join(map(repr, fields))} of " if fields else ""
        more = len(self._long) - 1
        swallowed = sum(n for _, n, _ in self._long) - len(self._long)
        like_rows = any(
            line.count(self._delimiter) >= len(names) - 1
            for field in fields.values()
            for line in field.splitlines()
        )
        return [
            f"a quoted text in {where}row {number} runs over {n_lines} lines"
            + (f" (and {more} other rows like it)" if more else "")
            + f": {swallowed} {'lines are' if swallowed > 1 else 'line is'} read as text, "
            + "not as rows"
            + (", though they look like rows" if like_rows else "")
            + '. Check that every quote (") is closed'
        ]


def _is_long(field: str) -> bool:
    return "\n" in field or "\r" in field


def _have_names(rows: Sequence[Sequence[str]], width: int) -> bool:
    """True if every row has one field more than the header, which is not just an empty end."""
    filled = [row for row in rows if any(row)]
    return len(filled) > 1 and all(len(row) == width + 1 and row[-1] for row in filled)


def _columns(
    rows: Iterable[list[str]], indices: Mapping[str, int], width: int
) -> tuple[dict[str, pl.Series], pl.Series]:
    """Columns of the rows at some indices, and the number of fields of rows of another width."""
    pick = itemgetter(*indices.values(), 0, 0)  # a tuple, however few they are
    parts: list[pl.DataFrame] = []
    chunk: list[tuple[str, ...]] = []
    widths: list[int | None] = []

    def flush() -> None:
        values = zip(*chunk, strict=True) if chunk else [()] * len(indices)
        own = [
            pl.Series(name, [value or None for value in column], dtype=pl.String)
            for name, column in zip(indices, values, strict=False)
        ]
        parts.append(pl.DataFrame([*own, pl.Series("\0fields", widths, dtype=pl.Int64)]))
        chunk.clear()
        widths.clear()

    for row in rows:
        given = len(row)
        fault = None
        if given != width:
            if given < 2 and not any(map(str.strip, row)):
                row = []  # a blank line
            elif given < width or any(row[width:]):
                fault = given
            row = [*row, *[""] * (width - len(row))]
        widths.append(fault)
        chunk.append(pick(row))
        if len(chunk) == _CHUNK:
            flush()
    flush()
    table = parts[0] if len(parts) == 1 else pl.concat(parts)
    return {name: table[name] for name in indices}, table["\0fields"]


# -- decimal commas ------------------------------------------------------------------------------

_COMMA = r"^\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*$"
_POINT = r"^\s*[+-]?\d*\.\d"
_THOUSANDS = r"^\s*[+-]?[1-9]\d{0,2}(,\d{3})+\s*$"


def _decimal_points(columns: Mapping[str, pl.Series]) -> dict[str, pl.Series]:
    """Columns with decimal commas, with points in their place.

    None are changed if every comma may separate thousands, and none of a column with points.
    """
    found = {
        name: column
        for name, column in columns.items()
        if column.str.contains(_COMMA).any() and not column.str.contains(_POINT).any()
    }
    certain = (c.str.contains(_COMMA) & ~c.str.contains(_THOUSANDS) for c in found.values())
    if not any(values.any() for values in certain):
        return {}
    return {
        name: pl.select(
            pl.when(pl.lit(column).str.contains(_COMMA))
            .then(pl.lit(column).str.replace(",", ".", literal=True))
            .otherwise(pl.lit(column))
        ).to_series()
        for name, column in found.items()
    }
