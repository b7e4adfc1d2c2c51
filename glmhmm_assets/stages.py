"""The stages of a study's graph: each is a group of assets in the UI.

What belongs here is which asset is where. Stages are in the order of reading: an asset depends on
assets of its own stage or of those above it alone, so that the lineage of the stages runs one way.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import dagster as dg

from glmhmm_assets.study import Study

OneAsset = TypeVar("OneAsset", dg.AssetSpec, dg.AssetsDefinition)

#: The assets of each stage; which of them a study has, it says in its file.
STAGES = {
    "sessions": ("raw_sessions", "cleaned_sessions", "cleaning_report", "design_tensors"),
    "fits": (
        "population_fit",
        "subject_fits",
        "transition_fits",
        "hierarchical_fit",
        "shrunken_fits",
    ),
    "comparison": (
        "baseline_fits",
        "prospective_fits",
        "prospective_transition_fits",
        "prospective_shrunken_fits",
        "session_fits",
        "session_kinds",
        "session_checks",
        "model_comparison",
        "comparison",
    ),
    "validation": ("parameter_errors", "predictive_checks", "parameter_recovery"),
    "tables": (
        "trial_table",
        "weight_table",
        "transition_weight_table",
        "state_matches",
        "state_paths",
        "state_accuracy",
    ),
    "figures": (
        "em_traces",
        "weights",
        "transition_matrix",
        "session_posteriors",
        "state_dynamics",
        "psychometrics",
        "heldout_bits",
        "transition_weights",
        "driven_transitions",
        "staying",
    ),
    "cohort": (
        "cohort_summary",
        "cohort_figures",
        "cohort_checks",
        "cohort_comparison",
        "cohort_transition_weights",
        "shrinkage",
        "state_choice",
    ),
    "tracking": ("fit_tracking", "cohort_tracking"),
}
_STAGE = {asset: stage for stage, assets in STAGES.items() for asset in assets}


def in_stages(study: Study, assets: Iterable[OneAsset]) -> Sequence[OneAsset]:
    """Put every asset into the group of its stage, such as ``mice_fits``."""

    def grouped(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(group_name=f"{study.name}_{_STAGE[spec.key.path[-1]]}")

    return dg.map_asset_specs(grouped, assets)
