"""Files and folders as the readers see them, local or remote, without reading twice.

What belongs here is listing, stamping and hashing; what is in a file is its reader's business.
"""

import hashlib
import os
import re
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from string import digits
from typing import Any, Generic, NamedTuple, TypeVar

from upath import UPath

AnyPath = Path | UPath
T = TypeVar("T")


class Unreadable(Exception):
    """A file, or a part of it, cannot be read; the message is for a report."""


class Stamped(NamedTuple):
    """A file with the size and modification time (ns since the epoch) it was listed with."""

    path: AnyPath
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """One entry of a folder; ``file`` is None for a folder."""

    name: str
    path: AnyPath
    file: Stamped | None


def to_path(root: str | Path | UPath) -> AnyPath:
    """Take a local path as a plain ``Path``, which is faster, and any other as a ``UPath``."""
    path = UPath(root)
    return Path(str(path)) if isinstance(path, Path) else path


def stamp(path: AnyPath) -> Stamped:
    """Stamp one file."""
    return _stamped(path, path.stat())


def _stamped(path: AnyPath, found: Any) -> Stamped:
    """Take size and time from what ``stat`` gives; a remote file may have no nanoseconds."""
    mtime_ns = getattr(found, "st_mtime_ns", None)
    return Stamped(path, found.st_size, mtime_ns or int(found.st_mtime * 1e9))


def entries(folder: AnyPath, wanted: re.Pattern[str] = re.compile(".*")) -> list[Entry]:
    """List a folder by name, leaving out hidden names and those not wanted.

    A file that vanishes meanwhile is left out too. A link that leads nowhere is a file: whoever
    reads it says so.
    """
    found: list[tuple[str, AnyPath, bool, Callable[[], Any]]]
    if isinstance(folder, Path):
        with os.scandir(folder) as scanned:
            found = [(e.name, _local(e.path), *_target(e)) for e in scanned if _kept(e, wanted)]
    else:
        found = [(p.name, p, p.is_dir(), p.stat) for p in folder.iterdir() if _kept(p, wanted)]
    listed = []
    for name, path, is_folder, stat in sorted(found, key=lambda entry: entry[0]):
        try:
            listed.append(Entry(name, path, None if is_folder else _stamped(path, stat())))
        except FileNotFoundError:
            continue
    return listed


def _target(entry: os.DirEntry[str]) -> tuple[bool, Callable[[], Any]]:
    """Whether an entry is a folder, and its ``stat``: of a link that leads nowhere its own."""
    try:
        is_folder = entry.is_dir()
        if entry.is_symlink():
            entry.stat()
    except OSError:
        if entry.is_symlink():
            return False, partial(entry.stat, follow_symlinks=False)
        raise
    return is_folder, entry.stat


@lru_cache(maxsize=2**18)
def _local(path: str) -> Path:
    """Make a path once; a study of 100,000 files is listed every minute."""
    return Path(path)


def _kept(entry: os.DirEntry[str] | UPath, wanted: re.Pattern[str]) -> bool:
    return not entry.name.startswith(".") and wanted.fullmatch(entry.name) is not None


def natural_key(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """Sort key under which ``s2`` comes before ``s10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0"), part)
        if part[0] in digits
        else (1, 0, part, "")
        for part in parts
    )


def sha256(path: AnyPath) -> str:
    """Digest of a file's content, as hexadecimal text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class FileMemory(Generic[T]):
    """What was computed from files, kept until their size or modification time changes."""

    def __init__(self, compute: Callable[[Stamped], T]) -> None:
        self._compute = compute
        self._known: dict[str, tuple[int, int, T]] = {}

    def __call__(self, file: Stamped) -> T:
        """Give what was computed from the file, computing it if it is new or has changed."""
        key = str(file.path)
        known = self._known.get(key)
        if known is None or known[:2] != (file.size, file.mtime_ns):
            known = (file.size, file.mtime_ns, self._compute(file))
            self._known[key] = known
        return known[2]
