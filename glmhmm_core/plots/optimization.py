"""How the fits were found: EM's objective over all restarts."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style

BEST = "#1f5a96"
LOWER = "#b0a18f"
FEW = 3  # restarts at the best below which an optimum is not to be trusted


@style.styled
def em_traces(restarts: pl.DataFrame) -> Figure:
    """EM traces of every restart, one panel per number of states.

    Each line is one restart's distance in nats below the best restart's end, on a log scale cut
    off well below the distance at which two ends count as one optimum (dashed). Panels say how
    many restarts reached the best.

    Parameters
    ----------
    restarts
        ``restart_table`` of one subject.
    """
    counts = restarts["num_states"].unique().sort().to_list()
    rows, columns = style.grid_of(len(counts), 3)
    figure = style.new_figure(1.4 + 2.0 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    floor = 10.0 ** np.floor(np.log10(restarts["same_optimum"].to_numpy().min()) - 2)
    for ax, num_states in zip(axes.flat, counts, strict=False):
        _panel(ax, style.of_model(restarts, num_states), num_states, floor)
    for ax in axes.flat[len(counts) :]:
        ax.set_axis_off()
    for column in range(columns):
        [ax for ax in axes[:, column] if ax.axison][-1].set_xlabel("Iteration")
    figure.supylabel("Objective below\nthe best (nats)", fontsize=9)
    axes[0, 0].set_ylim(floor / 2, None)
    style.decades(axes[0, 0].yaxis)
    style.head(figure, restarts["subject"][0], "EM traces of all restarts")
    style.foot_legend(figure, _handles(), 2)
    return figure


def _panel(ax: Axes, restarts: pl.DataFrame, num_states: int, floor: float) -> None:
    ends = restarts.sort("iteration").group_by("restart", maintain_order=True).last()
    for (_,), trace in restarts.sort("iteration").group_by("restart", maintain_order=True):
        reached = trace["reached_best"][0]
        below = trace["below_best"].clip(lower_bound=floor)
        ax.plot(
            trace["iteration"],
            below,
            color=BEST if reached else LOWER,
            lw=0.9,
            alpha=0.75,
            zorder=2 if reached else 1.5,
        )
        done = trace["converged"][0]
        ax.plot(
            trace["iteration"][-1],
            below[-1],
            marker="o" if done else "X",
            color=(BEST if reached else LOWER) if done else style.ALARM,
            mec="white",
            mew=0.5,
            ms=5 if done else 6.5,
            ls="",
            zorder=3,
            clip_on=False,
        )
    ax.axhline(restarts["same_optimum"][0], color=style.QUIET, lw=0.8, ls=(0, (4, 3)), zorder=1)
    ax.set_yscale("log")
    ax.set_xscale("symlog", linthresh=1, linscale=0.3)
    last = int(restarts["iteration"].to_numpy().max())
    ticks = [0, *(10**i for i in range(5) if 10**i <= 1.5 * last)]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xlim(0, max(last * 1.15, ticks[-1]))
    reached = int(ends["reached_best"].sum())
    ax.set_title(
        f"{style.models(num_states)}: {reached} of {ends.height}",
        color=style.ALARM if reached < min(FEW, ends.height) else style.INK,
    )


def _handles() -> list[Line2D]:
    return [
        Line2D([], [], color=BEST, label="reached the best (count above)"),
        Line2D([], [], color=LOWER, label="ended lower"),
        Line2D([], [], color=style.INK, marker="o", ls="", label="converged"),
        Line2D([], [], color=style.ALARM, marker="X", ls="", label="not converged"),
        Line2D([], [], color=style.QUIET, lw=0.8, ls=(0, (4, 3)), label="same optimum below this"),
    ]
