"""Sessions of several kinds: where the plain model's switches are spread too evenly over them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.compilation_cache import use_compilation_cache
from glmhmm_assets.defs.checks import shown_fit
from glmhmm_assets.defs.validity import closed_loop
from glmhmm_assets.per_subject import for_each, show, subject_asset
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.baselines.result import BaselineFit
    from glmhmm_core.engine.session_kinds import SessionKinds
    from glmhmm_core.fitting.result import SubjectFits

ROOMS = ("baselines", "comparison", "engine", "fitting", "simulation", "tables")

NAME = "session_fits"
_FITS = """The model that the figures show, with sessions of two kinds: one row.

Each kind has a start and transitions of its own; the states are the same. Scored on the same folds
as the others, among which it stands in `model_comparison` as `glmhmm_sessions`. The page has its
predictive check beside the plain one's.
"""
_KINDS = """How probable it is that each session is of each kind, and what the kinds gain in it.

Kinds are ordered from the calmest, which leaves its states most rarely. Gains are over the plain
model, in nats, while the session was held out.
"""


def session_input(study: Study) -> dict[str, dg.AssetIn]:
    """Give the input of whoever compares these fits; none if the study does not ask for them."""
    lenient = {"allow_missing_partitions": True}
    asked = study.comparison.session_kinds
    return {NAME: dg.AssetIn([study.name, NAME], metadata=lenient)} if asked else {}


def build_session_fits(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of sessions of several kinds, if the study asks for them."""
    common = subject_asset(study, kinds={"jax", "parquet"}, rooms=ROOMS)
    out = {k: common[k] for k in ("key_prefix", "group_name", "kinds", "code_version")}
    described = {"session_fits": _FITS, "session_kinds": _KINDS}

    @dg.multi_asset(
        name=f"{study.name}__session_fits",
        outs={
            name: dg.AssetOut(**out, io_manager_key="tables", description=text, dagster_type=dg.Any)
            for name, text in described.items()
        },
        ins={name: dg.AssetIn([study.name, name]) for name in ("subject_fits", "cleaned_sessions")},
        partitions_def=common["partitions_def"],
        backfill_policy=common["backfill_policy"],
    )
    def session_fits(
        context: dg.AssetExecutionContext, subject_fits: dict, cleaned_sessions: dict
    ) -> Iterator[Any]:
        from glmhmm_core.baselines.session_kinds import fit_session_kinds, session_table
        from glmhmm_core.fitting.result import Excluded
        from glmhmm_core.tables.comparison import baseline_row

        use_compilation_cache(study)

        def both(subject: str) -> "tuple[pl.DataFrame, pl.DataFrame]":
            fits = subject_fits[subject]
            fit = shown_fit(study, fits)
            # Two starts, to 2e-4 nats of 2,000: one row among others should not cost more than
            # the plain fits.
            kinds = fit_session_kinds(fit, n_starts=2, seed=study.model.seed, tol=1e-7)
            show(context, subject, _facts(study, fits, kinds, cleaned_sessions[subject]))
            return baseline_row(fits, kinds), session_table(subject, fit, kinds)

        values = for_each(context, subject_fits, both)
        for place, name in enumerate(described):
            of_asset = {s: v if isinstance(v, Excluded) else v[place] for s, v in values.items()}
            yield dg.Output(of_asset, name)

    return [session_fits] if study.comparison.session_kinds else []


def _facts(
    study: Study,
    fits: "SubjectFits",
    kinds: "BaselineFit[SessionKinds]",
    cleaned: "pl.DataFrame",
) -> dict[str, Any]:
    """What the page says: shares, switching beside the data, and the held-out gain."""
    from glmhmm_core.baselines.session_kinds import gain_over
    from glmhmm_core.comparison.predictive_checks import predictive_checks

    fit, params = shown_fit(study, fits), kinds.fitted_params
    checks = predictive_checks(
        fit,
        **closed_loop(study, fits, cleaned),
        kinds=params,
        num_simulations=study.checks.simulations,
        seed=study.model.seed,
    )
    share = checks.filter(statistic="share_switching").row(0, named=True)
    spread = checks.filter(statistic="switches_variance").row(0, named=True)
    facts: dict[str, Any] = {
        "shares_of_kinds": ", ".join(f"{s:.2f}" for s in params.shares),
        "share_of_sessions_with_a_switch": share["data"],
        "the_same_simulated": share["simulated"],
        "p_value_of_the_share": share["p_value"],
        "p_value_of_the_variance_of_switches": spread["p_value"],
        "converged": kinds.converged,
    }
    gain, error = gain_over(fit, kinds)
    if gain is not None:
        facts["heldout_gain_over_plain"] = gain
        facts["heldout_gain_over_plain_se"] = error
    return facts
