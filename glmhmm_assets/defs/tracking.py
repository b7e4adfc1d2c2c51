"""The last stage: every fitted model gets its run in MLflow, linked both ways.

It is apart from the fits, so that a store that does not answer loses none of them and this asset
alone is run again.
"""

from pathlib import Path
from typing import Any

import dagster as dg

from glmhmm_assets.per_subject import subject_asset
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.study import Study

#: Pictures that compare all models of a subject; the others show one of them.
ALL_MODELS = ("em_traces", "heldout_bits")
ONE_MODEL = ("weights", "transition_matrix", "session_posteriors", "psychometrics")


def build_fit_tracking(study: Study) -> dg.AssetsDefinition:
    """Build the study's ``fit_tracking`` asset."""

    @dg.asset(
        **subject_asset(study, kinds={"mlflow"}, rooms=("comparison", "fitting")),
        deps=[[study.name, name] for name in (*ALL_MODELS, *ONE_MODEL)],
    )
    def fit_tracking(
        context: dg.AssetExecutionContext, subject_fits: dict[str, Any], tracker: MlflowTracker
    ) -> None:
        """One MLflow run per number of states, with parameters, scores, EM trace and figures.

        A subject whose fit did not change keeps its runs; a new fit marks the old ones
        superseded. Materialize this asset alone after MLflow was away.
        """
        from glmhmm_core.fitting.result import Excluded

        # By these the sensor knows, without a memory of its own, who is done.
        done = {"settings": study.settings_digest()}
        origin = tracker.origin(study.name, study.task, context.run.run_id)
        with tracker.open(study.name) as store:
            for subject, fits in subject_fits.items():
                if isinstance(fits, Excluded):
                    store.supersede(subject, f"left out: {fits.reason}")
                    facts = {**done, "excluded": fits.reason}
                    context.add_asset_metadata(facts, partition_key=subject)
                    continue
                numbers = [fit.num_states for fit in fits.fits]
                runs = store.log(fits, origin, _figures(study, subject, numbers))
                links = {f"mlflow_K{k}": dg.MetadataValue.url(run.url) for k, run in runs.items()}
                context.add_asset_metadata(
                    {
                        **done,
                        "mlflow": dg.MetadataValue.url(store.subject_url(subject)),
                        **links,
                        "runs_new": sum(not run.reused for run in runs.values()),
                        "fingerprint": fits.fingerprint,
                    },
                    partition_key=subject,
                )

    return fit_tracking


def _figures(study: Study, subject: str, numbers: list[int]) -> dict[int, list[Path]]:
    """Sort a subject's picture files by the model that they belong to."""
    folder = study.storage / "figures" / subject
    shown = max((k for k in numbers if k <= study.figures.num_states), default=min(numbers))
    return {
        k: [
            file
            for name in (*ALL_MODELS, *(ONE_MODEL if k == shown else ()))
            if (file := folder / f"{name}.png").exists()
        ]
        for k in numbers
    }
