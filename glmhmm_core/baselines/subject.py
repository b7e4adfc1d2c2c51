"""All baselines of a subject on its folds, and of many subjects side by side."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from glmhmm_core.baselines.drift import fit_drifting_weights
from glmhmm_core.baselines.inputs import design_arguments
from glmhmm_core.baselines.lapse_glm import fit_lapse_glm
from glmhmm_core.baselines.result import BaselineFit, SubjectBaselines
from glmhmm_core.baselines.splits import fold_splits
from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.climb import Map, ProgressCallback
from glmhmm_core.fitting.fingerprint import data_hash, sources_hash
from glmhmm_core.fitting.folds import Splits
from glmhmm_core.fitting.inputs import as_problem
from glmhmm_core.fitting.prospective import prospective_splits
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.fitting.validation import weight_scale
from glmhmm_core.fitting.workers import Workers

_log = logging.getLogger(__name__)

#: Packages whose sources decide what a baseline is, beside its data.
SOURCES = ("baselines", "design", "engine", "fitting")
#: Starts of the step sizes of drifting weights, which are dear: a second one changed the held-out
#: score of no subject that was looked at.
DRIFT_STARTS = 1


@dataclass(frozen=True)
class BaselineSettings:
    """Which baselines, and how they are fitted.

    Attributes
    ----------
    models
        Names out of ``BASELINES``.
    prior_scale
        As ``emission_prior_scale`` of the GLM-HMMs; None takes what the task proposes.
    seed, cv_folds
        Of the interleaved folds, those of the GLM-HMMs.
    prospective_folds
        Folds that train on the past alone; 0 for none.
    """

    models: tuple[str, ...]
    prior_scale: float | tuple[float, ...] | None = None
    seed: int = 0
    cv_folds: int = 0
    prospective_folds: int = 0

    @classmethod
    def beside(
        cls, settings: FitSettings, models: Sequence[str], prospective_folds: int
    ) -> "BaselineSettings":
        """Those with the priors and folds of GLM-HMMs."""
        scale = settings.emission_prior_scale
        return cls(tuple(models), scale, settings.seed, settings.cv_folds, prospective_folds)


def _lapse(kind: Any) -> Callable[..., BaselineFit[Any]]:
    return lambda **given: fit_lapse_glm(**given, lapse=kind)


#: What fits each baseline, by its name.
BASELINES: dict[str, Callable[..., BaselineFit[Any]]] = {
    **{
        f"lapse_{kind}": _lapse(kind)
        for kind in ("class_1", "class", "history", "history_conditioned")
    },
    "drifting_weights": lambda **given: fit_drifting_weights(**given, n_starts=DRIFT_STARTS),
}


def fit_baselines(
    designs: Mapping[str, Design],
    settings: BaselineSettings,
    on_finished: Callable[[SubjectBaselines], None] | None = None,
) -> dict[str, SubjectBaselines]:
    """Fit the baselines of every subject, subjects side by side.

    Parameters
    ----------
    designs
        What each subject saw and did, by name.
    settings
        Which baselines, and how.
    on_finished
        Called with each subject's value as soon as it is there, in the order of ``designs``.

    Returns
    -------
    dict
        Baselines per subject. One that cannot be fitted to a subject is named in its notes, and
        so are folds for which it has too few sessions.
    """
    results: dict[str, SubjectBaselines] = {}
    with Workers() as workers:
        pending = {
            subject: workers.submit(_Job(design, settings), lambda _: None)
            for subject, design in designs.items()
        }
        for subject, future in pending.items():
            results[subject] = future.result()
            if on_finished is not None:
                on_finished(results[subject])
    return results


def fingerprint(design: Design, settings: BaselineSettings) -> str:
    """Hash of everything that decides a subject's baselines, as 64 hexadecimal digits."""
    said = json.dumps([data_hash(design), vars(settings)])
    said += sources_hash(SOURCES)
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class _Job:
    """The baselines of one subject."""

    design: Design
    settings: BaselineSettings

    def run(self, run: Map, tell: ProgressCallback) -> SubjectBaselines:
        del run, tell
        design, settings = self.design, self.settings
        notes: list[str] = []
        interleaved, prospective = _splits(design, settings, notes)
        splits = Splits(
            *(np.concatenate(sides) for sides in zip(interleaved, prospective, strict=True))
        )
        count = len(interleaved.train)
        fits = []
        for name in settings.models:
            try:
                scale = weight_scale(
                    "emission_prior_scale",
                    settings.prior_scale,
                    design.X.shape[1],
                    design.prior_scales,
                )
                given = design_arguments(design) | {"prior_scale": scale, "seed": settings.seed}
                fit = BASELINES[name](**given, splits=splits)
            except InputError as error:
                notes.append(f"{name}: {error}")
                continue
            except MemoryError:
                raise  # not this subject's fault
            except Exception as error:
                # Other models, and other subjects, must not be lost to one's surprise.
                _log.exception("%s of %s is left out", name, design.subject)
                notes.append(f"{name}: unexpected {type(error).__name__}: {error}")
                continue
            folds = fit.cv_metrics
            later = tuple(replace(fold, fold_index=i) for i, fold in enumerate(folds[count:]))
            fits.append(replace(fit, cv_metrics=folds[:count], prospective=later))
        return SubjectBaselines(
            design.subject, fingerprint(design, settings), tuple(fits), tuple(notes)
        )


def _splits(design: Design, settings: BaselineSettings, notes: list[str]) -> tuple[Splits, Splits]:
    """Interleaved and prospective splits; none, and a note, where there is too little for them."""
    where = f"subject {design.subject!r}"
    problem = as_problem(
        design.y,
        design.X,
        design.session_ids,
        design.mask,
        len(design.choice_names),
        design.baseline_class_idx,
        where,
    )
    none = fold_splits(problem, 0, settings.seed, where)
    both = []
    for make in (
        lambda: fold_splits(problem, settings.cv_folds, settings.seed, where),
        lambda: prospective_splits(problem, settings.prospective_folds, design.subject),
    ):
        try:
            both.append(make())
        except InputError as error:
            notes.append(str(error))
            both.append(none)
    return both[0], both[1]
