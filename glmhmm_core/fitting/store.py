"""Fits on disk: one npz file per subject, written whole or not at all, without pickles."""

import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.result import (
    CVFoldResult,
    FitResult,
    OwnOptimum,
    SubjectFits,
    Succession,
)
from glmhmm_core.fitting.settings import FitSettings, FrozenWeight
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.whole_file import beside

#: Raised with every change of what the file holds.
FORMAT = 4
#: Fields of a fit that all numbers of states share; stored once.
SHARED = ("y", "X", "U", "mask")
#: Numbers stored as JSON beside the arrays.
PLAIN = ("best_restart", "raw_log_likelihood", "accuracy", "num_states", "baseline_class_idx")


def save_fits(path: str | os.PathLike[str], fits: SubjectFits) -> None:
    """Write a subject's fits to ``path``."""
    meta: dict[str, Any] = {
        "format": FORMAT,
        "subject": fits.subject,
        "fingerprint": fits.fingerprint,
        "choice_names": fits.choice_names,
        "notes": fits.notes,
        "population": fits.population,
        "earlier": fits.earlier,
        "fits": [],
    }
    first = fits.fits[0]
    arrays = {
        "session": np.asarray(fits.keys_session, np.str_),
        "trial": np.asarray(fits.keys_trial, np.int64),
        **{name: getattr(first, name) for name in SHARED},
    }
    for fit in fits.fits:
        meta["fits"].append(
            {
                **{name: getattr(fit, name) for name in PLAIN},
                "specification": listed(asdict(fit.specification)),
                "settings": asdict(fit.settings),
                "cv_metrics": [_without_params(fold) for fold in fit.cv_metrics],
                "remarks": fit.remarks,
                "own_optimum": fit.own_optimum and asdict(fit.own_optimum),
                "succession": fit.succession and asdict(fit.succession),
            }
        )
        prefix = f"k{fit.num_states}/"
        arrays |= _flat(fit.fitted_params, prefix)
        for number, fold in enumerate(fit.cv_metrics):
            arrays |= _flat(fold.fitted_params, f"{prefix}fold{number}/")
        for name in _own_arrays():
            arrays[prefix + name] = np.asarray(getattr(fit, name))
    arrays["meta"] = np.array(json.dumps(meta))
    write_arrays(Path(path), arrays)


def load_fits(path: str | os.PathLike[str]) -> SubjectFits:
    """Read what :func:`save_fits` wrote.

    Raises
    ------
    InputError
        If the file is not whole or of another format.
    """
    try:
        return _read(path)
    except Exception as error:  # damage shows as whatever zip, zlib, NumPy or JSON make of it
        raise InputError(
            f"this is not a whole file of fits ({error})",
            where=str(path),
            remedy="Delete it and fit the subject again.",
        ) from error


def _read(path: str | os.PathLike[str]) -> SubjectFits:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays["meta"]))
    if meta["format"] != FORMAT:
        raise ValueError(f"it has format {meta['format']}, this program reads {FORMAT}")
    return SubjectFits(
        subject=meta["subject"],
        fingerprint=meta["fingerprint"],
        choice_names=tuple(meta["choice_names"]),
        keys_session=arrays["session"],
        keys_trial=arrays["trial"],
        fits=tuple(_fit(plain, arrays) for plain in meta["fits"]),
        notes=tuple(meta["notes"]),
        population=meta["population"],
        earlier=meta["earlier"],
    )


def _fit(plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> FitResult:
    prefix = f"k{plain['num_states']}/"
    own, succession = plain["own_optimum"], plain["succession"]
    folds = [
        CVFoldResult(**_tupled(fold), fitted_params=_params(arrays, f"{prefix}fold{number}/"))
        for number, fold in enumerate(plain["cv_metrics"])
    ]
    fields_of_it: dict[str, Any] = {name: arrays[prefix + name] for name in _own_arrays()}
    fields_of_it |= {name: arrays[name] for name in SHARED}
    fields_of_it |= {name: plain[name] for name in PLAIN}
    return FitResult(
        fitted_params=_params(arrays, prefix),
        **fields_of_it,
        session_ids=arrays["session"],
        specification=read_specification(plain["specification"]),
        settings=read_settings(plain["settings"]),
        cv_metrics=tuple(folds),
        remarks=tuple(plain["remarks"]),
        own_optimum=OwnOptimum(**own) if own else None,
        succession=Succession(**_tupled(succession)) if succession else None,
    )


def read_specification(model: dict[str, Any]) -> Specification:
    """A specification out of what JSON made of it."""
    return Specification(
        num_classes=model["num_classes"],
        emission_names=tuple(model["emission_names"]),
        emission_scale=np.array(model["emission_scale"], np.float64),
        transition_names=tuple(model["transition_names"]),
        transition_scale=np.array(model["transition_scale"], np.float64),
        frozen_emissions={int(k): v for k, v in model["frozen_emissions"].items()},
        frozen_transitions={int(k): v for k, v in model["frozen_transitions"].items()},
        population=PopulationPrior.read(model["population"]),
    )


def read_settings(plain: dict[str, Any]) -> FitSettings:
    """Settings out of what JSON made of them."""
    frozen = tuple(FrozenWeight(**weight) for weight in plain["frozen"])
    return FitSettings(**{**_tupled(plain), "frozen": frozen})


def _without_params(fold: CVFoldResult) -> dict[str, Any]:
    return {f.name: getattr(fold, f.name) for f in fields(fold) if f.name != "fitted_params"}


def _flat(params: Parameters, prefix: str) -> dict[str, np.ndarray]:
    """Arrays of some parameters by name; those that the model does not have are left out."""
    named = params._asdict().items()
    return {prefix + name: np.asarray(value) for name, value in named if value is not None}


def _params(arrays: dict[str, np.ndarray], prefix: str) -> Parameters:
    *always, sometimes = Parameters._fields
    stored: dict[str, Any] = {name: arrays[prefix + name] for name in always}
    stored[sometimes] = arrays.get(prefix + sometimes)
    return Parameters(**stored)


def listed(values: dict[str, Any]) -> dict[str, Any]:
    """Arrays as lists, for JSON."""
    return {
        k: listed(v) if isinstance(v, dict) else v.tolist() if isinstance(v, np.ndarray) else v
        for k, v in values.items()
    }


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples again, after JSON."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _own_arrays() -> list[str]:
    """Names of the arrays that each fit has for itself."""
    elsewhere = {*PLAIN, *SHARED, "fitted_params", "session_ids", "specification", "settings"}
    elsewhere |= {"cv_metrics", "remarks", "own_optimum", "succession"}
    return [field.name for field in fields(FitResult) if field.name not in elsewhere]


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as one npz file, beside its place and then into it."""
    arguments: dict[str, Any] = dict(arrays)
    with beside(path) as place, place.open("wb") as file:
        np.savez_compressed(file, **arguments)
        file.flush()
        os.fsync(file.fileno())
