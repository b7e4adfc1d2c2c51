"""Where a logged model came from: study, Dagster run, and the commit of the code that ran."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

PACKAGES = ("glmhmm_core", "glmhmm_assets")


@dataclass(frozen=True)
class Origin:
    """Where a fit came from.

    Attributes
    ----------
    study, task
        Names of the study and of its task.
    dagster_url
        Address of the Dagster pages.
    dagster_run_id
        The Dagster run that logs the fit.
    """

    study: str
    task: str
    dagster_url: str
    dagster_run_id: str

    @property
    def run_url(self) -> str:
        """The Dagster run."""
        return f"{self.dagster_url}/runs/{self.dagster_run_id}"

    def asset_url(self, asset: str, subject: str | None = None) -> str:
        """Give the page of an asset, or of a subject among its partitions."""
        page = f"{self.dagster_url}/assets/{self.study}/{asset}"
        return page if subject is None else f"{page}?view=partitions&partition={quote(subject)}"


@dataclass(frozen=True)
class CodeVersion:
    """Commit of the code that runs and whether its files differ from it, or ``unknown``."""

    commit: str = "unknown"
    dirty: str = "unknown"


def code_version(root: Path = Path(__file__).parents[2]) -> CodeVersion:
    """Ask git about the packages' own files; a copy installed outside a clone is ``unknown``.

    Only the packages count as dirty: study files and results beside them change all the time.
    """

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        # An environment inside somebody else's repository must not claim that one's commit.
        git("ls-files", "--error-unmatch", f"{PACKAGES[0]}/__init__.py")
        changes = git("status", "--porcelain", "--", *PACKAGES)
        return CodeVersion(git("rev-parse", "HEAD"), "true" if changes else "false")
    except (OSError, subprocess.SubprocessError):
        return CodeVersion()
