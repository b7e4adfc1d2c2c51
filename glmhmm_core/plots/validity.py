"""Whether a subject's states can be trusted: predictive checks, recovery, and what states do."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import Absent, told_absent

SIMULATED = "#9ecae1"
#: Checks of the whole model, drawn as distributions: statistic and title.
PANELS = (
    ("share_switching", "Sessions with\na switch (share)"),
    ("switches_per_session", "Switches per\nsession (mean)"),
    ("switches_variance", "Switches per\nsession (variance)"),
)


@style.styled
def predictive_checks(checks: pl.DataFrame) -> Figure:
    """The data beside what the model simulates: switches, runs, halves of sessions, repetition.

    Parameters
    ----------
    checks
        ``predictive_checks`` of one subject's model, with the names of its states.
    """
    figure = style.new_figure(5.8)
    num_states = checks["num_states"][0]
    style.head(figure, checks["subject"][0], f"predictive checks, {style.models(num_states)}")
    grid = figure.add_gridspec(2, 6)
    for i, (statistic, title) in enumerate(PANELS):
        ax = figure.add_subplot(grid[0, 2 * i : 2 * i + 2])
        row = checks.filter(statistic=statistic).row(0, named=True)
        ax.set_title(title)
        if num_states == 1 or row["simulated"] is None:
            style.say(ax, "One state\nnever switches." if num_states == 1 else "Not defined.")
            continue
        distribution(ax, row)
        ax.set_xlabel(f"p = {row['p_value']:.2g}", color=_color(row["fails"]))
        if i == 0:
            ax.set_ylabel("Simulations")
    _runs(figure.add_subplot(grid[1, :2]), checks)
    _rises(figure.add_subplot(grid[1, 2:4]), checks)
    _repetition(figure.add_subplot(grid[1, 4:]), checks)
    undefined = checks.filter(pl.col("state_rank").is_not_null() & pl.col("simulated").is_null())
    handles: list[Line2D | Patch] = _handles()
    if num_states > 1 and not undefined.is_empty():
        label = "never in it, in data or simulations"
        handles.append(Line2D([], [], color=style.QUIET, marker="x", ls="", label=label))
    note = (
        "States are decoded alike in data and simulations. Decoded runs are longer than the dwell, "
        "and sessions' ends cut them off."
    )
    style.foot_legend(figure, handles, 2, note if num_states > 1 else "")
    return figure


def _handles() -> list[Line2D | Patch]:
    return [
        Patch(color=SIMULATED, label="simulated (95 %)"),
        Line2D([], [], color=style.INK, marker="o", ls="", label="data"),
        Line2D([], [], color=style.ALARM, marker="o", ls="", label="data outside 95 %"),
    ]


def _color(fails: bool | None) -> str:
    return style.ALARM if fails else style.INK


def distribution(ax: Axes, row: dict) -> None:
    """Draw a check's simulations as a histogram, and the data as a line."""
    values = np.array([v for v in row["simulations"] if v is not None])
    whole = np.unique(values)
    bins = 20 if len(whole) > 20 else max(len(whole), 5)
    ax.hist(values, bins=bins, color=SIMULATED)
    ax.axvline(row["data"], color=_color(row["fails"]), lw=2)
    ax.plot(row["data"], 0, color=_color(row["fails"]), marker="o", clip_on=False, zorder=4)
    ax.locator_params(nbins=4)


def _runs(ax: Axes, checks: pl.DataFrame) -> None:
    """Mean runs of the decoded states, and of one choice."""
    runs = checks.filter(statistic="run_mean").sort("state_rank")
    if checks["num_states"][0] == 1:
        runs = runs.clear()  # as long as sessions are, in data and simulation
    choices = checks.filter(statistic="choice_run_mean")
    _bars(ax, pl.concat([runs, choices]))
    ax.set_ylim(0)
    ax.set_title("Mean length of\ndecoded runs")
    ax.set_ylabel("Trials")


def _rises(ax: Axes, checks: pl.DataFrame) -> None:
    """By how much each state is occupied more in the later halves of sessions."""
    ax.set_title("Occupancy, later\nless earlier half")
    if checks["num_states"][0] == 1:
        style.say(ax, "One state\nis always there.")
        return
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    _bars(ax, checks.filter(statistic="occupancy_rise").sort("state_rank"))
    ax.set_ylabel("Share of trials")


def _bars(ax: Axes, table: pl.DataFrame) -> None:
    """The data over the simulations' interval, by state; a cross where there is none of either."""
    for i, row in enumerate(table.iter_rows(named=True)):
        if row["simulated"] is None:
            ax.plot(i, 0.04, color=style.QUIET, marker="x", transform=ax.get_xaxis_transform())
            continue
        ax.plot([i, i], [row["lower"], row["upper"]], color=SIMULATED, lw=9, solid_capstyle="butt")
        ax.plot(i, row["data"], color=_color(row["fails"]), marker="o", zorder=4)
    names = [style.plain(row["state_label"] or "one choice") for row in table.iter_rows(named=True)]
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_xlim(-0.6, max(len(names), 1) - 0.4)
    ax.locator_params(axis="y", nbins=5)


def _repetition(ax: Axes, checks: pl.DataFrame) -> None:
    rows = checks.filter(statistic="choice_autocorrelation").drop_nulls("simulated").sort("lag")
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    place = np.arange(rows.height)
    ax.fill_between(place, rows["lower"], rows["upper"], color=SIMULATED, lw=0)
    ax.plot(place, rows["data"], color=style.INK, lw=1)
    for i, row in enumerate(rows.iter_rows(named=True)):
        ax.plot(i, row["data"], color=_color(row["fails"]), marker="o", zorder=4)
    ax.set_xticks(place, [str(lag) for lag in rows["lag"]])
    ax.set_xlabel("Lag (trials)")
    ax.set_title("Repetition\nof choices")
    ax.set_ylabel("Above chance")


@style.styled
def parameter_recovery(recovered: pl.DataFrame) -> Figure:
    """Fitted parameters against those refitted to simulated data, and how well states decode.

    Parameters
    ----------
    recovered
        ``recovery_table`` of one subject's model, with the names of its states.
    """
    num_states = recovered["num_states"][0]
    figure = style.new_figure(3.4)
    style.head(figure, recovered["subject"][0], f"recovery, {style.models(num_states)}")
    left, middle, right = figure.subplots(1, 3)
    known = recovered.drop_nulls("se")
    panels = ((left, "weight", "Weights"), (middle, "transition", "Log-odds of leaving"))
    for ax, parameter, title in panels:
        ax.set_title(title)
        part = known.filter(parameter=parameter)
        if part.is_empty():
            style.say(ax, "Nothing to recover.")
            continue
        _against(ax, part)
    _decoding(right, recovered)
    states = style.states_of(recovered.drop_nulls("state_rank"))
    handles = style.state_handles(states, line=False)
    if not _good(recovered).all():
        label = "not converged, or other states"
        handles.append(Line2D([], [], color=style.ALARM, marker="X", ls="", label=label))
    style.foot_legend(figure, handles, 3)
    return figure


def _against(ax: Axes, part: pl.DataFrame) -> None:
    ends = _ends(np.concatenate([part["truth"], part["estimate"]]))
    ax.plot(ends, ends, color=style.FAINT, lw=0.8, zorder=0)
    for rank, _, color in style.states_of(part):
        here = part.filter(state_rank=rank)
        ax.errorbar(
            here["truth"],
            here["estimate"],
            1.96 * here["se"].to_numpy(),
            color=color,
            ls="",
            marker=style.marker(rank),
            ms=3.5,
            elinewidth=0.6,
            alpha=0.7,
        )
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.set_xlabel("Fitted")
    ax.set_ylabel("Refitted (95 %)")
    ax.locator_params(nbins=4)


def _decoding(ax: Axes, recovered: pl.DataFrame) -> None:
    rows = recovered.unique("simulation").sort("simulation")
    place = np.arange(rows.height)
    ceiling = 100 * rows["ceiling"].to_numpy()
    ax.plot(place, ceiling, color=style.QUIET, ls="", marker="_", ms=14, mew=1.5)
    good = _good(rows).to_numpy()
    decoded = 100 * rows["decoded"].to_numpy()
    ax.plot(place[good], decoded[good], color=style.INK, ls="", marker="o")
    ax.plot(place[~good], decoded[~good], color=style.ALARM, ls="", marker="X")
    low = float(min(decoded.min(), ceiling.min()))
    ax.set_ylim(max(0.0, low - 5), 101)
    ax.set_xlim(-0.6, rows.height - 0.4)
    ax.set_xticks(place, [str(i + 1) for i in place] if rows.height <= 12 else [""] * len(place))
    ax.set_title("States decoded")
    ax.set_xlabel("Simulation\n(–: with the truth)")
    ax.set_ylabel("% of trials")


def _good(recovered: pl.DataFrame) -> pl.Series:
    """Whether a refit converged, to states that are surely those that made the data."""
    return recovered["converged"] & ~recovered["ambiguous"]


@style.styled
def state_statistics(accuracy: pl.DataFrame, paths: pl.DataFrame) -> Figure:
    """What a subject does in each state, how much of the time, and how long states last.

    Parameters
    ----------
    accuracy
        ``accuracy_table`` of one subject.
    paths
        ``path_table`` of its model, with the names of its states.
    """
    num_states = paths["num_states"][0]
    figure = style.new_figure(4.3)
    style.head(figure, paths["subject"][0], f"accuracy and dwell, {style.models(num_states)}")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
    _accuracy(left, style.of_model(accuracy, num_states))
    of_states = paths.drop_nulls("state_rank").sort("state_rank")
    _interval(middle, of_states.filter(statistic="occupancy"), 100.0)
    middle.set_title("Occupancy")
    middle.set_ylabel("% of trials")
    middle.set_ylim(0)
    if num_states == 1:
        style.say(right, "The only state\nis never left.")
    else:
        _interval(right, of_states.filter(statistic="dwell"), 1.0)
        right.set_title("Dwell in paths")
        right.set_ylabel("Trials a departure")
        right.set_ylim(0)
    marks = (
        ("o", "weighted by the posterior, or over its paths, 95 %"),
        ("x", "trials of a posterior ≥ .9, or the decoded path: too regular, dwells too long"),
        ("D", "trials of a posterior ≥ .9 without the own choice"),
    )
    handles = [
        Line2D([], [], color=style.QUIET, marker=mark, mfc="white" if mark == "D" else None, ls="")
        for mark, _ in marks
    ]
    for handle, (_, label) in zip(handles, marks, strict=True):
        handle.set_label(label)
    style.foot_legend(figure, handles, 1)
    return figure


def _accuracy(ax: Axes, table: pl.DataFrame) -> None:
    table = table.sort("state_rank")
    for i, row in enumerate(table.iter_rows(named=True)):
        color = row["state_color"]
        if row["accuracy"] is not None:
            ax.vlines(i, 100 * row["lower"], 100 * row["upper"], color=color, lw=1.2)
            ax.plot(i, 100 * row["accuracy"], color=color, marker="o")
        for column, mark in (("accuracy_certain", "x"), ("accuracy_by_others", "D")):
            if row["state_rank"] >= 0 and row[column] is not None:
                ax.plot(i + 0.22, 100 * row[column], color=color, marker=mark, mfc="white", ms=4.5)
    _names(ax, table)
    ax.set_title("Accuracy")
    ax.set_ylabel("% correct")


def _interval(ax: Axes, rows: pl.DataFrame, factor: float) -> None:
    """Mean and interval over sampled paths of each state, and the most probable path's value."""
    for i, row in enumerate(rows.iter_rows(named=True)):
        color = row["state_color"]
        if row["mean"] is not None:
            ax.vlines(i, factor * row["lower"], factor * row["upper"], color=color, lw=1.2)
            ax.plot(i, factor * row["mean"], color=color, marker="o")
        if row["decoded"] is not None:
            ax.plot(i + 0.22, factor * row["decoded"], color=color, marker="x", ms=4.5)
    _names(ax, rows)


def _names(ax: Axes, rows: pl.DataFrame) -> None:
    labels = [style.plain(label, 16) for label in rows["state_label"]]
    ax.set_xticks(range(len(labels)), labels, rotation=90)
    ax.set_xlim(-0.5, len(labels) - 0.3)


@style.styled
def cohort_checks(
    checks: pl.DataFrame, summary: pl.DataFrame, cohort: str, absent: Absent | None = None
) -> Figure:
    """Data against simulation, a point per subject, of the checks of switching.

    Parameters
    ----------
    checks
        ``predictive_checks`` of the subjects, one below the other.
    summary
        ``cohort_checks`` of them.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    figure = style.new_figure(4.6)
    style.head(figure, cohort, "predictive checks")
    if checks["num_states"].max() == 1:
        style.say(figure.subplots(), "One state never switches.")
        return figure
    for ax, (statistic, title) in zip(figure.subplots(1, 3), PANELS, strict=True):
        ax.set_title(title)
        rows = checks.filter(statistic=statistic).drop_nulls("simulated")
        if rows.is_empty():
            style.say(ax, "Not defined.")
            continue
        _subjects(ax, rows)
        p = summary.filter(statistic=statistic).row(0, named=True)
        side = f"{p['below']} of {p['subjects']} below,\np = {p['p_value']:.2g}"
        ax.set_xlabel(f"Simulated\n{side}")
        ax.set_ylabel("Data")
    style.foot_legend(
        figure,
        [
            Line2D([], [], color=style.QUIET, label="95 % of simulations"),
            *_handles()[1:],
        ],
        3,
        told_absent(absent or {}),
    )
    return figure


def _subjects(ax: Axes, rows: pl.DataFrame) -> None:
    ends = _ends(np.concatenate([rows[name] for name in ("data", "lower", "upper")]))
    ax.plot(ends, ends, color=style.FAINT, lw=0.8, zorder=0)
    for row in rows.iter_rows(named=True):
        ax.hlines(row["data"], row["lower"], row["upper"], color=style.QUIET, lw=0.8)
        ax.plot(row["simulated"], row["data"], color=_color(row["fails"]), marker="o", ms=4)
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.locator_params(nbins=4)


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Ends of both axes that hold all values, with a margin."""
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 1e-3)
    return low - 0.08 * span, high + 0.08 * span
