"""Where one session's trial files lie: collections below ``alf/``, revisions, and their order.

A collection is ``alf/`` itself or a folder in it, such as ``alf/task_00/``. A revision is a folder
``#2024-05-06#`` in a collection, whose files stand in for those of the same name beside it. What
is in a file is ``alf.py``'s business.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from glmhmm_core.trials.files import AnyPath, Stamped, entries

_REVISION = re.compile(r"#([^#]+)#")


class Attribute(NamedTuple):
    """The files of one attribute (``table`` for the table) in the newest revision that has it."""

    files: list[Stamped]
    revision: str  # empty for files that lie in the collection itself
    older: list[str]  # revisions that have it too and are not used


class Collection(NamedTuple):
    """A folder with trial files, by attribute, and the namespaces of their names."""

    path: AnyPath
    attributes: dict[str, Attribute]
    namespaces: frozenset[str]


def names_of(attributes: Sequence[str]) -> re.Pattern[str]:
    """Names of the files that are read; the groups are namespace, attribute or table, attribute.

    The namespace is IBL's (``_ibl_trials.choice.npy``), that of another laboratory, or none.
    """
    wanted = "|".join(map(re.escape, attributes))
    uuid = r"(?:\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?"
    return re.compile(
        rf"(_[A-Za-z0-9]+_)?trials\.(?:(table){uuid}\.(?:pqt|parquet)|({wanted}){uuid}\.npy)"
    )


def collections(
    alf: AnyPath, names: re.Pattern[str]
) -> tuple[list[Collection], list[tuple[AnyPath, str]]]:
    """List the collections of a session that hold trial files: ``alf/`` first, the rest by name.

    Beside them stands what cannot be opened, or has a name that is no text, with the reason.

    Parameters
    ----------
    alf
        The session's ``alf`` folder; there need be none.
    names
        ``names_of`` what is read.
    """
    # Every other file of a session is passed over without being looked at; folders have no dot.
    listed = re.compile(rf"{names.pattern}|[^.]+")
    closed: list[tuple[AnyPath, str]] = []
    if not alf.is_dir():
        return [], closed
    whole, folders = _list(alf, names, listed, closed)
    found = [whole, *(_list(folder, names, listed, closed)[0] for folder in folders)]
    return [collection for collection in found if collection.attributes], closed


def _list(
    folder: AnyPath,
    names: re.Pattern[str],
    listed: re.Pattern[str],
    closed: list[tuple[AnyPath, str]],
) -> tuple[Collection, list[AnyPath]]:
    """Read one collection with its revisions; give the folders in it that are none, too."""
    files: dict[str, dict[str, list[Stamped]]] = defaultdict(lambda: defaultdict(list))
    others = []
    namespaces: set[str] = set()
    for entry in entries(folder, listed):
        if entry.fault and not names.fullmatch(entry.name):
            closed.append((entry.path, entry.fault))
            continue
        revision = _REVISION.fullmatch(entry.name)
        if entry.file is None and revision is None:
            others.append(entry.path)
            continue
        held = [entry] if entry.file else entries(entry.path, names)
        for one in held:
            match = names.fullmatch(one.name)
            if match and one.file:
                files[match[2] or match[3]][revision[1] if revision else ""].append(one.file)
                namespaces.add(match[1] or "")
            elif one.fault:
                closed.append((one.path, one.fault))
    attributes = {}
    for name, by_revision in files.items():
        *older, newest = sorted(by_revision)  # dates sort as text; none comes first
        attributes[name] = Attribute(by_revision[newest], newest, older)
    return Collection(folder, attributes, frozenset(namespaces)), others
