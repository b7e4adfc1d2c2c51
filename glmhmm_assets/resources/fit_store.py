"""Finished fits by fingerprint, so that nothing is fitted twice and a killed run goes on.

A fingerprint names data, settings and the sources that make a fit; a file under it is the fit,
whatever earlier fit it started from too. It is written the moment a subject is finished, long
before Dagster stores the asset.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glmhmm_core.fitting.result import SubjectFits

#: Fits kept of each subject, the latest used; older ones are in MLflow.
KEPT = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitStore:
    """Fits below ``<folder>/<subject>/<fingerprint>.npz``."""

    folder: Path

    def find(self, subject: str, fingerprint: str) -> "SubjectFits | None":
        """Give the fits under a fingerprint, if they are there and whole."""
        from glmhmm_core.fitting.store import load_fits

        path = self.path(subject, fingerprint)
        if not path.exists():
            return None
        try:
            fits = load_fits(path)
        except Exception as error:  # whatever is wrong with the file, fitting again mends it
            _log.warning("%s cannot be read (%s); its subject is fitted again", path, error)
            return None
        path.touch()  # used just now
        return fits

    def keep(self, fits: "SubjectFits", fingerprint: str) -> None:
        """Write a subject's fits under a fingerprint, and drop its oldest beyond ``KEPT``."""
        from glmhmm_core.fitting.store import save_fits

        path = self.path(fits.subject, fingerprint)
        save_fits(path, fits)
        by_age = sorted(path.parent.glob("*.npz"), key=lambda file: file.stat().st_mtime)
        for old in by_age[:-KEPT]:
            old.unlink(missing_ok=True)

    def path(self, subject: str, fingerprint: str) -> Path:
        """Place of a subject's fits under a fingerprint."""
        return self.folder / subject / f"{fingerprint}.npz"
