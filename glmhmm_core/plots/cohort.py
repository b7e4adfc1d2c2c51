"""What the states do in every subject of a cohort: weights and psychometric curves.

A panel per state that has a name; the same name means the same rule in every subject. States
without one are left out of these panels, and the figure says of how many subjects.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.tables.cohort import named_labels, over_subjects

ACROSS = 4  # panels side by side

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
    table = style.of_model(weights, num_states)
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
        style.say(figure.subplots(), "No state has a name that several subjects share.")
        return figure
    axes = _grid(figure, len(labels), len(classes), columns)
    for row, (class_idx, class_name) in enumerate(classes):
        for i, label in enumerate(labels):
            part = table.filter(state_label=label, class_idx=class_idx)
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
    style.foot_legend(figure, subject_handles(), 2, left_out(table, labels, absent))
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
    table = style.of_model(psychometrics, num_states)
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
            part = table.filter(state_label=label, class_idx=class_idx)
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


def shown_labels(table: pl.DataFrame) -> list[str]:
    """Named states that at least two subjects, and one in ten, have; all states of a single one."""
    total = table["subject"].n_unique()
    if total == 1:
        return [label for _, label, _ in style.states_of(table)]
    count = table.group_by("state_label").agg(pl.col("subject").n_unique())
    need = min(total, max(2, total / 10))
    enough = set(count.filter(pl.col("subject") >= need)["state_label"])
    return [label for label in named_labels(table) if label in enough]


def left_out(table: pl.DataFrame, labels: list[str], absent: Absent | None = None) -> str:
    """Who is not in the figure, has a state without a panel, or a doubtful one in a panel."""
    others = table.filter(~pl.col("state_label").is_in(labels))["subject"].unique().sort()
    total = table["subject"].n_unique()
    told = [told_absent(absent)] if absent else []
    if not others.is_empty():
        told.append(
            f"States that fit no shared name are not pooled, in {len(others)} of {total} "
            f"subjects: {some(others.to_list())}."
        )
    if "label_reason" in table.columns:
        named = table.filter(pl.col("state_label").is_in(labels))
        doubtful = named.drop_nulls("label_reason")["subject"].unique().sort()
        if not doubtful.is_empty():
            told.append(
                f"Named states that are ambiguous, in {len(doubtful)} of {total} subjects: "
                f"{some(doubtful.to_list())}."
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
    names = style.told_apart(subjects, 18)[:5]
    return ", ".join(names) + (f" and {len(subjects) - 5} more" if len(subjects) > 5 else "")


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
