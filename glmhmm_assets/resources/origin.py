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
    dagster
        What links to the Dagster pages begin with; empty for none.
    dagster_run_id
        The Dagster run that logs the fit.
    """

    study: str
    task: str
    dagster: str
    dagster_run_id: str

    def links(self, asset: str, subject: str | None = None) -> str:
        """Say in Markdown what made a model: asset, partition and run, linked where they can be.

        Parameters
        ----------
        asset
            Asset of the study that made it.
        subject
            Partition of it; None for an asset over all subjects.
        """
        page, run = f"/assets/{self.study}/{asset}", f"/runs/{self.dagster_run_id}"
        if subject is not None:
            page += f"?view=partitions&partition={quote(subject)}"
        if self.dagster:
            links = f"[what made it]({self.dagster}{page}), [the run that logged it]"
            return f"In Dagster: {links}({self.dagster}{run})."
        whose = "" if subject is None else f", partition {subject}"
        return f"In Dagster: asset {self.study}/{asset}{whose}, run {self.dagster_run_id}."


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
