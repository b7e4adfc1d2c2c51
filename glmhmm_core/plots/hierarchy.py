"""The population that a hierarchical fit learned, with its subjects in it."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import Absent, told_absent

ACROSS = 4  # panels side by side
HALF = 0.32  # half the width of a bar of spread


@style.styled
def population_weights(
    shrinkage: pl.DataFrame, num_states: int, cohort: str, absent: Absent | None = None
) -> Figure:
    """Mean and spread of every weight over subjects, by state, and each subject's own.

    Parameters
    ----------
    shrinkage
        ``shrinkage_table``.
    num_states
        Which model.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    table = style.of_model(shrinkage, num_states).filter(parameter="weight")
    states = style.states_of(table)
    features = table["feature"].unique(maintain_order=True).to_list()
    names = ["class_idx", "class_name", "baseline_class_name"]
    classes = table.select(names).unique().sort("class_idx").rows()
    rows, columns = style.grid_of(len(states), ACROSS)
    width = max(style.WIDTH, 1.0 + columns * (0.9 + 0.35 * len(features)))
    figure = style.new_figure(1.7 + 2.5 * rows * len(classes), min(width, style.WIDEST))
    axes = figure.subplots(rows * len(classes), columns, squeeze=False, sharex=True)
    for ax in axes.flat:
        ax.set_axis_off()
    for c, (class_idx, name, baseline) in enumerate(classes):
        for i, (rank, label, color) in enumerate(states):
            ax = axes[c * rows + i // columns, i % columns]
            ax.set_axis_on()
            part = table.filter(state_rank=rank, class_idx=class_idx)
            _panel(ax, part, features, color)
            ax.set_title(label, color=color, fontweight="bold")
            style.name_features(ax, features, upright=True)
            if i % columns == 0:
                ax.set_ylabel(
                    f"Weight: log-odds of\n{style.plain(name)} over {style.plain(baseline)}"
                )
    subjects = table["subject"].n_unique()
    style.head(figure, cohort, f"the learned population, {style.models(num_states)}")
    handles = [
        Line2D([], [], color=style.INK, lw=1.8, label="population mean"),
        Patch(color=style.QUIET, alpha=0.25, lw=0, label="± 1 and 2 SD over subjects"),
        Line2D([], [], color=style.QUIET, marker="o", ls="", ms=4, label="a subject ± SE"),
        Line2D([], [], color=style.QUIET, marker="o", ls="", ms=4, mfc="none", label="by itself"),
    ]
    note = f"{_gain(table, subjects)} {told_absent(absent or {})}".strip()
    style.foot_legend(figure, handles, 2, note)
    return figure


def _panel(ax: Axes, part: pl.DataFrame, features: list[str], color: str) -> None:
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    for place, feature in enumerate(features):
        one = part.filter(feature=feature).sort("subject")
        if one.is_empty():  # frozen
            continue
        mean, sd = one["population_mean"][0], one["population_sd"][0]
        for reach in (2, 1):
            box = ([place - HALF, place + HALF], mean - reach * sd, mean + reach * sd)
            ax.fill_between(*box, color=color, alpha=0.16, lw=0)
        ax.plot([place - HALF, place + HALF], [mean, mean], color=style.INK, lw=1.8, zorder=2)
        at = place + np.linspace(-0.8, 0.8, one.height + 2)[1:-1] * HALF
        ax.plot(at, one["own_estimate"], "o", color=color, ms=3.2, mfc="none", mew=0.7, zorder=3)
        error = one["se"].fill_null(0.0)
        ax.errorbar(
            at, one["estimate"], error, fmt="o", color=color, ms=3.2, elinewidth=0.8, zorder=4
        )


def _gain(table: pl.DataFrame, subjects: int) -> str:
    """What shrinking gained, in a sentence."""
    gains = table.unique("subject")["heldout_gain"].drop_nulls()
    who = f"{subjects} subject{'s'[: subjects > 1]}."
    if gains.is_empty():
        return who
    mean = float(gains.to_numpy().mean())
    return (
        f"{who} Held-out gain over the fits with ordinary priors: {mean:+.4f} bits per trial in "
        f"the mean, above zero in {int((gains > 0).sum())} of {len(gains)}."
    )
