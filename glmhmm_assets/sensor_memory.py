"""Memory of a study's sensor from look to look, as files below the study's storage.

Dagster stores the cursor of a sensor with every look, so it must not grow with the subjects: it
is the name of a file, and that name is the digest of what the file holds. A look writes its file
before its cursor is stored. A look that is killed in between leaves the old cursor, whose file is
still there, and so forgets nothing; two daemons write the same file, or two files, never half
of one.
"""

import contextlib
import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glmhmm_core.errors import InputError
from glmhmm_core.whole_file import beside

#: Seconds after which a file that no cursor names can go: far longer than a look may take.
_KEPT = 600.0


@dataclass(frozen=True)
class Memory:
    """Memory of the sensor.

    Attributes
    ----------
    settings
        Digest of the settings that runs were last asked for with.
    asked
        For each subject the digest of its files that a run was last asked for.
    seen
        For each subject the digest at the last look, asked for or not.
    vanished
        Subjects without files, which has been reported.
    refused
        Digest of the report of unusable files, which has been logged.
    born, requests
        When this memory began, and how many runs were asked for since. Both are part of each
        run's key: Dagster never starts a key twice, and files may well return to an earlier
        state, or the cursor be reset to go over everything.
    """

    settings: str = ""
    asked: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    refused: str = ""
    born: str = ""
    requests: int = 0

    def to_json(self) -> str:
        """Write it as text."""
        return json.dumps(asdict(self), sort_keys=True)

    def to_cursor(self) -> str:
        """Give the cursor that stands for it: 64 characters, however many subjects there are."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class MemoryFiles:
    """The sensor's memories in a folder, each under the cursor that stands for it."""

    folder: Path

    def read(self, cursor: str | None) -> Memory | None:
        """Read the memory of a cursor.

        None without a cursor (a new or a reset sensor), or where its file is gone or damaged.
        """
        if not cursor:
            return None
        try:
            stored = json.loads(self._path(cursor).read_bytes())
            memory = Memory(**{**stored, "vanished": tuple(stored["vanished"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return memory if memory.to_cursor() == cursor else None

    def write(self, memory: Memory, before: str | None) -> str:
        """Write a memory, whole or not at all; give its cursor.

        Parameters
        ----------
        memory
            What to remember. What is there already is not written again.
        before
            The cursor that this look began with. Its file stays, and so do those of the last
            minutes: other files go.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        cursor = memory.to_cursor()
        if cursor == before:
            return cursor
        path = self._path(cursor)
        try:
            with beside(path) as place:
                place.write_text(memory.to_json())
            self._clear({path, self._path(before or cursor)})
        except OSError as error:
            raise InputError(
                f"it cannot be written ({error.strerror})",
                where=f"the sensor's memory in {self.folder}",
                remedy="See that the folder can be written and the disk has room.",
            ) from error
        return cursor

    def _path(self, cursor: str) -> Path:
        # A cursor typed in by hand may hold anything, so it is never part of a path by itself.
        name = cursor if len(cursor) == 64 and cursor.isalnum() else "none"
        return self.folder / f"{name}.json"

    def _clear(self, kept: set[Path]) -> None:
        """Remove what neither this look nor another one of these minutes can need."""
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another daemon was faster
                if path not in kept and time.time() - path.stat().st_mtime > _KEPT:
                    path.unlink()
