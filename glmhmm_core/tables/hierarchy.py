"""What a hierarchical fit learned, and how far it moved every subject's parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from glmhmm_core.comparison.scores import gain_over
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.free_parameters import FreeParameters, free_parameters
from glmhmm_core.fitting.hierarchy import Hierarchy
from glmhmm_core.fitting.population_prior import PopulationPrior
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.fitting.uncertainty import standard_errors
from glmhmm_core.states.labels import StateLabels
from glmhmm_core.states.matching import match_states, reorder
from glmhmm_core.states.naming import Naming

SHRINKAGE_SCHEMA: dict[str, pl.DataType] = {
    "subject": pl.String(),
    "num_states": pl.Int64(),
    "parameter": pl.String(),  # as in ``parameter_errors``
    "state_idx": pl.Int64(),
    "state_rank": pl.Int64(),
    "state_label": pl.String(),  # of the population's mean
    "state_color": pl.String(),
    "target_idx": pl.Int64(),
    "class_idx": pl.Int64(),
    "class_name": pl.String(),  # null of what is no weight, like its index
    "baseline_class_name": pl.String(),
    "feature": pl.String(),
    "population_mean": pl.Float64(),
    "population_sd": pl.Float64(),  # over subjects
    "estimate": pl.Float64(),  # under the learned priors
    "se": pl.Float64(),
    "own_estimate": pl.Float64(),  # under ordinary priors; null where states match ambiguously
    "shrinkage": pl.Float64(),  # (se / population_sd)^2: 0 by own data alone, 1 by the population
    "heldout_gain": pl.Float64(),  # of the subject's model over the ordinary fit, bits per trial
    "heldout_gain_se": pl.Float64(),  # over folds
}


def shrinkage_table(
    hierarchy: Hierarchy,
    shrunken: Sequence[SubjectFits],
    ordinary: Mapping[str, SubjectFits],
    naming: Naming | None = None,
) -> pl.DataFrame:
    """Every parameter of every subject beside the population's, as ``SHRINKAGE_SCHEMA``.

    Parameters
    ----------
    hierarchy
        What was learned.
    shrunken
        Fits under it.
    ordinary
        Fits of the same subjects under ordinary priors, by name; a subject may lack one.
    naming
        Names the states of the population's mean; by themselves if not given.
    """
    parts = []
    for one in shrunken:
        for fit in one.fits:
            prior = hierarchy.level(fit.num_states).prior
            if prior is not None:
                own = (
                    ordinary[one.subject].find(fit.num_states) if one.subject in ordinary else None
                )
                labels = population_labels(prior, fit, one.choice_names, naming)
                parts.append(_rows(one, fit, prior, own, labels))
    return pl.concat([pl.DataFrame(schema=SHRINKAGE_SCHEMA), *parts])


def population_labels(
    prior: PopulationPrior,
    like: FitResult,
    choice_names: tuple[str, ...],
    naming: Naming | None = None,
) -> StateLabels:
    """Names of the states of the population's mean; ``like`` is a fit of one of its subjects.

    Where there is a pooled fit, the mean is matched to it on the trials of all subjects.
    """
    naming = naming or Naming()
    pooled = naming.population.find(like.num_states) if naming.population else None
    same = pooled is not None and pooled.emission_names == like.emission_names
    like = pooled if pooled is not None and same else like
    mean = replace(like, fitted_params=prior.center())
    return naming(mean, choice_names)


def _rows(
    fits: SubjectFits,
    fit: FitResult,
    prior: PopulationPrior,
    own: FitResult | None,
    labels: StateLabels,
) -> pl.DataFrame:
    named = free_parameters(fit, prior.reference)
    mean, sd = (values[named.index] for values in prior.flat())
    errors = standard_errors(fit, prior.reference).table
    gain, gain_se = gain_over(fit, own)
    state = named.keys["state_idx"].to_list()
    classes = dict(enumerate(fits.choice_names))
    return errors.select(
        pl.lit(fits.subject).alias("subject"),
        pl.lit(fit.num_states, pl.Int64).alias("num_states"),
        "parameter",
        "state_idx",
        pl.Series("state_rank", [labels.ranks[k] for k in state], pl.Int64),
        pl.Series("state_label", [labels.labels[k] for k in state], pl.String),
        pl.Series("state_color", [labels.colors[k] for k in state], pl.String),
        "target_idx",
        "class_idx",
        pl.col("class_idx").replace_strict(classes, return_dtype=pl.String).alias("class_name"),
        pl.when(pl.col("class_idx").is_not_null())
        .then(pl.lit(fits.choice_names[fit.baseline_class_idx]))
        .alias("baseline_class_name"),
        "feature",
        pl.Series("population_mean", mean),
        pl.Series("population_sd", sd),
        "estimate",
        "se",
        pl.Series("own_estimate", _own_estimates(fit, own, named), pl.Float64),
        shrinkage=(pl.col("se") / pl.Series(sd)) ** 2,
        heldout_gain=pl.lit(gain, pl.Float64),
        heldout_gain_se=pl.lit(gain_se, pl.Float64),
    )


def _own_estimates(
    fit: FitResult, own: FitResult | None, named: FreeParameters
) -> list[float | None]:
    """The same parameters under ordinary priors, states matched; None where that is in doubt."""
    nothing: list[float | None] = [None] * len(named.index)
    if own is None:
        return nothing
    try:
        match = match_states(own, fit)
    except InputError:  # of another design
        return nothing
    if match.ambiguous:
        return nothing
    return list(map(float, np.asarray(named.values(reorder(own.fitted_params, match.order)))))
