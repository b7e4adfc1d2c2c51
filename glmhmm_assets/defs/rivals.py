"""What GLM-HMMs are held against: baselines on the same folds, and forecasts of the sessions ahead.

Both are dear, and kept under fingerprints as the fits are: a run that finds them fits nothing.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.hierarchy import SHRUNKEN, stored_hierarchy
from glmhmm_assets.defs.population import HIERARCHY
from glmhmm_assets.per_subject import exclude, show, study_asset, subject_asset
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    from glmhmm_core.baselines.result import SubjectBaselines
    from glmhmm_core.baselines.subject import BaselineSettings
    from glmhmm_core.design.design import Design

#: Prospective scores of the models with transition regressors.
DRIVEN_FORECASTS = "prospective_transition_fits"
#: Those of the models under the population's learned priors.
SHRUNKEN_FORECASTS = "prospective_shrunken_fits"


def forecasts_input(study: Study) -> dict[str, dg.AssetIn]:
    """Those scores as further inputs of an asset: of a study that has them, from who has them."""
    wanted = {
        DRIVEN_FORECASTS: bool(study.model.transition_regressors),
        SHRUNKEN_FORECASTS: study.hierarchy.enabled,
    }
    lenient = {"allow_missing_partitions": True}
    return {
        name: dg.AssetIn([study.name, name], metadata=lenient)
        for name, asked in wanted.items()
        if asked and study.comparison.prospective_folds
    }


def build_rivals(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of baselines and of prospective scores."""
    baselines = subject_asset(
        study, kinds={"jax"}, rooms=("baselines", "design", "engine", "fitting")
    )
    forecasts = subject_asset(study, kinds={"jax"}, rooms=("engine", "fitting"))

    @study_asset(study, **baselines, io_manager_key="baselines")
    def baseline_fits(
        context: dg.AssetExecutionContext, design_tensors: dict, subject_fits: dict
    ) -> dict:
        """Lapse GLMs and drifting weights of every subject, with the GLM-HMMs' priors and folds.

        Which ones is the study's ``[comparison] models``. One that cannot be fitted is named in
        the notes and takes none of the others with it. All are of the sessions that the GLM-HMMs
        saw: where a refit is held, there are newer ones.
        """
        from glmhmm_core.baselines.subject import fingerprint, fit_baselines

        use_compilation_cache(study)
        settings = baseline_settings(study)
        store = FitStore(study.storage / "baselines", "glmhmm_core.baselines.store", "baselines")
        seen = as_seen(design_tensors, subject_fits)
        prints = {s: fingerprint(design, settings) for s, design in seen.items()}
        found = keep(
            context,
            subject_fits | seen,
            prints,
            store,
            lambda todo, on_finished: fit_baselines(todo, settings, on_finished),
        )
        for subject, one in _usable(found).items():
            show(context, subject, _facts(one))
        return found

    @study_asset(study, **forecasts, io_manager_key="fits", pool="gpu")
    def prospective_fits(context: dg.AssetExecutionContext, subject_fits: dict) -> dict:
        """GLM-HMMs fitted to every subject's past and scored on its next sessions.

        Interleaved folds let models of slow change look ahead; these do not. The models are those
        of ``subject_fits``, with prospective folds in the place of the interleaved ones.
        """
        from glmhmm_core.fitting.prospective import fingerprint, score_prospectively
        from glmhmm_core.fitting.result import Excluded

        use_compilation_cache(study)
        folds = study.comparison.prospective_folds
        if not folds:
            return {
                s: one if isinstance(one, Excluded) else Excluded(s, "no prospective folds")
                for s, one in subject_fits.items()
            }
        prints = {s: fingerprint(f, folds) for s, f in _usable(subject_fits).items()}
        store = FitStore(study.storage / "prospective")
        return keep(
            context,
            subject_fits,
            prints,
            store,
            lambda todo, on_finished: score_prospectively(todo, folds, on_finished),
        )

    @study_asset(study, **forecasts, name=DRIVEN_FORECASTS, io_manager_key="fits", pool="gpu")
    def prospective_transition_fits(
        context: dg.AssetExecutionContext, transition_fits: dict, prospective_fits: dict
    ) -> dict:
        """GLM-HMM-Ts fitted to every subject's past and scored on its next sessions.

        On the folds of `prospective_fits`, from each of whose fits to the same past they start
        too, beside restarts of their own.
        """
        from glmhmm_core.fitting.prospective import fingerprint, score_prospectively

        use_compilation_cache(study)
        folds, constant = study.comparison.prospective_folds, _usable(prospective_fits)
        # Who has no folds with a constant chain has none here, for the same reason.
        left_out = {s: one for s, one in prospective_fits.items() if s not in constant}
        driven = transition_fits | left_out
        prints = {s: fingerprint(f, folds) for s, f in _usable(driven).items()}
        return keep(
            context,
            driven,
            prints,
            FitStore(study.storage / "prospective_transitions"),
            lambda todo, on_finished: score_prospectively(todo, folds, on_finished, constant),
        )

    @study_asset(study, **forecasts, name=SHRUNKEN_FORECASTS, io_manager_key="fits", pool="gpu")
    def prospective_shrunken_fits(context: dg.AssetExecutionContext, shrunken_fits: dict) -> dict:
        """Every subject's past fitted under learned priors, and scored on its next sessions.

        On the folds of `prospective_fits`. Each fold's priors were learned by `hierarchical_fit`
        from the pasts of all subjects alone.
        """
        return _shrunken_forecasts(context, study, shrunken_fits)

    further = {
        DRIVEN_FORECASTS: prospective_transition_fits,
        SHRUNKEN_FORECASTS: prospective_shrunken_fits,
    }
    return [baseline_fits, prospective_fits, *(further[name] for name in forecasts_input(study))]


def _shrunken_forecasts(
    context: dg.AssetExecutionContext, study: Study, shrunken: Mapping[str, Any]
) -> dict[str, Any]:
    """Fit what the store does not hold under the version that the subjects' fits are of."""
    from glmhmm_core.fitting.prospective import fingerprint
    from glmhmm_core.fitting.result import Excluded
    from glmhmm_core.fitting.shrunken_forecasts import forecast_shrunken

    use_compilation_cache(study)
    folds, hierarchy = study.comparison.prospective_folds, stored_hierarchy(study)
    given = dict(shrunken)
    for subject, fits in _usable(shrunken).items():
        if hierarchy is None or fits.population != hierarchy.fingerprint:
            reason = (
                f"subject {subject!r}: its fits are not under the {HIERARCHY} that serves now. "
                f"Materialize {SHRUNKEN}, and {HIERARCHY} before where none serves."
            )
            given[subject] = Excluded(subject, reason)
        elif len(hierarchy.forecasts) not in (0, folds):
            reason = (
                f"subject {subject!r}: {HIERARCHY} has {len(hierarchy.forecasts)} prospective "
                f"folds, not {folds}. Materialize it, or wait for its schedule."
            )
            given[subject] = Excluded(subject, reason)

    def forecast(todo: dict[str, Any], on_finished: Callable[[Any], None]) -> Mapping[str, Any]:
        assert hierarchy is not None  # or nobody is left to do
        return forecast_shrunken(todo, hierarchy, on_finished)

    prints = {s: fingerprint(fits, folds) for s, fits in _usable(given).items()}
    return keep(context, given, prints, FitStore(study.storage / "prospective_shrunken"), forecast)


def as_seen(designs: Mapping[str, Any], fits: Mapping[str, Any]) -> "dict[str, Design]":
    """Designs of the sessions that the fits saw, of subjects that have fits."""
    return {s: designs[s].of_sessions(f.keys_session.tolist()) for s, f in _usable(fits).items()}


def baseline_settings(study: Study) -> "BaselineSettings":
    """Which baselines the study asks for, with the priors and folds of its GLM-HMMs."""
    from glmhmm_core.baselines.subject import BaselineSettings

    return BaselineSettings.beside(
        study.fit_settings(), study.comparison.models, study.comparison.prospective_folds
    )


def _usable(values: Mapping[str, Any]) -> dict[str, Any]:
    from glmhmm_core.fitting.result import Excluded

    return {s: value for s, value in values.items() if not isinstance(value, Excluded)}


def keep(
    context: dg.AssetExecutionContext,
    given: Mapping[str, Any],
    prints: Mapping[str, str],
    store: FitStore,
    fit: Callable[[dict[str, Any], Callable[[Any], None]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Fit what the store does not hold under these fingerprints, and keep it there at once."""
    stored = {subject: store.find(subject, mark) for subject, mark in prints.items()}
    todo = {subject: given[subject] for subject, value in stored.items() if value is None}
    context.log.info("subjects done already: %d, to do: %d", len(stored) - len(todo), len(todo))
    made = fit(todo, lambda one: store.keep(one, prints[one.subject])) if todo else {}
    found = {**given, **stored, **made}
    for subject in context.partition_keys:
        if subject not in _usable({subject: found[subject]}):
            exclude(context, found[subject])
    return {subject: found[subject] for subject in context.partition_keys}


def _facts(one: "SubjectBaselines") -> dict[str, Any]:
    """The essentials of a subject's baselines, for its materialization."""
    failed = [fit.model for fit in one.fits if not fit.converged]
    return {
        "models": ", ".join(fit.model for fit in one.fits) or "none",
        "fingerprint": one.fingerprint,
        **({"not_converged": ", ".join(failed)} if failed else {}),
        **({"notes": "\n".join(one.notes)} if one.notes else {}),
    }
