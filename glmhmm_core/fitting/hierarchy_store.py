"""A hierarchical fit on disk: one npz file without pickles; it is small."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.empirical_bayes import Level
from glmhmm_core.fitting.fold_population import FoldPopulation
from glmhmm_core.fitting.hierarchy import Hierarchy
from glmhmm_core.fitting.store import listed, read_settings, read_specification

#: Raised with every change of what the file holds.
FORMAT = 4


def save_hierarchy(path: str | os.PathLike[str], hierarchy: Hierarchy) -> None:
    """Write a hierarchical fit to ``path``."""
    meta = {
        "format": FORMAT,
        **{name: getattr(hierarchy, name) for name in _PLAIN},
        "settings": asdict(hierarchy.settings),
        "levels": [_plain(level) for level in hierarchy.levels],
        "folds": list(map(_plain_fold, hierarchy.folds)),
        "forecasts": list(map(_plain_fold, hierarchy.forecasts)),
    }
    with Path(path).open("wb") as file:
        np.savez_compressed(file, meta=np.array(json.dumps(meta)))


def load_hierarchy(path: str | os.PathLike[str]) -> Hierarchy:
    """Read what :func:`save_hierarchy` wrote.

    Raises
    ------
    InputError
        If the file is not whole or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
        if meta["format"] != FORMAT:
            raise ValueError(f"it has format {meta['format']}, this program reads {FORMAT}")
        plain: dict[str, Any] = {
            name: tuple(meta[name]) if isinstance(meta[name], list) else meta[name]
            for name in _PLAIN
        }
        return Hierarchy(
            **plain,
            settings=read_settings(meta["settings"]),
            levels=tuple(map(_level, meta["levels"])),
            folds=tuple(map(_fold, meta["folds"])),
            forecasts=tuple(map(_fold, meta["forecasts"])),
        )
    except Exception as error:  # damage shows as whatever zip, zlib, NumPy or JSON make of it
        raise InputError(
            f"this is not a whole file of a hierarchical fit ({error})",
            where=str(path),
            remedy="Delete it and make the hierarchical fit again.",
        ) from error


_PLAIN = ("fingerprint", "population", "subjects", "choice_names", "baseline_class_idx", "notes")


def _plain(level: Level) -> dict[str, Any]:
    return {
        "num_states": level.num_states,
        "specification": listed(asdict(level.specification)),
        "log_marginal": level.log_marginal.tolist(),
        "converged": bool(level.converged),
    }


def _level(plain: dict[str, Any]) -> Level:
    return Level(
        plain["num_states"],
        read_specification(plain["specification"]),
        np.array(plain["log_marginal"], np.float64),
        plain["converged"],
    )


def _plain_fold(fold: FoldPopulation) -> dict[str, Any]:
    return {"levels": list(map(_plain, fold.levels)), "sessions": dict(fold.sessions)}


def _fold(plain: dict[str, Any]) -> FoldPopulation:
    sessions = {subject: tuple(names) for subject, names in plain["sessions"].items()}
    return FoldPopulation(tuple(map(_level, plain["levels"])), sessions)
