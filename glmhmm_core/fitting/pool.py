"""All subjects' trials as those of one: what a population's shared model is fitted to."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from glmhmm_core.design.design import Design
from glmhmm_core.errors import InputError


def pool(designs: Sequence[Design], name: str = "pooled") -> Design:
    """Put the designs of several subjects behind one another.

    Sessions are named ``subject/session``, so that those of two subjects never meet.

    Parameters
    ----------
    designs
        At least one; all with the same regressors and choices.
    name
        Subject of the pooled design.

    Raises
    ------
    InputError
        If a design has other regressors or choices than the first.
    """
    first = designs[0]
    for design in designs:
        for what in (
            "feature_names",
            "transition_names",
            "choice_names",
            "baseline_class_idx",
        ):
            if getattr(design, what) != getattr(first, what):
                raise InputError(
                    f"its {what} are {getattr(design, what)}, those of {first.subject!r} "
                    f"{getattr(first, what)}",
                    where=f"subject {design.subject!r}",
                    remedy="Pool subjects of one task and one design.",
                )
    keys = [
        d.keys.select(pl.concat_str(pl.lit(f"{d.subject}/"), "session").alias("session"), "trial")
        for d in designs
    ]
    return Design(
        subject=name,
        keys=pl.concat(keys),
        X=np.concatenate([d.X for d in designs]),
        y=np.concatenate([d.y for d in designs]),
        mask=np.concatenate([d.mask for d in designs]),
        feature_names=first.feature_names,
        choice_names=first.choice_names,
        baseline_class_idx=first.baseline_class_idx,
        prior_scales=first.prior_scales,
        transition_names=first.transition_names,
        U=np.concatenate([d.U for d in designs]),
        transition_scales=first.transition_scales,
    )
