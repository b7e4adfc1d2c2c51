"""Lapse rates of GLMs with lapses, subject by subject, under names a reader knows."""

from collections.abc import Mapping, Sequence

import polars as pl

from glmhmm_core.baselines.lapse_glm import LapseGLM
from glmhmm_core.baselines.lapses import LapseKind
from glmhmm_core.baselines.result import BaselineFit
from glmhmm_core.errors import InputError

LAPSE_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "model": pl.String(),  # "lapse_class", "lapse_history" ...
    "lapse": pl.String(),  # kind of the lapses
    "rate_idx": pl.Int64(),
    "name": pl.String(),  # "left"; "repeat"; "repeat after left"; "each choice"
    "rate": pl.Float64(),  # probability, on the trials on which such a lapse can be
    "converged": pl.Boolean(),
    "remarks": pl.String(),  # what the fit should be read with; null if nothing
}


def lapse_table(
    fits: Mapping[str, BaselineFit[LapseGLM]], choice_names: Sequence[str]
) -> pl.DataFrame:
    """Every lapse rate of every subject, as ``LAPSE_SCHEMA``; rates of zero are rates too.

    Parameters
    ----------
    fits
        Subject -> its fit; of one kind of lapse. Tables of several kinds go below each other.
    choice_names
        Names of the classes 0..C-1.

    Raises
    ------
    InputError
        A fit is of another number of choices, or has no lapses.
    """
    rows = []
    for subject, fit in fits.items():
        params = fit.fitted_params
        if params.lapse == "none" or fit.num_classes != len(choice_names):
            raise InputError(
                f"a fit of {fit.num_classes} choices with lapse {params.lapse!r}",
                where=f"subject {subject}",
                remedy=f"Give fits with lapses, of the {len(choice_names)} choices named.",
            )
        names = rate_names(params.lapse, choice_names)
        remarks = " ".join(fit.remarks) or None
        rows += [
            (subject, fit.model, params.lapse, i, name, float(rate), fit.converged, remarks)
            for i, (name, rate) in enumerate(zip(names, params.lapse_rates, strict=True))
        ]
    return pl.DataFrame(rows, schema=LAPSE_SCHEMA, orient="row")


def rate_names(lapse: LapseKind, choice_names: Sequence[str]) -> list[str]:
    """What each rate of a kind of lapse is called, in the order of the rates."""
    if lapse == "class_1":
        return ["each choice"]
    if lapse == "class":
        return list(choice_names)
    acts = ["repeat", "alternate"]
    if lapse == "history":
        return acts
    return [f"{act} after {choice}" for choice in choice_names for act in acts]
