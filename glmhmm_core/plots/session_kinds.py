"""Sessions of several kinds: which sessions are restless, and whether switching is told so."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from glmhmm_core.plots import style
from glmhmm_core.plots.validity import SIMULATED, distribution

#: Shades of gray, since colors are those of states.
RESTLESS, OTHER = style.INK, "#b0b0b0"
#: Checks beside the sessions, as distributions: statistic and title.
PANELS = (
    ("share_switching", "Sessions with\na switch (share)"),
    ("switches_variance", "Switches per\nsession (variance)"),
)


@style.styled
def session_kinds(sessions: pl.DataFrame, checks: pl.DataFrame | None) -> Figure:
    """How probably each session is of the most restless kind, and how often it switches.

    Parameters
    ----------
    sessions
        ``session_table`` of one subject.
    checks
        ``predictive_checks`` of the same model, drawn beside; None without any.
    """
    num_states = sessions["num_states"][0]
    kinds = [name for name in sessions.columns if name.startswith("p_kind_")]
    figure = style.new_figure(5.0)
    what = f"sessions of {len(kinds)} kinds, {style.models(num_states)}"
    style.head(figure, sessions["subject"][0], what)
    grid = figure.add_gridspec(2, 3)
    wide = 2 if checks is not None else 3
    above = figure.add_subplot(grid[0, :wide])
    below = figure.add_subplot(grid[1, :wide], sharex=above)
    above.tick_params(labelbottom=False)
    place, probable = np.arange(1, sessions.height + 1), sessions[kinds[-1]].to_numpy()
    switches = sessions["num_switches"].to_numpy()
    above.bar(place, probable, width=1.0, color=RESTLESS, lw=0)
    above.set_ylim(0, 1)
    above.set_title("Probability that it is restless")
    for chosen, color in ((probable <= 0.5, OTHER), (probable > 0.5, RESTLESS)):
        below.plot(place[chosen], switches[chosen], ls="", marker="o", ms=3.5, color=color)
    below.set_title("Switches between decoded states")
    above.set_ylabel("Probability")
    below.set_ylabel("Switches")
    below.set_xlabel("Session")
    style.integer_axis(below, [1, sessions.height])
    below.set_xlim(0.4, max(sessions.height, 2) + 0.6)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.set_ylim(-0.05 * max(switches.max(), 1), 1.08 * max(switches.max(), 1))
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=RESTLESS, marker="o", ls="", ms=4, label="restless session"),
        Line2D([], [], color=OTHER, marker="o", ls="", ms=4, label="other session"),
    ]
    if checks is not None:
        for row, (statistic, title) in enumerate(PANELS):
            ax = figure.add_subplot(grid[row, 2])
            ax.set_title(title)
            values = checks.filter(statistic=statistic).row(0, named=True)
            if values["simulated"] is None:
                style.say(ax, "Not defined.")
                continue
            distribution(ax, values)
            ax.locator_params(axis="y", nbins=2)
            ax.set_xlabel(f"p = {values['p_value']:.2g}")
            ax.set_ylabel("Simulations")
        handles += [
            Patch(color=SIMULATED, label="simulated data sets"),
            Line2D([], [], color=style.INK, marker="o", label="data (red outside 95 %)"),
        ]
    style.foot_legend(figure, handles, 2)
    return figure
