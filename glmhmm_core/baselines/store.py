"""Baselines on disk: one npz file per subject, written whole or not at all, without pickles."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from glmhmm_core.baselines.drift import DriftingWeights
from glmhmm_core.baselines.lapse_glm import LapseGLM
from glmhmm_core.baselines.private_alternative import PrivateAlternativeGLM
from glmhmm_core.baselines.result import BaselineFit, BaselineFold, SubjectBaselines
from glmhmm_core.engine.session_kinds import SessionKinds
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.store import write_arrays

#: Raised with every change of what the file holds.
FORMAT = 1
#: What parameters a baseline may have, by name.
PARAMETERS: dict[str, Any] = {
    kind.__name__: kind for kind in (LapseGLM, DriftingWeights, PrivateAlternativeGLM, SessionKinds)
}
FOLDS = ("cv_metrics", "prospective")


def save_baselines(path: str | os.PathLike[str], baselines: SubjectBaselines) -> None:
    """Write a subject's baselines to ``path``."""
    arrays: dict[str, np.ndarray] = {}
    fits = []
    for number, fit in enumerate(baselines.fits):
        plain = _split(fit, f"{number}/", arrays, {"fitted_params", *FOLDS})
        plain["fitted_params"] = _params(fit.fitted_params, f"{number}/params/", arrays)
        for kind in FOLDS:
            plain[kind] = []
            for i, fold in enumerate(getattr(fit, kind)):
                told = _split(fold, "", {}, {"fitted_params"})
                at = f"{number}/{kind}{i}/"
                told["fitted_params"] = _params(fold.fitted_params, at, arrays)
                plain[kind].append(told)
        fits.append(plain)
    meta = {
        "format": FORMAT,
        "subject": baselines.subject,
        "fingerprint": baselines.fingerprint,
        "notes": baselines.notes,
        "fits": fits,
    }
    write_arrays(Path(path), arrays | {"meta": np.array(json.dumps(meta))})


def load_baselines(path: str | os.PathLike[str]) -> SubjectBaselines:
    """Read what :func:`save_baselines` wrote.

    Raises
    ------
    InputError
        If the file is not whole or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays["meta"]))
        if meta["format"] != FORMAT:
            raise ValueError(f"it has format {meta['format']}, this program reads {FORMAT}")
        fits = tuple(_fit(plain, f"{i}/", arrays) for i, plain in enumerate(meta["fits"]))
    except Exception as error:  # damage shows as whatever zip, zlib, NumPy or JSON make of it
        raise InputError(
            f"this is not a whole file of baselines ({error})",
            where=str(path),
            remedy="Delete it and fit the subject again.",
        ) from error
    return SubjectBaselines(meta["subject"], meta["fingerprint"], fits, tuple(meta["notes"]))


def _fit(plain: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> BaselineFit[Any]:
    said = dict(plain)
    given: dict[str, Any] = {
        kind: tuple(
            BaselineFold(
                **_tupled({k: v for k, v in fold.items() if k != "fitted_params"}),
                fitted_params=_read(fold["fitted_params"], f"{prefix}{kind}{i}/", arrays),
            )
            for i, fold in enumerate(said.pop(kind))
        )
        for kind in FOLDS
    }
    given["fitted_params"] = _read(said.pop("fitted_params"), f"{prefix}params/", arrays)
    return BaselineFit(**_tupled(said), **_arrays(BaselineFit, prefix, arrays), **given)


def _params(params: Any, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"kind": type(params).__name__, **_split(params, prefix, arrays)}


def _read(plain: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    kind = PARAMETERS[plain["kind"]]
    rest = {k: v for k, v in plain.items() if k != "kind"}
    return kind(**_tupled(rest), **_arrays(kind, prefix, arrays))


def _split(
    value: Any, prefix: str, arrays: dict[str, np.ndarray], apart: Any = ()
) -> dict[str, Any]:
    """Plain fields of a value; its arrays go into ``arrays``, those ``apart`` nowhere."""
    plain = {}
    for name in _names(value):
        held = getattr(value, name)
        if name in apart:
            continue
        if isinstance(held, np.ndarray):
            # Names of sessions may be objects, which only a pickle could hold.
            arrays[prefix + name] = held.astype(np.str_) if held.dtype == object else held
        else:
            plain[name] = held
    return plain


def _arrays(kind: Any, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: arrays[prefix + name] for name in _names(kind) if prefix + name in arrays}


def _names(kind: Any) -> tuple[str, ...]:
    """Fields of a named tuple or a dataclass, or of a value of one."""
    return getattr(kind, "_fields", None) or tuple(field.name for field in fields(kind))


def _tupled(values: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples again, after JSON."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
