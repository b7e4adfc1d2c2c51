"""Fitting: starting points, restarts, folds, one subject or many, and the files of fits.

Names are loaded on first use: reading the settings of a study must not start JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmhmm_core.fitting.batch import fit_subjects
    from glmhmm_core.fitting.fingerprint import data_hash
    from glmhmm_core.fitting.fit import fit_glmhmm
    from glmhmm_core.fitting.hierarchy import Hierarchy, fit_hierarchy
    from glmhmm_core.fitting.population import fit_population
    from glmhmm_core.fitting.result import CVFoldResult, Excluded, FitResult, SubjectFits
    from glmhmm_core.fitting.settings import FitSettings
    from glmhmm_core.fitting.shrinkage import fit_shrunken
    from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken
    from glmhmm_core.fitting.store import load_fits, save_fits

__all__ = [
    "CVFoldResult",
    "Excluded",
    "FitResult",
    "FitSettings",
    "Hierarchy",
    "SubjectFits",
    "data_hash",
    "fit_glmhmm",
    "fit_hierarchy",
    "fit_population",
    "fit_shrunken",
    "fit_subjects",
    "forecast_shrunken",
    "load_fits",
    "save_fits",
]

_MODULES = {
    "batch": ("fit_subjects",),
    "fingerprint": ("data_hash",),
    "fit": ("fit_glmhmm",),
    "hierarchy": ("Hierarchy", "fit_hierarchy"),
    "population": ("fit_population",),
    "result": ("CVFoldResult", "Excluded", "FitResult", "SubjectFits"),
    "settings": ("FitSettings",),
    "shrinkage": ("fit_shrunken",),
    "shrunken_forecasts": ("forecast_shrunken",),
    "store": ("load_fits", "save_fits"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
