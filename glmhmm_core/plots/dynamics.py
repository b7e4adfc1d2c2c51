"""How a subject's states come and go, in four panels."""

from collections.abc import Callable

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style

#: Means over fewer changes or dwells than this are not drawn.
FEW = 3


@style.styled
def state_dynamics(
    occupancy: pl.DataFrame,
    trajectory: pl.DataFrame,
    changes: pl.DataFrame,
    dwells: pl.DataFrame,
    num_states: int,
) -> Figure:
    """States over sessions, over the trials of a session, around changes, and how long they last.

    Parameters
    ----------
    occupancy, trajectory, changes, dwells
        ``occupancy_table``, ``trajectory_table``, ``change_table`` and ``dwell_table`` of one
        subject.
    num_states
        Which model.
    """
    tables = [style.of_model(occupancy, num_states)]
    tables += [table.filter(num_states=num_states) for table in (trajectory, changes, dwells)]
    states = style.states_of(tables[0])
    figure = style.new_figure(5.6 + 0.2 * (-(-len(states) // 3)))
    axes = figure.subplots(2, 2)
    panels: list[Callable[[Axes, pl.DataFrame], None]]
    panels = [_occupancy, _trajectory, _changes, _dwells]
    for ax, panel, table in zip(axes.flat, panels, tables, strict=True):
        panel(ax, table)
    style.head(figure, tables[0]["subject"][0], f"coming and going, {style.models(num_states)}")
    lines = [
        Line2D([], [], color=color, marker=style.marker(rank), label=label)
        for rank, label, color in states
    ]
    kinds = [
        Line2D([], [], color=style.QUIET, label="into it; seen"),
        Line2D([], [], color=style.QUIET, ls="--", label="out of it"),
        Line2D([], [], color=style.QUIET, ls=":", label="predicted"),
    ]
    note = (
        "Bands: standard errors; of dwells, 95 % of paths of the model's chain, in which the line "
        "lies if the model holds. Dwells are of paths drawn from the posterior; one that a "
        "session's end cuts off is known to last that long. Changes are decoded. Means of fewer "
        f"than {FEW} are not drawn."
    )
    if num_states == 1:
        style.foot_legend(figure, lines, 3)
    else:
        style.foot_legend(figure, [*lines, *kinds], 3, note)
    return figure


def _occupancy(ax: Axes, table: pl.DataFrame) -> None:
    for rank, color, part in _by_state(table):
        many = part.height > 40
        ax.plot(
            part["session_idx"] + 1,
            part["occupancy"],
            color=color,
            marker=style.marker(rank),
            ms=2 if many else 3.5,
            lw=0.9,
        )
    ax.set_title("Occupancy by session")
    ax.set_xlabel("Session")
    ax.set_ylabel("Mean P(state)")
    ax.set_ylim(-0.03, 1.03)
    style.integer_axis(ax, [1, max(2, table["session"].n_unique())])


def _trajectory(ax: Axes, table: pl.DataFrame) -> None:
    enough = min(2, table["n_sessions"].max())  # type: ignore[type-var]
    width = np.diff(np.unique(table["first"])).min(initial=10)
    for _, color, part in _by_state(table.filter(pl.col("n_sessions") >= enough)):
        _band(ax, part["first"] + width / 2, part, color, "-")
    ax.set_title("Within a session")
    ax.set_xlabel("Trial of the session")
    ax.set_ylabel("Mean P(state) ± SE")
    ax.set_ylim(-0.03, 1.03)


def _changes(ax: Axes, table: pl.DataFrame) -> None:
    ax.set_title("Around changes")
    shown = table.filter(pl.col("n_changes") >= FEW)
    if shown.is_empty():
        style.say(ax, f"Fewer than {FEW} changes of state")
        return
    for _, color, part in _by_state(shown):
        for direction, dashes in (("into", "-"), ("out of", "--")):
            one = part.filter(direction=direction)
            _band(ax, one["relative_trial"], one, color, dashes)
    ax.axvline(0, color=style.FAINT, lw=0.8, zorder=0)
    ax.set_xlabel("Trials from the change")
    ax.set_ylabel("Mean P(state) ± SE")
    ax.set_ylim(-0.03, 1.03)


def _dwells(ax: Axes, table: pl.DataFrame) -> None:
    ax.set_title("Dwell: how long states last")
    shown = table.filter(pl.col("at_risk") >= FEW)
    if table["num_states"].max() == 1:
        style.say(ax, "The only state is never left.")
        return
    if shown.is_empty():
        style.say(ax, f"Fewer than {FEW} dwells in a state")
        return
    for _, color, part in _by_state(shown):
        known = part.drop_nulls("predicted_lower")
        ax.fill_between(
            known["trials"],
            known["predicted_lower"],
            known["predicted_upper"],
            color=color,
            alpha=0.15,
            lw=0,
        )
        ax.step(part["trials"], part["lasting"], color=color, where="post")
        ax.plot(part["trials"], part["predicted"], color=color, ls=":", lw=1.6)
    ax.set_xlabel("Trials")
    ax.set_ylabel("Share that lasts longer")
    ax.set_ylim(-0.03, 1.03)


def _band(ax: Axes, x: pl.Series, part: pl.DataFrame, color: str, dashes: str) -> None:
    """A mean with its standard error."""
    mean, error = part["probability"].to_numpy(), part["standard_error"].fill_null(0).to_numpy()
    ax.fill_between(x, mean - error, mean + error, color=color, alpha=0.15, lw=0)
    ax.plot(x, mean, color=color, ls=dashes)


def _by_state(table: pl.DataFrame) -> list[tuple[int, str, pl.DataFrame]]:
    return [
        (rank, color, table.filter(state_rank=rank)) for rank, _, color in style.states_of(table)
    ]
