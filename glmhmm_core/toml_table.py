"""TOML files read into declared tables, with errors in the words of the file.

What belongs here is the grammar that the files of tasks and studies share: regular files of
limited size, immutable tables, no unknown keys, every problem told at once with its place and its
remedy. What the keys are is the business of the file's own module.
"""

import difflib
import stat
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from glmhmm_core.errors import InputError

#: Limits of a file. They are far beyond what anyone writes, and keep a damaged file from taking
#: all memory or time.
MAX_BYTES = 1_000_000
MAX_LINE = 10_000  # characters: keys cannot span lines, and long ones take quadratic time
MAX_DEPTH = 10  # tables and lists inside each other
MAX_ITEMS = 5_000  # of a list or a table
MAX_TEXT = 1_000  # characters of a text or a key
MAX_INTEGER = 2**63 - 1  # as TOML itself

#: Number of problems of one file, and of characters of a value, in a message.
PROBLEMS, SHOWN = 10, 100


class TomlTable(BaseModel):
    """One table of a file: immutable, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def read_toml(file: Path, where: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        If it is no regular file, cannot be read or parsed, or holds more than the limits above.
    """
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                "no ordinary file", where=where, remedy="Put a text file in its place."
            )
        if status.st_size > MAX_BYTES:
            raise _too_large(f"{status.st_size:,} bytes", f"{MAX_BYTES:,} bytes", where)
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cannot be read ({error})", where=where, remedy="Give a UTF-8 text file."
        ) from error
    longest = max(map(len, text.split("\n")))
    if longest > MAX_LINE:
        raise _too_large(f"a line of {longest:,} characters", f"{MAX_LINE:,}", where)
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise _too_large(
            "lists or tables inside each other", f"{MAX_DEPTH} levels", where
        ) from error
    except ValueError as error:  # its own, and Python's for integers of thousands of digits
        raise InputError(
            f"not valid TOML ({shortened(str(error))})",
            where=where,
            remedy="Correct the file at that place.",
        ) from error
    _check_sizes(document, where)
    return document


def _check_sizes(document: dict[str, Any], where: str) -> None:
    """Refuse what no file of this project needs, before anything is made of it."""
    pending: list[tuple[Any, int, str]] = [(document, 1, "")]
    while pending:
        value, depth, place = pending.pop()
        at = f" in {shortened(place)}" if place else ""
        if isinstance(value, dict | list):
            if depth > MAX_DEPTH:
                raise _too_large(
                    f"lists or tables inside each other{at}", f"{MAX_DEPTH} levels", where
                )
            if len(value) > MAX_ITEMS:
                raise _too_large(f"{len(value):,} items{at}", f"{MAX_ITEMS:,}", where)
        if isinstance(value, dict):
            for key, inner in value.items():
                _check_text(key, " in a key", where)
                pending.append((inner, depth + 1, f"{place}.{key}" if place else key))
        elif isinstance(value, list):
            pending += [(inner, depth + 1, place) for inner in value]
        elif isinstance(value, str):
            _check_text(value, at, where)
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise _too_large(f"an integer{at}", f"{MAX_INTEGER:,}", where)


def _check_text(text: str, at: str, where: str) -> None:
    if len(text) > MAX_TEXT:
        raise _too_large(f"a text of {len(text):,} characters{at}", f"{MAX_TEXT:,}", where)
    strange = next((c for c in text if unicodedata.category(c) == "Cc" and c not in "\t\n\r"), None)
    if strange is not None:
        raise InputError(
            f"the control character U+{ord(strange):04X}{at}",
            where=where,
            remedy="Remove it; no name or path has one.",
        )


def _too_large(what: str, most: str, where: str) -> InputError:
    return InputError(
        f"too large: {what}, of at most {most}",
        where=where,
        remedy="Make it smaller, or see whether the file is damaged.",
    )


def shortened(text: str) -> str:
    """Text that is short enough to be part of a message."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def check_table(
    model: type[TomlTable],
    document: dict[str, Any],
    where: str,
    inherited: Mapping[tuple[str, ...], str] | None = None,
) -> None:
    """Refuse a document that is not such a table.

    Parameters
    ----------
    model
        The table.
    document
        What is to be one.
    where
        Its file, for the message.
    inherited
        Keys that come from another file, and the name of that one.

    Raises
    ------
    InputError
        For an unknown key (with the nearest known one), a missing key, or a value that cannot
        be; all of a document's problems in one error.
    """
    try:
        model.model_validate(document)
    except ValidationError as error:
        said = list(_explain(model, error, inherited or {}).values())
        problems, remedies = zip(*said[:PROBLEMS], strict=True)
        more = [f"and {len(said) - PROBLEMS} more"] if len(said) > PROBLEMS else []
        raise InputError(
            "; ".join([*problems, *more]), where=where, remedy=" ".join(dict.fromkeys(remedies))
        ) from error


def _explain(
    model: type[TomlTable], errors: ValidationError, inherited: Mapping[tuple[str, ...], str]
) -> dict[str, tuple[str, str]]:
    """Put what pydantic found in the words of the file: problem and remedy by dotted key.

    A key can fail in several ways at once (each form that its value may have, each item of a
    list); the first is told.
    """
    said: dict[str, tuple[str, str]] = {}
    found = errors.errors(include_url=False)
    outside = {error["loc"][:n] for error in found for n in range(len(error["loc"]))}
    for error in found:
        if error["loc"] in outside:
            continue  # a list that is too short only for what is wrong inside it
        *table, key = _names(model, error["loc"])
        place = f"[{'.'.join(table)}]" if table else "the top level"
        dotted = ".".join([*table, key])
        if error["type"] == "extra_forbidden":
            known = _keys_of(model, table)
            near = difflib.get_close_matches(key, known, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else f"Known there: {', '.join(known)}."
            said.setdefault(dotted, (f"unknown key '{key}' in {place}", remedy))
        elif error["type"] == "missing":
            said.setdefault(dotted, (f"no '{key}' in {place}", f"Add '{key}' to {place}."))
        else:
            message = error["msg"].removeprefix("Value error, ")
            problem = f"{dotted} = {shortened(repr(error['input']))}: {message}"
            origins = list(_origins((*table, key), inherited))
            if origins:
                problem += f" ({'; '.join(origins)})"
            remedy = "Correct it, or give what is inherited anew." if origins else "Correct it."
            said.setdefault(dotted, (problem, remedy))
    return said


def _origins(place: tuple[str, ...], inherited: Mapping[tuple[str, ...], str]) -> Iterator[str]:
    """Say from where a key, or keys of a table, are inherited."""
    for key, source in inherited.items():
        if key[: len(place)] == place or place[: len(key)] == key:
            yield f"{'.'.join(key)} is inherited from {source}"


def _names(model: type[TomlTable], loc: Sequence[int | str]) -> list[str]:
    """Keep the names in a pydantic location that the file has too: tables, then the key.

    Behind the key pydantic adds positions in lists and names of the types it tried.
    """
    names: list[str] = []
    for part in loc:
        if isinstance(part, str) and _keys_of(model, names):
            names.append(part)
    return names


def _keys_of(model: type[TomlTable], table: Sequence[str]) -> list[str]:
    """List the keys that a table may have (the file, for no name); none if it is no table."""
    inner: type[BaseModel] | None = model
    for name in table:
        field = inner.model_fields.get(name) if inner else None
        inner = _table_in(field.annotation) if field else None
    return list(inner.model_fields) if inner else []


def _table_in(annotation: Any) -> type[BaseModel] | None:
    """Find the table class inside an annotation such as ``tuple[ExcludeTable, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_table_in, get_args(annotation))), None)
