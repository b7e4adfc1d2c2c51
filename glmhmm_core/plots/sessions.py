"""What happened in a session: state posteriors trial by trial, with the choices."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style

CORRECT = "#4d4d4d"
ERROR = "#d7191c"
UNKNOWN = "#9a9a9a"


def example_sessions(trials: pl.DataFrame, count: int = 3) -> list[str]:
    """Sessions spread evenly from the first to the last, in the table's order."""
    sessions = trials["session"].unique(maintain_order=True).to_list()
    count = min(count, len(sessions))
    if count == 1:
        return [sessions[len(sessions) // 2]]
    return [sessions[round(i * (len(sessions) - 1) / (count - 1))] for i in range(count)]


@style.styled
def session_posteriors(
    trials: pl.DataFrame,
    states: pl.DataFrame,
    num_states: int,
    sessions: Sequence[str] | None = None,
) -> Figure:
    """Smoothed state posteriors over example sessions, with every choice as a tick above.

    Parameters
    ----------
    trials
        ``trial_table`` of one subject.
    states
        ``state_table`` of the same subject.
    num_states
        Which model.
    sessions
        Which sessions; three spread over the subject's sessions if not given.
    """
    table = style.of_model(trials, num_states)
    chosen = list(sessions) if sessions is not None else example_sessions(table)
    named = style.of_model(states, num_states).sort("state_rank")
    choices = [c.removeprefix("p_choice_") for c in table.columns if c.startswith("p_choice_")]
    raster = 0.2 + 0.18 * len(choices)
    legend = 0.2 * -(-(num_states + 4) // 4)
    figure = style.new_figure(0.8 + legend + (1.5 + raster) * len(chosen))
    grid = figure.add_gridspec(2 * len(chosen), 1, height_ratios=[raster, 1.3] * len(chosen))
    seen: set[str] = set()
    for i, session in enumerate(chosen):
        rows = table.filter(session=session).sort("trial")
        above = figure.add_subplot(grid[2 * i])
        below = figure.add_subplot(grid[2 * i + 1], sharex=above)
        seen |= _choices(above, rows, choices)
        _posteriors(below, rows, named)
        above.set_title(_caption(session, rows))
    below.set_xlabel("Trial of the session")
    style.head(
        figure, table["subject"][0], f"state posteriors in sessions, {style.models(num_states)}"
    )
    style.foot_legend(figure, [*_state_lines(named), *_ticks(seen)], 4)
    return figure


def _posteriors(ax: Axes, rows: pl.DataFrame, states: pl.DataFrame) -> None:
    for state_idx, color in states.select("state_idx", "state_color").rows():
        p = rows[f"p_state_{state_idx}"]
        ax.fill_between(rows["trial"], p, color=color, alpha=0.16, lw=0)
        ax.plot(rows["trial"], p, color=color, lw=1.3)
    ax.set_ylim(0, 1.02)
    ax.set_yticks([0, 0.5, 1])
    ax.set_ylabel("P(state)")
    ax.set_xlim(rows["trial"][0] - 0.7, rows["trial"][-1] + 0.7)


def _choices(ax: Axes, rows: pl.DataFrame, choices: list[str]) -> set[str]:
    """Ticks of the choices, a line per class; the kinds of tick that occur."""
    counted = rows.filter(pl.col("choice").is_not_null() & ~pl.col("masked"))
    missing = rows.filter(pl.col("choice").is_null() | pl.col("masked"))
    seen = set()
    width = max(0.5, min(1.3, 130 / max(rows.height, 1)))
    for kind, color, part in (
        ("correct", CORRECT, counted.filter(pl.col("correct"))),
        ("error", ERROR, counted.filter(~pl.col("correct"))),
        ("outcome unknown", UNKNOWN, counted.filter(pl.col("correct").is_null())),
    ):
        if part.height:
            y = part["choice"]
            ax.vlines(part["trial"], y - 0.36, y + 0.36, color=color, lw=width)
            seen.add(kind)
    if missing.height:
        middle = (len(choices) - 1) / 2
        ax.plot(
            missing["trial"],
            [middle] * missing.height,
            ls="",
            marker="o",
            ms=3.2,
            mfc="none",
            mec=style.INK,
            mew=0.8,
        )
        seen.add("no choice")
    ax.set_ylim(-0.55, len(choices) - 0.45)
    ax.set_yticks(range(len(choices)), [style.short(name, 12) for name in choices])
    ax.tick_params(length=0, labelbottom=False, labelsize=6.5)
    ax.xaxis.set_visible(False)  # it is that of the panel below
    ax.spines[:].set_visible(False)
    return seen


def _caption(session: str, rows: pl.DataFrame) -> str:
    outcome = rows.filter(~pl.col("masked"))["correct"].drop_nulls()
    rate = f", {100 * outcome.sum() / len(outcome):.0f} % correct" if len(outcome) else ""
    return f"Session {style.short(session, 36)}: {rows.height} trials{rate}"


def _state_lines(states: pl.DataFrame) -> list[Line2D]:
    return [
        Line2D([], [], color=color, lw=2.5, label=label)
        for label, color in states.select("state_label", "state_color").rows()
    ]


def _ticks(seen: set[str]) -> list[Line2D]:
    looks: dict[str, Any] = {
        "correct": {"marker": "|", "mec": CORRECT, "mew": 1.4, "ms": 9},
        "error": {"marker": "|", "mec": ERROR, "mew": 1.4, "ms": 9},
        "outcome unknown": {"marker": "|", "mec": UNKNOWN, "mew": 1.4, "ms": 9},
        "no choice": {"marker": "o", "mec": style.INK, "mfc": "none", "ms": 4},
    }
    return [
        Line2D([], [], ls="", label=kind, **look) for kind, look in looks.items() if kind in seen
    ]
