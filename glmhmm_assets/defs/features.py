"""From cleaned trials to designs: the arrays that models are fitted to."""

import dagster as dg

from glmhmm_assets.per_subject import for_each, study_asset, subject_asset
from glmhmm_assets.study import Study


def build_design_tensors(study: Study) -> dg.AssetsDefinition:
    """Build the asset of designs."""

    @study_asset(
        study,
        **subject_asset(study, kinds={"numpy"}, rooms=("design", "tasks")),
        io_manager_key="designs",
    )
    def design_tensors(context: dg.AssetExecutionContext, cleaned_sessions: dict) -> dict:
        """Regressors, choices and sessions of every subject as arrays, one file each.

        History regressors are made from whole recorded sessions; then the trials of the chain
        are cut out. Rows keep their session and trial numbers, the keys back to the trials.
        """
        from glmhmm_core.design.build import build_design

        task = study.load_task()
        return for_each(
            context, cleaned_sessions, lambda s: build_design(cleaned_sessions[s], task)
        )

    return design_tensors
