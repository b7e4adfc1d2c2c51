"""Finished fits by fingerprint, so that nothing is fitted twice and a killed run goes on.

A fingerprint names data, settings and the sources that make a fit; a file under it is the fit,
whatever earlier fit it started from too. It is written the moment a subject is finished, long
before Dagster stores the asset.
"""

import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmhmm_assets.stored import read_stored
from glmhmm_core.errors import InputError

#: Fits kept of each subject, the latest used; older ones are in MLflow.
KEPT = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitStore:
    """Fits below ``<folder>/<subject>/<fingerprint>.npz``.

    Attributes
    ----------
    folder
        Where they are.
    module, what
        Module of the core with ``load_<what>`` and ``save_<what>``, imported on first use.
    """

    folder: Path
    module: str = "glmhmm_core.fitting.store"
    what: str = "fits"

    def find(self, subject: str, fingerprint: str) -> Any:
        """Give the fits under a fingerprint, None if they are not there or not whole."""
        path = self.path(subject, fingerprint)
        if not path.exists():
            return None
        try:
            fits = read_stored(path, self._function("load"))
        except InputError as error:
            _log.warning("%s; its subject is fitted again", error)
            return None
        path.touch()  # used just now
        return fits

    def keep(self, fits: Any, fingerprint: str) -> None:
        """Write a subject's fits under a fingerprint, and drop its oldest beyond ``KEPT``."""
        path = self.path(fits.subject, fingerprint)
        self._function("save")(path, fits)
        by_age = sorted(path.parent.glob("[!.]*.npz"), key=lambda file: file.stat().st_mtime)
        for old in by_age[:-KEPT]:
            old.unlink(missing_ok=True)

    def _function(self, verb: str) -> Any:
        return getattr(importlib.import_module(self.module), f"{verb}_{self.what}")

    def path(self, subject: str, fingerprint: str) -> Path:
        """Place of a subject's fits under a fingerprint."""
        return self.folder / subject / f"{fingerprint}.npz"
