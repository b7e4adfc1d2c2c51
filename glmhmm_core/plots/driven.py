"""What drives the transitions between states: weights, average matrices, staying."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import Absent, left_out, of_cohort, shown_labels
from glmhmm_core.plots.transitions import heat
from glmhmm_core.tables.cohort import over_subjects
from glmhmm_core.tables.driven import AT_ZERO

_MEANING = "Above 0 the regressor makes leaving likelier, below 0 staying. Bars: 95 % intervals."
#: Probability beyond which an axis of staying has no room above.
_TOP = 1.02


@style.styled
def transition_weights(weights: pl.DataFrame, num_states: int) -> Figure:
    """Weights of the transition regressors on every edge; a panel per state that is left.

    Parameters
    ----------
    weights
        ``transition_weight_table`` of one subject.
    num_states
        Which model, at least two states.
    """
    table = style.of_model(weights, num_states).filter(pl.col("feature") != AT_ZERO)
    features = style.features_of(table)
    figure, axes = _panels(table, features)
    place = np.arange(len(features))
    for ax, (rank, label, color) in zip(axes, _sources(table), strict=True):
        ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
        targets = _targets(table.filter(source_rank=rank))
        for position, (target, _, shade) in enumerate(targets):
            edge = table.filter(source_rank=rank, target_rank=target).sort("feature_idx")
            at = place + _shift(position, len(targets))
            middle = edge["weight"].to_numpy()
            for side in ("lower", "upper"):
                ends = edge[side].fill_null(float("nan")).to_numpy()
                ax.vlines(at, middle, ends, color=shade, lw=1.2)
            held = edge["frozen"].to_numpy()
            mark: dict[str, Any] = {"color": shade, "marker": style.marker(target), "ls": ""}
            ax.plot(at[~held], middle[~held], ms=6, mec="white", mew=0.6, **mark)
            ax.plot(at[held], middle[held], ms=6, mfc="white", mew=1.2, **mark)
        _left(ax, label, color)
    style.name_features(axes[-1], features, upright=False)
    hollow = " Hollow marks are frozen." if table["frozen"].any() else ""
    doubt = table["label_reason"][0]
    ambiguous = f" {doubt}" if doubt else ""
    style.head(
        figure,
        table["subject"][0],
        f"transition weights, {style.models(num_states)}",
        _MEANING + hollow + ambiguous,
    )
    style.side_legend(figure, style.state_handles(_targets(table), line=False), "going to")
    return figure


@style.styled
def cohort_transition_weights(
    weights: pl.DataFrame, num_states: int, cohort: str, absent: Absent | None = None
) -> Figure:
    """The same over subjects: each singly, and their mean with its standard error.

    States that subjects share are pooled; whose states are not is said below.

    Parameters
    ----------
    weights
        ``transition_weight_table`` of the subjects, one below the other.
    num_states
        Which model, at least two states.
    cohort
        Name of the cohort, for the title.
    absent
        Who is left out, to be counted on the figure.
    """
    table = of_cohort(weights, num_states).filter(pl.col("feature") != AT_ZERO)
    states = table.select(
        "subject",
        "num_states",
        *(
            pl.col(f"source_{what}").alias(f"state_{what}")
            for what in ("rank", "label", "color", "match")
        ),
    )
    labels = shown_labels(states)
    inner = table.filter(pl.col("source_match").is_in(labels), pl.col("target_match").is_in(labels))
    features = style.features_of(table)
    what = f"transition weights, {style.models(num_states)}"
    if inner.is_empty():
        figure = style.new_figure(3.0)
        style.say(figure.subplots(), "No two states are ones\nthat subjects share.")
        style.head(figure, cohort, what, left_out(states, labels, absent))
        return figure
    ranks = {label: rank for rank, label in enumerate(labels)}
    figure, axes = _panels(inner, features, [x for x in labels if x in set(inner["source_match"])])
    mean = over_subjects(inner, ["source_match", "target_match", "feature"], ["weight"])
    colors = dict(inner.select("target_match", "target_color").unique().rows())
    colors |= dict(inner.select("source_match", "source_color").unique().rows())
    place = {feature: i for i, feature in enumerate(features)}
    count = inner["subject"].n_unique()
    for ax, label in zip(axes, [x for x in labels if x in set(inner["source_match"])], strict=True):
        ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
        targets = [x for x in labels if x != label]
        for position, target in enumerate(targets):
            shift = _shift(position, len(targets))
            singly = inner.filter(source_match=label, target_match=target)
            ax.plot(
                [place[f] + shift for f in singly["feature"]],
                singly["weight"],
                color=colors[target],
                marker=".",
                ls="",
                ms=3.5,
                alpha=style.alpha(count),
            )
            edge = mean.filter(source_match=label, target_match=target)
            ax.errorbar(
                [place[f] + shift for f in edge["feature"]],
                edge["weight_mean"],
                edge["weight_se"].fill_null(0.0),
                color=colors[target],
                marker=style.marker(ranks[target]),
                ls="",
                ms=6.5,
                mec="white",
                mew=0.6,
                lw=1.4,
            )
        _left(ax, label, colors[label])
    style.name_features(axes[-1], features, upright=False)
    dots = f"Dots: {count} subject{'s'[: count > 1]}; marks: mean ± standard error."
    note = f"Above 0 the regressor makes leaving likelier. {dots}"
    missing = left_out(states, labels, absent)
    style.head(figure, cohort, what, f"{note} {missing}".strip())
    handles = [
        Line2D([], [], color=colors[x], marker=style.marker(ranks[x]), ls="", label=x)
        for x in labels
        if x in set(inner["target_match"])
    ]
    style.side_legend(figure, handles, "going to")
    return figure


@style.styled
def driven_transitions(transitions: pl.DataFrame, num_states: int) -> Figure:
    """Transition probabilities at the regressors' zero and averaged over the trials.

    Parameters
    ----------
    transitions
        ``driven_transition_table`` of one subject.
    num_states
        Which model, at least two states.
    """
    table = style.of_model(transitions, num_states).sort("source_rank", "target_rank")
    states = _targets(table)
    names, colors = [name for _, name, _ in states], [color for *_, color in states]
    side = 0.75 * num_states
    width = max(style.WIDTH, min(3.2 + 2.4 * num_states, style.WIDEST))
    figure = style.new_figure(1.9 + side, width)
    axes = figure.subplots(1, 2)
    for ax, column, title in zip(
        axes, ("at_zero", "average"), ("All regressors 0", "Mean over the trials"), strict=True
    ):
        heat(ax, table[column].to_numpy().reshape(num_states, num_states), names, names)
        ax.set_title(title)
        ax.set_xlabel("State on the next trial")
        for tick, color in zip(ax.get_xticklabels(), colors, strict=True):
            tick.set_color(color)
            tick.set_fontweight("bold")
    axes[0].set_ylabel("State on this trial")
    axes[1].set_yticklabels([])
    dwell = table.unique("source_rank").sort("source_rank")
    lasts = ", ".join(
        f"{row['source_label']} "
        + ("for ever" if row["source_dwell"] is None else f"{row['source_dwell']:.0f}")
        for row in dwell.iter_rows(named=True)
    )
    style.head(
        figure,
        table["subject"][0],
        f"driven transitions, {style.models(num_states)}",
        f"Trials that a state lasts, in paths drawn from the posterior: {lasts}.",
    )
    return figure


@style.styled
def staying(curves: pl.DataFrame, num_states: int) -> Figure:
    """Probability of staying against each regressor, a line per state.

    Parameters
    ----------
    curves
        ``staying_table`` of one subject.
    num_states
        Which model, at least two states.
    """
    table = style.of_model(curves, num_states)
    states, features = style.states_of(table), style.features_of(table)
    rows, columns = style.grid_of(len(features), 4)
    figure = style.new_figure(1.3 + 2.1 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax in axes.flat[len(features) :]:
        ax.set_axis_off()
    for ax, feature in zip(axes.flat, features, strict=False):
        for rank, _, color in states:
            curve = table.filter(feature=feature, state_rank=rank)
            ax.plot(curve["value"], curve["stay"], color=color)
            ends = curve.filter(pl.col("value").is_in([curve["value"].max()]))
            ax.plot(ends["value"], ends["stay"], color=color, marker=style.marker(rank), ls="")
        ax.set_xlabel(style.plain(feature))
    axes.flat[0].set_ylim(min(0.5, 0.98 * table["stay"].to_numpy().min()), _TOP)
    for ax in axes[:, 0]:
        ax.set_ylabel("P(stay)")
    style.head(figure, table["subject"][0], f"staying in a state, {style.models(num_states)}")
    note = "From the regressor's lowest to its highest value, the others at their means."
    style.foot_legend(figure, style.state_handles(states), min(len(states), 4), note)
    return figure


def _panels(
    table: pl.DataFrame, features: list[str], sources: list[str] | None = None
) -> tuple[Figure, list[Axes]]:
    """A column of panels of one width, one per state that is left."""
    count = len(sources or _sources(table))
    width = min(max(style.WIDTH, 3.4 + 0.7 * len(features)), style.WIDEST)
    names = 1.4 if len(features) > style.MANY_FEATURES else 0.0
    figure = style.new_figure(1.4 + names + 2.0 * count, width)
    return figure, list(figure.subplots(count, 1, squeeze=False, sharex=True, sharey=True)[:, 0])


def _shift(position: int, count: int) -> float:
    """Place of one of so many marks beside a tick, all within less than a tick's distance."""
    return min(0.16, 0.8 / count) * (position - (count - 1) / 2)


def _left(ax: Axes, label: str, color: str) -> None:
    ax.set_ylabel("Log-odds of\nleaving")
    ax.set_title(f"Leaving {label}", color=color)


def _sources(table: pl.DataFrame) -> list[tuple[int, str, str]]:
    columns = ["source_rank", "source_label", "source_color"]
    return table.select(columns).unique().sort("source_rank").rows()


def _targets(table: pl.DataFrame) -> list[tuple[int, str, str]]:
    columns = ["target_rank", "target_label", "target_color"]
    return table.select(columns).unique().sort("target_rank").rows()
