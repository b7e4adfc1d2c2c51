"""How often the subjects of a cohort lapse."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import some

#: What stands above the names of a kind's rates, in the order of panels.
TITLES = {
    "class_1": "Lapses to",
    "class": "Lapses to",
    "history": "Lapses that",
    "history_conditioned": "Lapses that",
}
#: A subject whose rates are all below this is said to have none.
NONE = 0.001


@style.styled
def lapse_rates(table: pl.DataFrame, cohort: str) -> Figure:
    """Lapse rates of every subject, a line each, over the cohort's quartiles.

    A panel per kind of lapse. Subjects that never lapse count like all others.

    Parameters
    ----------
    table
        ``lapse_table`` of one kind, or of several, one below the other.
    cohort
        Name of the cohort, for the title.

    Raises
    ------
    ValueError
        If the table has no rows.
    """
    if table.is_empty():
        raise ValueError("no lapse rate in the table")
    kinds = [kind for kind in TITLES if kind in table["lapse"]]
    rates = [table.filter(lapse=kind)["rate_idx"].n_unique() for kind in kinds]
    upright = max(rates) > style.MANY_FEATURES or "history_conditioned" in kinds
    width = min(max(4.8, 1.2 + sum(0.6 + 0.55 * n for n in rates)), style.WIDEST)
    figure = style.new_figure(4.4 if upright else 3.6, width)
    axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True, width_ratios=rates)[0]
    for ax, kind in zip(axes, kinds, strict=True):
        _panel(ax, table.filter(lapse=kind), upright)
        ax.set_title(TITLES[kind])
    axes[0].set_ylabel("Lapse rate")
    axes[0].set_ylim(bottom=-0.01 * axes[0].get_ylim()[1])
    style.head(figure, cohort, "lapse rates")
    handles = [
        Patch(facecolor=style.FAINT, alpha=0.5, edgecolor=style.INK, label="quartiles, median"),
        Line2D([], [], color=style.QUIET, marker="o", ms=3, lw=0.8, label="one subject"),
    ]
    style.foot_legend(figure, handles, 2, _note(table))
    return figure


def _panel(ax: Axes, part: pl.DataFrame, upright: bool) -> None:
    names = part.select("rate_idx", "name").unique().sort("rate_idx")["name"].to_list()
    wide = part.pivot(on="rate_idx", index="subject", values="rate", sort_columns=True)
    values = wide.drop("subject").to_numpy()
    place = np.arange(len(names))
    if len(values) > 1:
        box = ax.boxplot(
            values,
            positions=place,
            widths=0.5,
            whis=0,
            showcaps=False,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            zorder=1,
        )
        for patch in box["boxes"]:
            patch.set(facecolor=style.FAINT, alpha=0.5, edgecolor=style.INK, lw=0.8)
        for median in box["medians"]:
            median.set(color=style.INK, lw=1.8)
    ax.plot(
        place,
        values.T,
        color=style.QUIET,
        marker="o",
        ms=3,
        lw=0.8,
        alpha=max(0.3, style.alpha(len(values))),
        clip_on=False,
        zorder=3,
    )
    ticks = ["\n".join(style.short(part, 18) for part in _lines(name)) for name in names]
    ax.set_xticks(place, ticks, rotation=90 if upright else 0)
    ax.set_xlim(-0.5, len(names) - 0.5)


def _lines(name: str) -> list[str]:
    """A rate's name, the earlier choice on a line of its own."""
    act, after, choice = name.partition(" after ")
    return [act, f"after {choice}"] if after else [act]


def _note(table: pl.DataFrame) -> str:
    """How many subjects there are, how many never lapse, and whose fits did not converge."""
    most = table.group_by("subject").agg(pl.col("rate").max())
    never, total = int((most["rate"] < NONE).sum()), most.height
    told = [f"{total} subject{'s'[: total > 1]}, of which {never} never lapse{'s'[: never == 1]}."]
    lost = table.filter(~pl.col("converged"))["subject"].unique().sort().to_list()
    if lost:
        told.append(f"Not converged: {some(lost)}.")
    return " ".join(told)
