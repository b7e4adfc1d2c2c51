"""How states follow each other: transition matrix and expected dwell of one subject."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glmhmm_core.plots import style


@style.styled
def transition_matrix(transitions: pl.DataFrame, num_states: int) -> Figure:
    """Annotated transition probabilities with the law of the first state and expected dwell.

    The dwell is that of the transition matrix. A state that lasts longer than sessions do is
    marked: its dwell is extrapolated.

    Parameters
    ----------
    transitions
        ``transition_table`` of one subject.
    num_states
        Which model.
    """
    table = style.of_model(transitions, num_states)
    targets = (
        table.select("target_rank", "target_label", "target_color").unique().sort("target_rank")
    )
    names, colors = targets["target_label"].to_list(), targets["target_color"].to_list()
    start = table.filter(pl.col("source_idx").is_null()).sort("target_rank")["probability"]
    inner = table.drop_nulls("source_idx").sort("source_rank", "target_rank")
    matrix = inner["probability"].to_numpy().reshape(num_states, num_states)
    dwell = inner.group_by("source_rank").agg(pl.col("source_dwell").first()).sort("source_rank")
    size = 0.62 * num_states
    figure = style.new_figure(2.1 + size + 0.4, 4.2 + 1.15 * size)
    grid = figure.add_gridspec(
        2, 2, height_ratios=[1, num_states], width_ratios=[num_states * 1.1, 2.2]
    )
    first = figure.add_subplot(grid[0, 0])
    ax = figure.add_subplot(grid[1, 0])
    bars = figure.add_subplot(grid[1, 1])
    heat(first, start.to_numpy()[None], ["session start"], names)
    first.tick_params(labelbottom=False)
    heat(ax, matrix, names, names)
    for ticks in (ax.get_yticklabels(), ax.get_xticklabels()):
        for tick, color in zip(ticks, colors, strict=True):
            tick.set_color(color)
            tick.set_fontweight("bold")
    ax.set_xlabel("State on the next trial")
    ax.set_ylabel("State on this trial")
    session = float(table["session_trials"][0])
    _dwell_bars(bars, dwell["source_dwell"].to_list(), colors, session)
    note = "Dwell: 1 / (1 − P(stay)), as if sessions had no end."
    if any(d is not None and d > session for d in dwell["source_dwell"]):
        note += f" *: longer than sessions ({session:.0f} trials, median), whose ends cut most off."
    what = f"state transitions, {style.models(num_states)}"
    style.head(figure, table["subject"][0], what, note)
    return figure


def heat(ax: Axes, matrix: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """An annotated heat map of probabilities."""
    ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1.15, aspect="auto")
    for (i, j), p in np.ndenumerate(matrix):
        text = f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"
        ax.text(j, i, text, ha="center", va="center", color="white" if p > 0.6 else style.INK)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(len(columns)), [style.folded(name) for name in columns])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _dwell_bars(ax: Axes, dwell: list[float | None], colors: list[str], session: float) -> None:
    known = [d if d is not None else 0.0 for d in dwell]
    if not any(known):
        style.say(ax, "never left")
        return
    ax.barh(range(len(dwell)), known, color=colors, height=0.6)
    for i, d in enumerate(dwell):
        mark = "*" if d is not None and d > session else ""
        ax.text(known[i], i, "  never left" if d is None else f" {d:.1f}{mark}", va="center")
    ax.set_ylim(len(dwell) - 0.5, -0.5)
    ax.set_xlim(0, 1.35 * max([*known, 1.0]))
    ax.set_yticks([])
    ax.set_xlabel("Expected dwell\n(trials)")
