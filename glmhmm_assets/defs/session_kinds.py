"""Sessions of several kinds: where the plain model's switches are spread too evenly over them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.defs.tables import naming_of
from glmhmm_assets.defs.validity import closed_loop
from glmhmm_assets.per_subject import for_each, show, subject_asset
from glmhmm_assets.pictures import Gallery
from glmhmm_assets.resources.fit_store import FitStore
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.baselines.result import BaselineFit, SubjectBaselines
    from glmhmm_core.engine.session_kinds import SessionKinds
    from glmhmm_core.fitting.result import SubjectFits

ROOMS = (
    *("baselines", "comparison", "design", "engine", "fitting", "plots"),
    *("simulation", "states", "tables", "tasks", "trials"),
)

#: The fits, the table of sessions (and picture), and the predictive checks.
NAME, TABLE, CHECKS = "session_fits", "session_kinds", "session_checks"
#: Two starts, to 2e-4 nats of 2,000: one model among others should not cost more than the plain
#: fits do.
STARTS, TOL = 2, 1e-7
_DESCRIBED = {
    NAME: """The model that the figures show, with sessions of two kinds.

Each kind has a start and transitions of its own; the states are the same. Scored on the same folds
as the others, interleaved and prospective, among which it stands in `model_comparison` as
`glmhmm_sessions`. The page has its predictive check beside the plain one's.
""",
    TABLE: """How probable it is that each session is of each kind, and what the kinds gain in it.

Kinds are ordered from the calmest, which leaves its states most rarely. Gains are over the plain
model, in nats, while the session was held out.
""",
    CHECKS: """What the model of two kinds simulates beside the data, as in `predictive_checks`.""",
}


def session_input(study: Study) -> dict[str, dg.AssetIn]:
    """Give the input of whoever compares these fits; none if the study does not ask for them."""
    lenient = {"allow_missing_partitions": True}
    asked = study.comparison.session_kinds
    return {NAME: dg.AssetIn([study.name, NAME], metadata=lenient)} if asked else {}


def build_session_fits(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of sessions of several kinds, if the study asks for them."""
    common = subject_asset(study, kinds={"jax", "parquet", "matplotlib"}, rooms=ROOMS)
    out = {"key_prefix": study.name} | {k: common[k] for k in ("kinds", "code_version")}
    made = [name for name in _DESCRIBED if name != CHECKS or study.checks.simulations]
    managers = {name: "baselines" if name == NAME else "tables" for name in made}

    @dg.multi_asset(
        name=f"{study.name}__session_fits",
        outs={
            name: dg.AssetOut(
                **out,
                io_manager_key=managers[name],
                description=_DESCRIBED[name],
                dagster_type=dg.Any,
            )
            for name in made
        },
        ins={
            name: dg.AssetIn([study.name, name])
            for name in ("subject_fits", "prospective_fits", "cleaned_sessions")
        },
        partitions_def=common["partitions_def"],
        backfill_policy=common["backfill_policy"],
    )
    def session_fits(
        context: dg.AssetExecutionContext,
        subject_fits: dict,
        prospective_fits: dict,
        cleaned_sessions: dict,
    ) -> Iterator[Any]:
        from glmhmm_core.fitting.result import Excluded
        from glmhmm_core.tables.session_kinds import session_table

        use_compilation_cache(study)
        gallery = Gallery.of_subjects(study)

        def every(subject: str) -> dict[str, Any]:
            from glmhmm_core.plots.session_kinds import session_kinds

            fits = subject_fits[subject]
            fit = shown_fit(study, fits)
            kinds = _kinds(study, fits, prospective_fits[subject])
            of_sessions = session_table(subject, fit, kinds.fits[0])
            checks = _checks(study, fits, kinds.fits[0], cleaned_sessions[subject])
            facts = _facts(fit, kinds.fits[0], checks)
            drawn = gallery.draw(subject, TABLE, session_kinds, (of_sessions, checks))
            show(context, subject, facts | drawn)
            return {NAME: kinds, TABLE: of_sessions, CHECKS: checks}

        values = for_each(context, subject_fits, every)
        for subject, value in values.items():
            if isinstance(value, Excluded):
                gallery.remove(subject, TABLE)
        for name in made:
            yield dg.Output(
                {s: v if isinstance(v, Excluded) else v[name] for s, v in values.items()}, name
            )

    return [session_fits] if study.comparison.session_kinds else []


def _kinds(study: Study, fits: "SubjectFits", prospective: Any) -> "SubjectBaselines":
    """Give what the store holds of the shown model with two kinds, or fit it and keep it there."""
    from glmhmm_core.baselines.result import SubjectBaselines
    from glmhmm_core.baselines.session_kinds import fingerprint, fit_session_kinds
    from glmhmm_core.fitting.result import SubjectFits

    fit = shown_fit(study, fits)
    ahead = prospective.find(fit.num_states) if isinstance(prospective, SubjectFits) else None
    folds = ahead.cv_metrics if ahead else ()
    given: dict[str, Any] = {"n_starts": STARTS, "seed": study.model.seed, "tol": TOL}
    mark = fingerprint(fits, fit.num_states, len(folds), **given)
    store = FitStore(study.storage / "kinds", "glmhmm_core.baselines.store", "baselines")
    found = store.find(fits.subject, mark)
    if found is None:
        kinds = fit_session_kinds(fit, prospective=folds, **given)
        found = SubjectBaselines(fits.subject, mark, (kinds,))
        store.keep(found, mark)
    return found


def _checks(
    study: Study,
    fits: "SubjectFits",
    kinds: "BaselineFit[SessionKinds]",
    cleaned: "pl.DataFrame",
) -> "pl.DataFrame | None":
    """Predictive checks, with the names of the plain model's states; None if there are none."""
    import polars as pl

    from glmhmm_core.comparison.predictive_checks import predictive_checks
    from glmhmm_core.tables.validity import with_states

    if not study.checks.simulations:
        return None
    fit = shown_fit(study, fits)
    table = predictive_checks(
        fit,
        **closed_loop(study, fits, cleaned),
        kinds=kinds.fitted_params,
        num_simulations=study.checks.simulations,
        seed=study.model.seed,
    )
    named = with_states(table, fits, fit.num_states, naming_of(study))
    return named.insert_column(1, pl.lit(kinds.model).alias("model"))


def _facts(
    fit: Any, kinds: "BaselineFit[SessionKinds]", checks: "pl.DataFrame | None"
) -> dict[str, Any]:
    """What the page says: shares, switching beside the data, and the held-out gain."""
    from glmhmm_core.baselines.session_kinds import gain_over

    facts: dict[str, Any] = {
        "shares_of_kinds": ", ".join(f"{s:.2f}" for s in kinds.fitted_params.shares),
        "converged": kinds.converged,
    }
    if checks is not None:
        share = checks.filter(statistic="share_switching").row(0, named=True)
        spread = checks.filter(statistic="switches_variance").row(0, named=True)
        facts |= {
            "share_of_sessions_with_a_switch": share["data"],
            "the_same_simulated": share["simulated"],
            "p_value_of_the_share": share["p_value"],
            "p_value_of_the_variance_of_switches": spread["p_value"],
        }
    gain, error = gain_over(fit, kinds)
    if gain is not None:
        facts["heldout_gain_over_plain"] = gain
        facts["heldout_gain_over_plain_se"] = error
    return facts
