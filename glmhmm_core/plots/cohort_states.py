"""How the subjects of a cohort use their states: transitions, dwell, occupancy; and their gain."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import (
    NOTHING_SHARED,
    Absent,
    left_out,
    of_cohort,
    shown_labels,
    some,
    told_absent,
)
from glmhmm_core.plots.scores import MEAN, means
from glmhmm_core.plots.transitions import heat
from glmhmm_core.tables.cohort import over_subjects

NAMEABLE = 50  # subjects up to which their names stand below the bars
FEW = 10  # subjects from which bars take the whole width
HATCH = "////"
OTHER = "#8c8c8c"  # states of one subject alone, hatched


@style.styled
def cohort_transitions(
    transitions: pl.DataFrame,
    states: pl.DataFrame,
    num_states: int,
    cohort: str,
    absent: Absent | None = None,
) -> Figure:
    """Expected dwell of every subject's states, and the mean transition matrix.

    The matrix is the mean over the subjects that share the most frequent set of states.

    Parameters
    ----------
    transitions, states
        ``transition_table`` and ``state_table`` of the subjects, one below the other.
    num_states
        Which model, at least two states.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    table = of_cohort(states, num_states)
    labels = shown_labels(table)
    figure = style.new_figure(3.8, max(style.WIDTH, 4.0 + 1.2 * len(labels)))
    style.head(
        figure,
        cohort,
        f"state transitions, {style.models(num_states)}",
        left_out(table, labels, absent),
    )
    left, right = figure.subplots(1, 2)
    if num_states == 1 or not labels:
        alone = "The only state is never left."
        style.say(left, alone if num_states == 1 else NOTHING_SHARED)
        right.set_axis_off()
        return figure
    _strip(left, table, labels, "expected_dwell")
    left.set_yscale("log")
    low, high = left.get_ylim()
    left.set_ylim(low / 1.3, max(high * 1.3, 10 * low / 1.3))  # one decade at least
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    style.decades(left.yaxis)
    left.set_ylabel("Expected dwell (trials),\nas if sessions had no end")
    _stay_axis(left)
    _mean_matrix(right, of_cohort(transitions, num_states), labels)
    return figure


def _stay_axis(ax: Axes) -> None:
    """The same dwell as a probability of staying, on the right."""
    twin = ax.twinx()
    low, high = ax.get_ylim()
    stays = [p for p in (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998) if low < 1 / (1 - p) < high]
    twin.set_yscale("log")
    twin.set_ylim(low, high)
    twin.yaxis.set_minor_locator(NullLocator())
    twin.set_yticks([1 / (1 - p) for p in stays], [f"{p:g}".removeprefix("0") for p in stays])
    twin.spines["right"].set_visible(True)
    twin.set_ylabel("P(stay)")


def _mean_matrix(ax: Axes, transitions: pl.DataFrame, labels: list[str]) -> None:
    """Mean over the subjects that have the set of shared states that most subjects have."""
    own = transitions.drop_nulls("source_idx").filter(pl.col("target_match").is_in(labels))
    sets = own.group_by("subject").agg(pl.col("target_match").unique().sort())
    common = (
        sets.group_by("target_match")
        .agg("subject")
        .sort(pl.col("subject").list.len(), pl.col("target_match").list.len(), descending=True)
        .row(0, named=True)
    )
    shown = [label for label in labels if label in common["target_match"]]
    inner = own.filter(
        pl.col("subject").is_in(common["subject"]), pl.col("source_match").is_in(shown)
    )
    mean = over_subjects(inner, ["source_match", "target_match"], ["probability"])
    value = {
        (source, target): p
        for source, target, p in mean.select(
            "source_match", "target_match", "probability_mean"
        ).rows()
    }
    heat(ax, np.array([[value[i, j] for j in shown] for i in shown]), shown, shown)
    ax.set_xlabel("State on the next trial")
    ax.set_ylabel("State on this trial")
    count = len(common["subject"])
    ax.set_title("One subject" if count == 1 else f"Mean of {count} subjects")


@style.styled
def cohort_occupancy(
    states: pl.DataFrame, num_states: int, cohort: str, absent: Absent | None = None
) -> Figure:
    """Share of trials in each state: every subject as a bar, and by state.

    Parameters
    ----------
    states
        ``state_table`` of the subjects, one below the other.
    num_states
        Which model.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    table = of_cohort(states, num_states)
    labels = shown_labels(table)
    colors = dict(table.drop_nulls("state_match").select("state_match", "state_color").rows())
    subjects = _by_first_state(table, labels)
    width = max(style.WIDTH, min(9.5, 1.2 + 0.16 * len(subjects)))
    figure = style.new_figure(5.2, width)
    shares = [max(1.6, 0.5 * len(labels)), 1]
    grid = figure.add_gridspec(2, 2, height_ratios=[1.1, 1], width_ratios=shares)
    bars = figure.add_subplot(grid[0, :])
    strip, key = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    place = {subject: i for i, subject in enumerate(subjects)}
    bottom = np.zeros(len(subjects))
    for label in [*labels, None]:
        inside = pl.col("state_match").is_in(labels).fill_null(False)
        shown = pl.col("state_match") == label if label else ~inside
        for rank in sorted(table.filter(shown)["state_rank"].unique()):
            part = table.filter(shown, state_rank=rank)
            at = np.array([place[s] for s in part["subject"]])
            height = part["occupancy_soft"].to_numpy()
            look: dict[str, Any] = (
                {"color": colors[label], "ec": "white"}
                if label
                else {"color": "white", "ec": OTHER, "hatch": HATCH}
            )
            bars.bar(at, height, 0.9, bottom[at], lw=0.4, **look)
            bottom[at] += height
    bars.set_ylim(0, 1)
    bars.set_xlim(-0.6, max(len(subjects), FEW) - 0.4)
    bars.spines["bottom"].set_bounds(-0.6, len(subjects) - 0.4)
    bars.set_ylabel("Share of trials")
    if len(subjects) <= NAMEABLE:
        names = style.told_apart(subjects, 16)
        bars.set_xticks(range(len(subjects)), names, rotation=90, fontsize=7)
    else:
        bars.set_xticks([])
        bars.set_xlabel(f"{len(subjects)} subjects, sorted")
    if labels:
        _strip(strip, table, labels, "occupancy_soft", mean=True)
        strip.set_ylim(0, 1)
        strip.set_ylabel("Share of trials")
    else:
        strip.set_axis_off()
    what = f"state occupancy (mean posterior), {style.models(num_states)}"
    style.head(figure, cohort, what, left_out(table, labels, absent))
    patches = [Patch(color=colors[label], label=label) for label in labels]
    if set(table["state_match"]) - set(labels):
        patches.append(Patch(fc="white", ec=OTHER, hatch=HATCH, label="of one subject alone"))
    key.set_axis_off()
    key.legend(handles=patches, loc="center left")
    return figure


def _by_first_state(table: pl.DataFrame, labels: list[str]) -> list[str]:
    """Subjects by falling occupancy of the first shared state; those without it last."""
    first = table.filter(pl.col("state_match") == (labels[0] if labels else ""))
    everyone = table.select("subject").unique()
    joined = everyone.join(first.select("subject", "occupancy_soft"), on="subject", how="left")
    ordered = joined.sort(["occupancy_soft", "subject"], descending=[True, False], nulls_last=True)
    return ordered["subject"].to_list()


def _strip(
    ax: Axes, table: pl.DataFrame, labels: list[str], value: str, mean: bool = False
) -> None:
    """Every subject as a point per state; mean ± SE, or median and quartiles."""
    subjects = table["subject"].unique().sort().to_list()
    # Evenly spread, the same for a subject in every state: no chance in a figure.
    width = 0.5 if len(subjects) > 1 else 0.0
    shift = {s: width * ((i * 0.618034) % 1 - 0.5) for i, s in enumerate(subjects)}
    for x, label in enumerate(labels):
        part = table.filter(state_match=label).drop_nulls(value)
        if part.is_empty():
            continue
        at = [x + shift[s] for s in part["subject"]]
        ax.scatter(at, part[value], s=14, color=part["state_color"], alpha=0.55, lw=0, zorder=2)
        one = over_subjects(part, ["state_match"], [value]).row(0, named=True)
        center = one[f"{value}_mean"] if mean else one[f"{value}_median"]
        spread = one[f"{value}_se"] or 0.0
        low, high = (
            (center - spread, center + spread)
            if mean
            else (one[f"{value}_q25"], one[f"{value}_q75"])
        )
        ax.vlines(x, low, high, color=style.INK, lw=1.6, zorder=3)
        ax.plot(x, center, marker="_", color=style.INK, ms=17, mew=2, zorder=3)
        ax.annotate(
            f"{center:.2f}" if mean else f"{center:.0f}",
            (x + 0.3, center),
            va="center",
            fontsize=8,
        )
    size = 8 if len(labels) <= 4 else 7
    ax.set_xticks(range(len(labels)), [style.folded(label) for label in labels], fontsize=size)
    ax.set_xlim(-0.5, len(labels) - 0.3)
    ax.set_title("Mean ± standard error" if mean else "Median and quartiles")


@style.styled
def cohort_heldout_bits(scores: pl.DataFrame, cohort: str, absent: Absent | None = None) -> Figure:
    """Held-out gain over one state of every subject, with the mean over subjects.

    A fit that did not converge, or one of whose folds did not, has no part in it.

    Parameters
    ----------
    scores
        ``score_table`` of the subjects one below the other, or ``cohort_summary``.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    known, unfinished = _converged(scores.drop_nulls("heldout_gain").sort("num_states"))
    note = told_absent(absent or {})
    if not unfinished.is_empty():
        lost = (
            f"{len(unfinished)} subject{'s'[: len(unfinished) > 1]} ({some(unfinished.to_list())})"
        )
        note += f" Fits that did not converge are not in it: of {lost}."
    figure = style.new_figure(4.6 if note else 4.0, 5.8)
    style.head(figure, cohort, "held-out gain over one state")
    ax = figure.subplots()
    if known.is_empty():
        style.say(ax, "No sessions were held out, or no model has one state.")
        style.foot_legend(figure, [], 1, note.strip())
        return figure
    subjects = known["subject"].n_unique()
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    for (_,), one in known.group_by("subject", maintain_order=True):
        ax.plot(
            one["num_states"],
            one["heldout_gain"],
            color=style.QUIET,
            lw=0.8,
            alpha=style.alpha(subjects),
        )
    # Subjects that lack a model would make the mean jump where they leave it.
    full = known.filter(pl.len().over("subject") == known["num_states"].n_unique())
    table = over_subjects(full if full.height else known, ["num_states"], ["heldout_gain"])
    means(ax, table, ("heldout_gain_mean", "heldout_gain_se"))
    for num_states, mean, error in table.select(
        "num_states", "heldout_gain_mean", pl.col("heldout_gain_se").fill_null(0)
    ).rows():
        if num_states > 1:
            ax.annotate(
                f"{mean:+.3f}",
                (num_states, mean + error),
                (0, 5),
                textcoords="offset points",
                ha="center",
                color=MEAN,
                fontweight="bold",
                fontsize=8,
                bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.8},
                zorder=4,
            )
    ax.set_ylabel("Held-out bits per trial\nmore than one state")
    over = int(table["subjects"].to_numpy().min())
    which = f"{over} subject" if over == 1 else f"{over} subjects"
    which += "" if over == subjects else " with all models"
    handles = [
        Line2D([], [], color=style.QUIET, lw=0.8, label=f"one subject (of {subjects})"),
        Line2D([], [], color=MEAN, marker="o", lw=2, label=f"mean ± standard error of {which}"),
    ]
    style.foot_legend(figure, handles, 1, note.strip())
    return figure


def _converged(scores: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Scores of fits that converged in all folds, as what they gain over did; who lost some."""
    whole = scores.filter(pl.col("converged"), pl.col("folds_converged") == pl.col("folds"))
    whole = whole.filter(pl.col("num_states").min().over("subject") == 1)
    lost = scores.join(whole, on=["subject", "num_states"], how="anti")
    return whole, lost["subject"].unique().sort()
