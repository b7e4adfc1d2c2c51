"""A design as the arguments of the baselines."""

from typing import Any

from glmhmm_core.design.design import Design


def design_arguments(design: Design) -> dict[str, Any]:
    """Arguments of the baselines that a design holds: ``fit_lapse_glm(**design_arguments(d))``.

    Choices that the design masks are no history to a lapse here; to count them, give
    ``previous`` beside these.
    """
    return {
        "y": design.y,
        "X": design.X,
        "session_ids": design.session_ids,
        "num_classes": len(design.choice_names),
        "mask": design.mask,
        "names": design.feature_names,
        "baseline_class_idx": design.baseline_class_idx,
        "prior_scale": design.prior_scales,
    }
