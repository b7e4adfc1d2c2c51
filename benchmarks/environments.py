"""Environments of their own for other packages, made when first needed and kept.

They stand in ``benchmarks/.envs``; remove a folder there to have it made anew.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.table import say

FOLDER = Path(__file__).parent / ".envs"


class Unavailable(Exception):
    """An environment cannot be made here; the message says why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes
    ----------
    name
        Of its folder.
    requirements
        What pip installs into it.
    min_python
        Lowest minor version of Python 3 that the packages install on.
    """

    name: str
    requirements: tuple[str, ...]
    min_python: int = 11

    def python(self) -> Path:
        """Path of its interpreter; makes the environment if it is not there.

        Raises
        ------
        Unavailable
            No fitting interpreter is on this machine, or pip failed.
        """
        folder = FOLDER / self.name
        interpreter = folder / "bin" / "python"
        finished = folder / "finished"
        if finished.exists() and finished.read_text() == " ".join(self.requirements):
            return interpreter
        shutil.rmtree(folder, ignore_errors=True)
        say(f"making an environment for {' '.join(self.requirements)} (minutes, once)")
        subprocess.run([self._base(), "-m", "venv", str(folder)], check=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", *self.requirements]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"pip: {done.stderr.strip().splitlines()[-1]}")
        finished.write_text(" ".join(self.requirements))
        return interpreter

    def _base(self) -> str:
        """An interpreter that is new enough: this one, or another on the path."""
        if sys.version_info.minor >= self.min_python:
            return sys.executable
        for minor in range(self.min_python, self.min_python + 3):
            found = shutil.which(f"python3.{minor}")
            # A version manager may leave a name on the path with nothing behind it.
            if found and not subprocess.run([found, "-V"], capture_output=True).returncode:
                return found
        raise Unavailable(f"needs Python 3.{self.min_python} or newer on the path")

    def versions(self, *packages: str) -> str:
        """Installed versions of packages, as ``name version, ...``."""
        code = (
            "from importlib.metadata import version\n"
            f"print(', '.join(f'{{p}} {{version(p)}}' for p in {packages!r}))"
        )
        command = [str(self.python()), "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
