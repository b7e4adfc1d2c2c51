"""What the states do in every subject of a cohort: weights and psychometric curves.

A panel per state that subjects share: one of the pooled fit, which their own states match, or one
that the rules describe where there is no pooled fit. States of one subject alone are left out of
these panels, and the figure says whose they are.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.states.labels import RULES
from glmhmm_core.tables.cohort import over_subjects, shared_names
from glmhmm_core.wording import first_of

ACROSS = 4  # panels side by side

#: Text in the place of panels if there are none.
NOTHING_SHARED = "No state is one that\nsubjects share."

#: Names of subjects that a figure leaves out, by reason, as ``tables.cohort.members`` gives them.
Absent = Mapping[str, Sequence[str]]


@style.styled
def cohort_weights(
    weights: pl.DataFrame, num_states: int, cohort: str, absent: Absent | None = None
) -> Figure:
    """Weights of all subjects (thin) over the cohort's mean (thick), by state.

    Parameters
    ----------
    weights
        ``weight_table`` of the subjects, one below the other.
    num_states
        Which model.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    table = of_cohort(weights, num_states)
    labels = shown_labels(table)
    classes = table.select("class_idx", "class_name").unique().sort("class_idx").rows()
    baseline = table["baseline_class_name"][0]
    features = style.features_of(table)
    many = len(features) > style.MANY_FEATURES
    rows, columns = style.grid_of(max(len(labels), 1), 1 if many else ACROSS)
    width = max(style.WIDTH, 1.2 + columns * (0.9 + 0.3 * len(features)))
    height = 1.5 + 2.3 * rows * len(classes) + (1.0 if many else 0.0)
    figure = style.new_figure(height, min(width, style.WIDEST))
    style.head(figure, cohort, f"weights, {style.models(num_states)}")
    if not labels:
        style.say(figure.subplots(), NOTHING_SHARED)
        style.foot_legend(figure, [], 1, left_out(table, labels, absent))
        return figure
    axes = _grid(figure, len(labels), len(classes), columns)
    for row, (class_idx, class_name) in enumerate(classes):
        for i, label in enumerate(labels):
            part = table.filter(state_match=label, class_idx=class_idx)
            _weights_panel(axes[row, i], part, features)
            if row == 0:
                panel_title(axes[row, i], label, part, table)
            if i % columns == 0:
                axes[row, i].set_ylabel(
                    f"Weight: log-odds of\n{style.plain(class_name)} over {style.plain(baseline)}"
                )
    for ax in axes[-1, -columns:]:
        style.name_features(ax, features, upright=True)
        ax.tick_params(labelbottom=True)
    note = f"{RULES if num_states > 1 else ''} {left_out(table, labels, absent)}".strip()
    style.foot_legend(figure, subject_handles(), 2, note)
    return figure


def _grid(figure: Figure, panels: int, classes: int, columns: int) -> np.ndarray:
    """Axes (classes, panels) on shared scales, so many panels side by side."""
    rows = -(-panels // columns)
    axes = figure.subplots(rows * classes, columns, squeeze=False, sharex=True, sharey=True)
    ordered = axes.reshape(rows, classes, columns).transpose(1, 0, 2).reshape(classes, -1)
    for ax in ordered[:, panels:].flat:
        ax.set_axis_off()
    return ordered[:, :panels]


def _weights_panel(ax: Axes, part: pl.DataFrame, features: list[str]) -> None:
    color, place = part["state_color"][0], np.arange(len(features))
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    wide = part.pivot(on="feature", index="subject", values="weight", maintain_order=True)
    ax.plot(
        place,
        wide.select(features).to_numpy().T,
        color=color,
        lw=0.8,
        alpha=style.alpha(wide.height),
    )
    mean = over_subjects(part, ["feature"], ["weight"])
    heights = [mean.filter(feature=f)["weight_mean"].item() for f in features]
    ax.plot(place, heights, color=style.INK, marker="o", lw=1.8, ms=4.5, mec="white", zorder=3)


@style.styled
def cohort_psychometrics(
    psychometrics: pl.DataFrame,
    num_states: int,
    cohort: str,
    stimulus_label: str = "Stimulus",
    absent: Absent | None = None,
) -> Figure:
    """Psychometric curves by state: every subject's model (thin), mean and SE of the data.

    A point stands at every stimulus that at least half of the subjects saw; where stimuli
    differ from subject to subject, at the mean place of each of their bins.

    Parameters
    ----------
    psychometrics
        ``psychometric_table`` of the subjects, one below the other.
    num_states
        Which model.
    cohort
        Name of the cohort, for the title.
    stimulus_label
        What the x axis is called, with its unit.
    absent
        Who is left out, to be counted on the figure.
    """
    table = of_cohort(psychometrics, num_states)
    labels = shown_labels(table)
    note = left_out(table, labels, absent)
    if num_states == 1:
        labels = labels[:1]  # all trials; the one state is the same
    classes = table.select("class_idx", "class_name").unique().sort("class_idx").rows()
    classes = classes[1:] if len(classes) == 2 else classes
    rows, columns = style.grid_of(len(labels), ACROSS)
    figure = style.new_figure(1.6 + 2.15 * rows * len(classes), max(5.0, 0.7 + 1.8 * columns))
    axes = _grid(figure, len(labels), len(classes), columns)
    for row, (class_idx, class_name) in enumerate(classes):
        for i, label in enumerate(labels):
            part = table.filter(state_match=label, class_idx=class_idx)
            _curve_panel(axes[row, i], part)
            if row == 0:
                panel_title(axes[row, i], label, part, table)
            if i % columns == 0:
                axes[row, i].set_ylabel(f"P({style.short(class_name, 14)})")
    axes[0, 0].set_ylim(-0.03, 1.03)
    for ax in axes[-1, -columns:]:
        ax.set_xlabel(textwrap.fill(style.opening(stimulus_label), 20))
        ax.tick_params(labelbottom=True)
    style.head(figure, cohort, f"psychometric curves, {style.models(num_states)}")
    handles = subject_handles("data: mean ± standard error")
    style.foot_legend(figure, handles, 2, note)
    return figure


def _curve_panel(ax: Axes, part: pl.DataFrame) -> None:
    color = part["state_color"][0]
    ax.axvline(0, color=style.FAINT, lw=0.7, zorder=0)
    ax.axhline(0.5, color=style.FAINT, lw=0.7, zorder=0)
    subjects = part["subject"].n_unique()
    model = part.filter(kind="model").sort("stimulus")
    for (_,), one in model.group_by("subject", maintain_order=True):
        ax.plot(
            one["stimulus"], one["probability"], color=color, lw=0.8, alpha=style.alpha(subjects)
        )
    points = mean_points(part.filter(kind="data"))
    ax.errorbar(
        points["stimulus_mean"],
        points["probability_mean"],
        points["probability_se"].fill_null(0.0),
        color=style.INK,
        ls="",
        marker="o",
        ms=3.8,
        mec="white",
        mew=0.5,
        elinewidth=1,
        zorder=3,
    )


def mean_points(data: pl.DataFrame) -> pl.DataFrame:
    """Mean points over subjects of one curve: by stimulus, or by bin where stimuli differ."""
    values = ["stimulus", "probability"]
    data = data.with_columns(level=pl.col("stimulus").round(6))
    by_level = over_subjects(data, ["level"], values)
    common = by_level.filter(pl.col("subjects") >= data["subject"].n_unique() / 2)
    return common if common.height > 1 else over_subjects(data, ["bin"], values)


def of_cohort(table: pl.DataFrame, num_states: int) -> pl.DataFrame:
    """Rows of one number of states; a single subject's states are all the cohort's."""
    rows = style.of_model(table, num_states)
    if rows["subject"].n_unique() > 1:
        return rows
    matches = [name for name in rows.columns if name.endswith("_match")]
    return rows.with_columns(
        pl.col(name).fill_null(pl.col(f"{name.removesuffix('match')}label")) for name in matches
    )


def shown_labels(table: pl.DataFrame) -> list[str]:
    """States that subjects share, and that at least one in ten of them has, in display order."""
    count = table.group_by("state_match").agg(pl.col("subject").n_unique())
    enough = count.filter(pl.col("subject") >= table["subject"].n_unique() / 10)
    return [name for name in shared_names(table) if name in set(enough["state_match"])]


def left_out(table: pl.DataFrame, labels: list[str], absent: Absent | None = None) -> str:
    """Note on the subjects, and the states of subjects, that no panel shows."""
    told = [told_absent(absent)] if absent else []
    states = table.select("subject", "state_label", "state_match").unique()
    alone = states.filter(pl.col("state_match").is_null())
    rare = states.filter(~pl.col("state_match").is_in(labels))
    for why, part in (
        ("of one subject alone, which match no state of the others", alone),
        ("that fewer than one subject in ten has", rare),
    ):
        if not part.is_empty():
            whose = part["subject"].unique().sort().to_list()
            told.append(
                f"Left out: {part.height} state{'s'[: part.height > 1]} {why} ({some(whose)})."
            )
    return " ".join(told)


def told_absent(absent: Absent) -> str:
    """Whom a figure leaves out, counted and named by reason."""
    told = [
        f"{len(names)} subject{'s'[: len(names) > 1]} {reason} ({some(names)})"
        for reason, names in absent.items()
    ]
    return f"Left out: {', '.join(told)}." if told else ""


def some(subjects: Sequence[str]) -> str:
    """The first of them by name, and how many more."""
    return first_of(style.told_apart(subjects, 18), 5)


def panel_title(ax: Axes, label: str, part: pl.DataFrame, table: pl.DataFrame) -> None:
    """The state's name and how many of the subjects have it."""
    have, total = part["subject"].n_unique(), table["subject"].n_unique()
    ax.set_title(f"{label}\n{have} of {total}", color=part["state_color"][0], fontweight="bold")


def subject_handles(mean: str = "mean of subjects") -> list[Line2D]:
    """Legend entries of single subjects and their mean."""
    return [
        Line2D([], [], color=style.QUIET, lw=0.8, alpha=0.7, label="one subject"),
        Line2D([], [], color=style.INK, marker="o", lw=1.8, ms=4.5, label=mean),
    ]
