"""Choices against the stimulus, by state: data and model of one subject."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style

CLASS_COLORS = ("#01665e", "#8c8c8c", "#aa4499", "#222222", "#88ccee")
FEW = 5  # effective trials below which a point is drawn hollow


@style.styled
def psychometric_by_state(
    psychometrics: pl.DataFrame, num_states: int, stimulus_label: str = "Stimulus"
) -> Figure:
    """Share of choices against the stimulus: points with 95 % intervals, and the model's curve.

    Crosses are the trials that the other choices alone put into the state for certain.

    Of two choices the second alone is shown, in the state's color; of more all, by color.

    Parameters
    ----------
    psychometrics
        ``psychometric_table`` of one subject.
    num_states
        Which model.
    stimulus_label
        What the x axis is called, with its unit.
    """
    table = style.of_model(psychometrics, num_states)
    names = table.select("class_idx", "class_name").unique().sort("class_idx").rows()
    panels = style.states_of(table)
    if num_states == 1:
        panels = panels[:1]
    rows, columns = style.grid_of(len(panels), 4)
    figure = style.new_figure(1.1 + 2.0 * rows, max(4.6, 0.6 + min(2.0 * columns, 7.0)))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, (rank, label, color) in zip(axes.flat, panels, strict=False):
        shown = table.filter(state_rank=rank)
        ax.axhline(0.5 if len(names) == 2 else 1 / len(names), color=style.FAINT, lw=0.7, zorder=0)
        ax.axvline(0, color=style.FAINT, lw=0.7, zorder=0)
        if len(names) == 2:
            curve(ax, shown.filter(class_idx=names[1][0]), color, style.MARKERS[0])
        else:
            for i, (class_idx, _) in enumerate(names):
                curve(ax, shown.filter(class_idx=class_idx), CLASS_COLORS[i % 5], style.marker(i))
        ax.set_title(label, color=color, fontweight="bold")
    axes[0, 0].set_ylim(-0.03, 1.03)
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    what = f"P({names[1][1]})" if len(names) == 2 else "P(choice)"
    for ax in axes[:, 0]:
        ax.set_ylabel(what)
    crosses = "\n× trials that all choices but their own put there (≥ .9)"
    below = style.opening(stimulus_label) + (crosses if num_states > 1 else "")
    figure.supxlabel(below, fontsize=9)
    style.head(figure, table["subject"][0], f"psychometric curves, {style.models(num_states)}")
    if len(names) > 2:
        style.side_legend(
            figure,
            [
                Line2D([], [], color=CLASS_COLORS[i % 5], marker=style.marker(i), label=name)
                for i, (_, name) in enumerate(names)
            ],
        )
    return figure


def curve(ax: Axes, rows: pl.DataFrame, color: str, mark: str) -> None:
    """Points with intervals, and the model's line, of one class in one state."""
    data = rows.filter(kind="data").sort("stimulus")
    model = rows.filter(kind="model").sort("stimulus")
    ax.plot(model["stimulus"], model["probability"], color=color, lw=1.4, zorder=2)
    ax.vlines(data["stimulus"], data["lower"], data["upper"], color=color, lw=1, zorder=2.5)
    for thin, face in ((False, color), (True, "white")):
        part = data.filter((pl.col("effective_trials") < FEW) == thin)
        ax.plot(
            part["stimulus"],
            part["probability"],
            ls="",
            marker=mark,
            color=color,
            mfc=face,
            mec=color,
            ms=4.5,
            zorder=3,
        )
    fair = rows.filter(kind="data_by_others").sort("stimulus")
    ax.plot(fair["stimulus"], fair["probability"], ls="", marker="x", color=style.INK, ms=3.5)
