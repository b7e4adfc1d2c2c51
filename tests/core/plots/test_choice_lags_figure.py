"""The figure of lags shows the numbers of its tables."""

import numpy as np
import polars as pl
import pytest
from core.lagged_weights import LAGS, lag_task, with_lags
from core.plots.cases import cohort, ugly
from core.plots.crowding import problems

from glmhmm_core.plots.choice_lags import lag_kernels
from glmhmm_core.tables.choice_lags import lag_kernel_table, lag_weight_table
from glmhmm_core.tables.lag_kernel import kernel_at


def tables(size=3, noise=0.0, flat=False):
    weights = cohort(size).weights
    if flat:
        weights = weights.with_columns(pl.col("subject").replace({"CSHL_002": "flat"}))
    lags = lag_weight_table(with_lags(weights, lag_task(), noise), lag_task())
    return lags, lag_kernel_table(lags)


def test_means_and_every_subject_s_exponential_are_those_of_the_tables():
    lags, kernels = tables(noise=0.1, flat=True)
    figure = lag_kernels(lags, kernels, 3, "Mice", "past")
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    labels = [ax.get_title(loc="left").split("\n")[0] for ax in panels]
    assert labels == ["engaged", "biased left", "biased right"]
    for label, ax in zip(labels, panels, strict=True):
        own = lags.filter(num_states=3, state_label=label)
        (points,) = ax.containers
        means = own.group_by("lag").agg(pl.col("weight").mean()).sort("lag")
        np.testing.assert_allclose(points.lines[0].get_xydata(), means.to_numpy())
        fitted = kernels.filter(pl.col("success"), num_states=3, state_label=label)
        curves = [row["scale"] * kernel_at(LAGS, row["tau"]) for row in fitted.to_dicts()]
        thin = [line.get_ydata() for line in ax.lines if line.get_linewidth() == 0.8][1:]
        np.testing.assert_allclose(sorted(map(tuple, thin)), sorted(map(tuple, curves)))
        (thick,) = [line.get_ydata() for line in ax.lines if line.get_linewidth() == 1.8]
        np.testing.assert_allclose(thick, np.mean(curves, axis=0))
        assert f"median τ {np.median(fitted['tau']):.1f}" in ax.get_title(loc="left")
    shown = kernels.filter(pl.col("state_label").is_in(labels), num_states=3)
    lost = shown.height - shown["success"].sum()
    (legend,) = figure.legends
    assert lost > 0
    assert (
        f"No time constant in {lost} of {shown.height} fits: flat."
        in legend.get_title().get_text().replace("\n", " ")
    )


@pytest.mark.parametrize(("size", "num_states"), [(1, 1), (3, 5)])
def test_nothing_is_crowded(size, num_states):
    figure = lag_kernels(*tables(size, 0.2), num_states, "Mice of the first cohort", "past")
    assert problems(figure) == []


def test_three_choices_have_a_panel_per_class_and_earlier_choice():
    task = lag_task(("left", "center", "right"))
    lags = lag_weight_table(with_lags(ugly().weights, task, 0.1), task)
    figure = lag_kernels(lags, lag_kernel_table(lags), 5, "One rat", "past")
    named = {ax.get_ylabel().split("\n")[-1] for ax in figure.axes} - {""}
    assert named == {f"of {a} after {b}" for a in ("center", "right") for b in ("center", "right")}
    assert problems(figure) == []


def test_other_lags_are_named():
    with pytest.raises(ValueError, match="no lags of 'wins' in the table, only of past"):
        lag_kernels(*tables(), 3, "Mice", "wins")
