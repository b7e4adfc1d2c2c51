"""A subject's fit is known by what went into it: data, settings, and the code that fits."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from glmhmm_core.design.design import Design
from glmhmm_core.fitting.result import SubjectFits
from glmhmm_core.fitting.settings import FitSettings

#: Packages whose sources decide what a fit is, beside its data.
SOURCES = ("engine", "fitting")


def fingerprint(
    design: Design,
    num_states: Sequence[int],
    settings: FitSettings,
    population: SubjectFits | None = None,
    earlier: SubjectFits | None = None,
) -> str:
    """Hash of everything that decides a subject's fits, as 64 hexadecimal digits.

    Equal fingerprints mean equal fits, so that a finished one is never made again; a change of
    a trial, a setting, the fitting code, the population's fit or the subject's earlier fits that
    these start from means another fingerprint.
    """
    digest = hashlib.sha256()
    digest.update(data_hash(design.driven_by(settings.transition_regressors)).encode())
    digest.update(json.dumps([sorted(set(num_states)), asdict(settings)]).encode())
    digest.update(sources_hash().encode())
    if population is not None:
        digest.update(population.fingerprint.encode())
    if earlier is not None:
        digest.update(f"after {earlier.fingerprint}".encode())
    return digest.hexdigest()


def data_hash(design: Design) -> str:
    """Hash of a subject's design: its arrays, names and keys."""
    digest = hashlib.sha256()
    names = [
        design.subject,
        design.feature_names,
        design.transition_names,
        design.choice_names,
        design.baseline_class_idx,
        design.keys["session"].to_list(),
        design.keys["trial"].to_list(),
    ]
    digest.update(json.dumps(names).encode())
    driven = (design.U, design.transition_scales)
    for array in (design.X, design.y, design.mask, design.prior_scales, *driven):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def sources_hash(packages: tuple[str, ...] = SOURCES) -> str:
    """Hash of the sources of packages of the core, of those that fit GLM-HMMs by default."""
    digest = hashlib.sha256()
    core = Path(__file__).parents[1]
    for package in packages:
        for file in sorted((core / package).glob("*.py")):
            digest.update(f"{package}/{file.name}".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
