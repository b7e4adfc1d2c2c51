"""Files and folders as the readers see them, local or remote, without reading twice.

What belongs here is listing, stamping and hashing; what is in a file is its reader's business.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from string import digits
from typing import Any, Generic, NamedTuple, TypeVar

from upath import UPath

AnyPath = Path | UPath
T = TypeVar("T")

#: Larger files are refused: they would be read into memory whole.
MOST_BYTES = 2**30


class Unreadable(Exception):
    """A file, or a part of it, cannot be read; the message is for a report."""


class Stamped(NamedTuple):
    """A file with the size and modification time (ns since the epoch) it was listed with."""

    path: AnyPath
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """One entry of a folder.

    Attributes
    ----------
    name
        Its name, with escapes in place of bytes that are no text.
    path
        Where it is.
    file
        None for a folder.
    is_link
        It is a symbolic link.
    fault
        Why it must not be opened; empty if it may be.
    """

    name: str
    path: AnyPath
    file: Stamped | None
    is_link: bool = False
    fault: str = ""


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


def entries(
    folder: AnyPath, wanted: re.Pattern[str] = re.compile(".*", re.DOTALL), *, hidden: bool = False
) -> list[Entry]:
    """List a folder by name, leaving out names that are not wanted, and hidden ones unless asked.

    A file that vanishes meanwhile is left out too. A name that is not UTF-8 is listed whatever is
    wanted: whoever lists it says so.
    """

    def is_kept(name: str) -> bool:
        return (hidden or not name.startswith(".")) and bool(
            wanted.fullmatch(name) or not _is_text(name)
        )

    if isinstance(folder, Path):
        with os.scandir(folder) as scanned:
            listed = [_local_entry(entry) for entry in scanned if is_kept(entry.name)]
    else:
        listed = [_remote_entry(path) for path in folder.iterdir() if is_kept(path.name)]
    return sorted((entry for entry in listed if entry is not None), key=lambda entry: entry.name)


def _local_entry(found: os.DirEntry[str]) -> Entry | None:
    path, is_link, fault = _local(found.path), found.is_symlink(), ""
    try:
        status = found.stat()
        fault = _special(status.st_mode)
    except OSError as error:
        if not is_link:
            if isinstance(error, FileNotFoundError):
                return None
            fault = f"cannot be opened ({error.strerror})"
        else:
            leads = "in a circle" if error.errno == errno.ELOOP else "nowhere"
            fault = f"is a link that leads {leads}: remove it, or copy there what it meant"
        try:
            status = found.stat(follow_symlinks=False)
        except OSError:
            return None
    if not _is_text(found.name):
        fault = "has a name that is not UTF-8: rename it"
    is_folder = stat.S_ISDIR(status.st_mode) and not fault
    return Entry(
        readable(found.name), path, None if is_folder else _stamped(path, status), is_link, fault
    )


def _remote_entry(path: UPath) -> Entry | None:
    try:
        return Entry(path.name, path, None if path.is_dir() else _stamped(path, path.stat()))
    except FileNotFoundError:
        return None


def _special(mode: int) -> str:
    """Say of a file that it is no plain one; empty for a plain file and for a folder."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return f"is {kinds.get(stat.S_IFMT(mode), 'a device')}, which is never opened: remove it"


def _is_text(name: str) -> bool:
    """True if a name is UTF-8; Python keeps other bytes as lone surrogates."""
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def readable(name: str) -> str:
    """Write a name with escapes in place of bytes that are no text, and of control characters."""
    if name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace") if not _is_text(name) else name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@lru_cache(maxsize=2**18)
def _local(path: str) -> Path:
    """Make a path once; a study of 100,000 files is listed every minute."""
    return Path(path)


def natural_key(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """Sort key under which ``s2`` comes before ``s10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0"), part)
        if part[0] in digits
        else (1, 0, part, "")
        for part in parts
    )


def read_bytes(path: AnyPath) -> bytes:
    """Read a whole file.

    Raises
    ------
    Unreadable
        It is no plain file, or larger than ``MOST_BYTES``.
    OSError
        It cannot be opened.
    """
    special = _special(path.stat().st_mode) if isinstance(path, Path) else ""
    if special:
        raise Unreadable(special)
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise Unreadable(f"is larger than {MOST_BYTES / 2**30:g} GiB: split it")
    return data


def sha256(path: AnyPath) -> str:
    """Digest of a file's content, as hexadecimal text; errors as of ``read_bytes``."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


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
