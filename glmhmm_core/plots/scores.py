"""How many states: held-out bits per trial against the number of states, of one subject."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.tables.scores import fold_means

MEAN = "#1f5a96"


@style.styled
def heldout_bits(folds: pl.DataFrame, subject: str) -> Figure:
    """Held-out bits per trial and their gain over one state, with every fold.

    Lines join the same fold's held-out sessions. Means are weighted by trials; bars are one
    standard error over folds.

    Parameters
    ----------
    folds
        ``fold_table`` of one subject; without rows the figure says so.
    subject
        Name for the title.
    """
    figure = style.new_figure(3.6)
    style.head(figure, subject, "held-out bits per trial")
    if folds.is_empty():
        style.say(figure.subplots(), "No sessions were held out.")
        return figure
    summary = fold_means(folds)
    left, right = figure.subplots(1, 2)
    _panel(left, folds, summary, ("heldout_bits_per_trial", "heldout_bits_se"))
    left.set_title("Over the frequency of choices")
    left.set_ylabel("Bits per trial")
    if folds["heldout_gain"].is_null().all():
        style.say(right, "No model of one state\nto compare with.")
    else:
        right.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
        _panel(right, folds, summary, ("heldout_gain", "heldout_gain_se"))
        right.set_title("Gain over one state, by fold")
        right.set_ylabel("Bits per trial")
    style.foot_legend(figure, _handles("fold", bool(folds["converged"].all())), 3)
    return figure


def _panel(ax: Axes, folds: pl.DataFrame, summary: pl.DataFrame, columns: tuple[str, str]) -> None:
    value, error = columns
    known = folds.drop_nulls(value).sort("num_states")
    for (_,), fold in known.group_by("fold_index", maintain_order=True):
        ax.plot(fold["num_states"], fold[value], color=style.FAINT, marker="o", ms=3.5, lw=1)
    bad = known.filter(~pl.col("converged"))
    ax.plot(bad["num_states"], bad[value], ls="", marker="X", color=style.ALARM, ms=5)
    means(ax, summary.drop_nulls(value).sort("num_states"), (value, error))


def means(ax: Axes, table: pl.DataFrame, columns: tuple[str, str]) -> None:
    """Means with standard errors against the number of states."""
    value, error = columns
    ax.errorbar(
        table["num_states"].to_numpy(),
        table[value].to_numpy(),
        table[error].fill_null(0.0).to_numpy(),
        color=MEAN,
        marker="o",
        lw=1.8,
        ms=6,
        mec="white",
        mew=0.7,
        zorder=3,
    )
    ax.set_xlabel("Number of states")
    style.integer_axis(ax, table["num_states"].to_list())


def _handles(one: str, converged: bool) -> list[Line2D]:
    handles = [
        Line2D([], [], color=MEAN, marker="o", lw=2, label="mean ± standard error"),
        Line2D([], [], color=style.FAINT, marker="o", ms=4, lw=1, label=f"one {one}"),
    ]
    if not converged:
        handles.append(
            Line2D([], [], ls="", marker="X", color=style.ALARM, ms=5, label="not converged")
        )
    return handles
