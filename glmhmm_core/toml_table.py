"""TOML files read into declared tables, with errors in the words of the file.

What belongs here is the grammar that the files of tasks and studies share: immutable tables, no
unknown keys, every problem told at once with its place and its remedy. What the keys are is the
business of the file's own module.
"""

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from glmhmm_core.errors import InputError


class TomlTable(BaseModel):
    """One table of a file: immutable, and refusing keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def read_toml(file: Path, where: str) -> dict[str, Any]:
    """Read a TOML file; InputError if it cannot be read or parsed."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read ({error})", where=where, remedy="Give a UTF-8 text file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"not valid TOML ({error})", where=where, remedy="Correct the file at that place."
        ) from error


def check_table(model: type[TomlTable], document: dict[str, Any], where: str) -> None:
    """Refuse a document that is not such a table.

    Raises
    ------
    InputError
        For an unknown key (with the nearest known one), a missing key, or a value that cannot
        be; all of a document's problems in one error.
    """
    try:
        model.model_validate(document)
    except ValidationError as error:
        problems, remedies = zip(*_explain(model, error).values(), strict=True)
        raise InputError(
            "; ".join(problems), where=where, remedy=" ".join(dict.fromkeys(remedies))
        ) from error


def _explain(model: type[TomlTable], errors: ValidationError) -> dict[str, tuple[str, str]]:
    """Put what pydantic found in the words of the file: problem and remedy by dotted key.

    A key can fail in several ways at once (each form that its value may have, each item of a
    list); the first is told.
    """
    said: dict[str, tuple[str, str]] = {}
    places = [error["loc"] for error in errors.errors()]
    for error in errors.errors():
        if any(
            len(p) > len(error["loc"]) and p[: len(error["loc"])] == error["loc"] for p in places
        ):
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
            said.setdefault(dotted, (f"{dotted} = {error['input']!r}: {message}", "Correct it."))
    return said


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
