"""Files that appear whole or not at all, and what killed processes leave of them."""

import contextlib
import filecmp
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

#: Process id in the name of a file that is being written.
_WRITTEN_BY = re.compile(r"\.(\d+)-[0-9a-f]{32}\.part(\..*)?")
#: Seconds after which nobody writes a file any more, whoever has the id of its writer now.
_A_DAY = 24 * 3600


@contextlib.contextmanager
def beside(path: Path, *, unless_same: bool = False) -> Iterator[Path]:
    """Give a place to write a file to, which is moved to ``path`` when the block ends well.

    The place has the suffix of ``path``, since NumPy appends its own where it misses it.

    Parameters
    ----------
    path
        The file; its folder is made.
    unless_same
        Whether a file that has the same content already is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{os.getpid()}-{uuid.uuid4().hex}.part{path.suffix}")
    try:
        yield place
        if not (unless_same and path.is_file() and filecmp.cmp(place, path, shallow=False)):
            place.replace(path)
    finally:
        place.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> list[Path]:
    """Remove files below a folder whose writers were killed; give those that were removed.

    A file whose writer still runs is left alone.
    """
    removed = []
    for file in folder.rglob(".*.part*"):
        written_by = _WRITTEN_BY.fullmatch(file.name)
        if written_by is None:
            continue
        with contextlib.suppress(OSError):  # it was moved into place just now
            old = time.time() - file.stat().st_mtime > _A_DAY
            if old or not _runs(int(written_by[1])):
                file.unlink()
                removed.append(file)
    return removed


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True
