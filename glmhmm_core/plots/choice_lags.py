"""What earlier trials weigh, lag by lag, over the subjects of a cohort, and how fast that fades."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.plots.cohort import NOTHING_SHARED, left_out, of_cohort, shown_labels, some
from glmhmm_core.tables.cohort import over_subjects
from glmhmm_core.tables.lag_kernel import kernel_at

ACROSS, MORE = 3, 5  # panels side by side; where each state has several below each other


@style.styled
def lag_kernels(
    lag_weights: pl.DataFrame,
    kernels: pl.DataFrame,
    num_states: int,
    cohort: str,
    regressor: str = "choice_lags",
) -> Figure:
    """Mean weights of the lags with their standard errors, and the exponentials, by state.

    A panel per state, and per class and earlier choice where there are more than two choices.
    Subjects without a time constant count in the means of the weights, and have no curve.

    Parameters
    ----------
    lag_weights
        ``lag_weight_table`` of the subjects.
    kernels
        ``lag_kernel_table`` of the same.
    num_states
        Which model.
    cohort
        Name of the cohort, for the title.
    regressor
        Which lags.

    Raises
    ------
    ValueError
        If there is no such model, or no such regressor in it.
    """
    table = of_cohort(lag_weights, num_states)
    there = table["regressor"].unique(maintain_order=True).to_list()
    if regressor not in there:
        raise ValueError(f"no lags of {regressor!r} in the table, only of {', '.join(there)}")
    table = table.filter(regressor=regressor)
    fitted = of_cohort(kernels, num_states).filter(regressor=regressor)
    labels = shown_labels(table)
    panels = table.select("class_idx", "class_name", "earlier").unique(maintain_order=True)
    panels = panels.sort("class_idx", maintain_order=True)
    rows, columns = style.grid_of(max(len(labels), 1), ACROSS if panels.height == 1 else MORE)
    height = 1.7 + (0.5 + 1.9 * panels.height) * rows
    figure = style.new_figure(height, min(max(5.4, 0.9 + 2.3 * columns), style.WIDEST))
    style.head(figure, cohort, f"weights of {style.plain(regressor)}, {style.models(num_states)}")
    if not labels:
        style.say(figure.subplots(), NOTHING_SHARED)
        style.foot_legend(figure, [], 1, left_out(table, labels))
        return figure
    axes = figure.subplots(
        rows * panels.height, columns, squeeze=False, sharex=True, sharey=True
    ).reshape(rows, panels.height, columns)
    for i in range(rows * columns):
        for j, (class_idx, class_name, earlier) in enumerate(panels.rows()):
            ax = axes[i // columns, j, i % columns]
            if i >= len(labels):
                ax.set_axis_off()
                continue
            key = (pl.col("class_idx") == class_idx) & pl.col("earlier").eq_missing(earlier)
            key &= pl.col("state_match") == labels[i]
            _panel(ax, table.filter(key), fitted.filter(key & pl.col("success")))
            if j == 0:
                _title(ax, labels[i], table, fitted)
            if i % columns == 0:
                ax.set_ylabel(f"Weight, log-odds\n{_effect(class_name, earlier)}")
    for ax in axes[:, -1].flat:
        ax.tick_params(labelbottom=True)
    for ax in axes[-1, -1]:
        ax.set_xlabel("Choices back")
    handles = [
        Line2D([], [], color=style.INK, marker="o", ls="", ms=4.5, label="weights: mean ± SE"),
        Line2D([], [], color=style.INK, lw=1.8, label="mean of exponentials"),
        Line2D([], [], color=style.QUIET, lw=0.8, alpha=0.7, label="exponential of a subject"),
    ]
    note = f"{_unfitted(fitted, labels)} {left_out(table, labels)}".strip()
    style.foot_legend(figure, handles, 2, note)
    return figure


def _panel(ax: Axes, weights: pl.DataFrame, kernels: pl.DataFrame) -> None:
    ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
    color, subjects = weights["state_color"][0], kernels["subject"].n_unique()
    curves = []
    for (subject,), own in weights.group_by("subject", maintain_order=True):
        kernel = kernels.filter(subject=subject)
        if kernel.is_empty():
            continue
        lags = own["lag"].sort().to_numpy()
        curve = kernel["scale"][0] * kernel_at(lags, kernel["tau"][0])
        ax.plot(lags, curve, color=color, lw=0.8, alpha=style.alpha(subjects))
        curves.append(pl.DataFrame({"subject": subject, "lag": lags, "curve": curve}))
    mean = over_subjects(weights, ["lag"], ["weight"])
    if curves:
        curve = over_subjects(pl.concat(curves), ["lag"], ["curve"])
        ax.plot(curve["lag"], curve["curve_mean"], color=style.INK, lw=1.8, zorder=2)
    ax.errorbar(
        mean["lag"],
        mean["weight_mean"],
        mean["weight_se"].fill_null(0.0),
        color=style.INK,
        ls="",
        marker="o",
        ms=4.2,
        mec="white",
        mew=0.5,
        elinewidth=1,
        zorder=3,
    )
    style.integer_axis(ax, mean["lag"].to_list())


def _title(ax: Axes, label: str, table: pl.DataFrame, kernels: pl.DataFrame) -> None:
    """The state, how many subjects have it, and the median of their time constants."""
    own = table.filter(state_match=label)
    total, have = table["subject"].n_unique(), own["subject"].n_unique()
    taus = kernels.filter(pl.col("success"), state_match=label).unique("subject")["tau"]
    median = "" if taus.is_empty() else f"\nmedian τ {np.median(taus.to_numpy()):.1f}"
    ax.set_title(f"{label}\n{have} of {total}{median}", color=own["state_color"][0], weight="bold")


def _effect(class_name: str, earlier: str | None) -> str:
    """What a panel's weights say of which choice."""
    if earlier is None:
        return f"of {style.short(class_name, 14)}"
    return f"of {style.short(class_name, 10)} after {style.short(earlier, 10)}"


def _unfitted(kernels: pl.DataFrame, labels: list[str]) -> str:
    """In how many of the states shown the weights set no time constant."""
    shown = kernels.filter(pl.col("state_match").is_in(labels))
    shown = shown.unique(["subject", "state_idx"], maintain_order=True)
    lost = shown.filter(~pl.col("success"))
    if lost.is_empty():
        return ""
    names = lost["subject"].unique(maintain_order=True).to_list()
    return f"No time constant in {lost.height} of {shown.height} fits: {some(names)}."
