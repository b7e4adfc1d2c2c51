"""Which model predicts held-out choices best: every model of a subject, or of a cohort."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from glmhmm_core.plots import style
from glmhmm_core.tables.comparison import cohort_comparison, usable

#: Columns of score, gain and error, mark and color of each kind of folds.
KINDS = {
    "interleaved": ("heldout_bits_per_trial", "gain_over_glm", "o", "#1f5a96"),
    "prospective": ("prospective_bits_per_trial", "prospective_gain", "D", "#c26a00"),
}
LABELS = {
    "glm": "GLM",
    "lapse_class_1": "lapses, one rate",
    "lapse_class": "lapses by choice",
    "lapse_history": "lapses to history",
    "lapse_history_conditioned": "lapses by history",
    "drifting_weights": "drifting weights",
    "private_alternative": "private alternatives",
}
WITH_STATES = ("glmhmm", "hierarchical")
OFFSET = {"interleaved": 0.16, "prospective": -0.16}  # of a row, upwards


def label(model: str, num_states: int) -> str:
    """A model in words, for an axis."""
    if model.startswith(WITH_STATES):
        more = {
            "glmhmm_t": ", driven",
            "glmhmm_sessions": ", 2 kinds",
            "hierarchical": ", learned priors",
        }
        return style.models(num_states) + more.get(model, "")
    return LABELS.get(model, style.plain(model))


@style.styled
def comparison(table: pl.DataFrame, subject: str) -> Figure:
    """Held-out bits per trial of a subject's models, and their gain over the GLM.

    Parameters
    ----------
    table
        ``comparison_table`` of the subject.
    subject
        Name for the title.
    """
    rows = _ordered(table)
    figure = style.new_figure(1.7 + 0.28 * rows.height)
    style.head(figure, subject, "models on held-out sessions")
    if rows["heldout_bits_per_trial"].null_count() == rows.height:
        style.say(figure.subplots(), "No sessions were held out.")
        return figure
    left, right = figure.subplots(1, 2, sharey=True)
    for kind, aside in _kinds(rows).items():
        _points(left, rows, kind, 0, aside)
        _points(right, rows, kind, 1, aside)
    _rows(left, [label(m, k) for m, k in rows.select("model", "num_states").rows()])
    _panels(left, right)
    handles = [_handle(kind, " ± SE over sessions") for kind in _kinds(rows)]
    if not rows["converged"].all():
        handles.append(Line2D([], [], ls="", marker="X", color=style.ALARM, label="not converged"))
    style.foot_legend(figure, handles, 1)
    return figure


@style.styled
def cohort_comparison_figure(table: pl.DataFrame, cohort: str) -> Figure:
    """The same over a cohort: means over the subjects that count, each subject faint.

    Parameters
    ----------
    table
        ``comparison_table`` of the subjects, one below the other.
    cohort
        Name of the cohort, for the title.
    """
    everyone = table["subject"].n_unique()
    means = _ordered(cohort_comparison(table))
    figure = style.new_figure(1.9 + 0.32 * means.height)
    style.head(figure, cohort, "models on held-out sessions")
    if not means["subjects"].sum():
        style.say(figure.subplots(), "No subject has a held-out score.")
        return figure
    left, right = figure.subplots(1, 2, sharey=True)
    counted = usable(table)
    for kind, aside in _kinds(means).items():
        for ax, column in ((left, KINDS[kind][0]), (right, KINDS[kind][1])):
            _subjects(ax, counted, means, column, aside)
        _points(left, means, kind, 0, aside)
        _points(right, means, kind, 1, aside)
    names = [
        f"{label(row['model'], row['num_states'])} ({row['subjects']} of {everyone})"
        for row in means.iter_rows(named=True)
    ]
    _rows(left, names)
    _panels(left, right)
    handles = [_handle(kind, ": mean ± SE over subjects") for kind in _kinds(means)]
    handles.append(Line2D([], [], ls="", marker=".", color=style.FAINT, label="one subject"))
    out = max(means["left_out"].to_list())
    note = f"In brackets: subjects that count. {out} at most are left out of a row: not " + (
        "converged, or without a held-out score."
    )
    style.foot_legend(figure, handles, 2, note if out else "All subjects count in every row.")
    return figure


def _ordered(table: pl.DataFrame) -> pl.DataFrame:
    """GLM, its rivals, then models with states, the latter by number; ``place`` from above."""
    late = pl.any_horizontal(pl.col("model").str.starts_with(name) for name in WITH_STATES)
    order = pl.when(pl.col("model") == "glm").then(0).when(late).then(2).otherwise(1)
    rows = table.with_columns(order=order).sort("order", "model", "num_states", maintain_order=True)
    count = rows.height - 1
    return rows.with_columns(place=pl.Series([float(count - i) for i in range(rows.height)]))


def _kinds(rows: pl.DataFrame) -> dict[str, float]:
    """Kinds of folds that were scored, and how far above the middle of its row each stands."""
    scored = [kind for kind, (score, *_) in KINDS.items() if rows[score].count()]
    return {kind: OFFSET[kind] if len(scored) > 1 else 0.0 for kind in scored}


def _points(ax: Axes, rows: pl.DataFrame, kind: str, which: int, aside: float) -> None:
    """Scores (0) or gains (1) of one kind of folds, the latter with their errors."""
    score, gain, mark, color = KINDS[kind]
    column = (score, gain)[which]
    known = rows.drop_nulls(column)
    place = known["place"].to_numpy() + aside
    error = known[f"{gain}_se"].fill_null(0.0).to_numpy() if which else None
    ax.errorbar(
        known[column].to_numpy(),
        place,
        xerr=error,
        ls="",
        marker=mark,
        ms=5,
        color=color,
        mec="white",
        mew=0.6,
        elinewidth=1.3,
        zorder=3,
    )
    if "converged" in known.columns:
        bad = known.filter(~pl.col("converged"))
        ax.plot(bad[column], bad["place"] + aside, "X", color=style.ALARM, ms=6, zorder=4)


def _subjects(
    ax: Axes, counted: pl.DataFrame, means: pl.DataFrame, column: str, aside: float
) -> None:
    places = means.select("model", "num_states", "place")
    points = counted.drop_nulls(column).join(places, on=["model", "num_states"])
    ax.plot(points[column], points["place"] + aside, ".", color=style.FAINT, ms=4, zorder=1)


def _rows(ax: Axes, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), names[::-1])
    ax.set_ylim(-0.6, len(names) - 0.4)


def _panels(left: Axes, right: Axes) -> None:
    for ax, title in ((left, "Held out"), (right, "Gain over the GLM")):
        ax.set_title(title)
        ax.set_xlabel("Bits per trial")
        ax.tick_params(axis="y", length=0)
    right.axvline(0, color=style.FAINT, lw=0.8, zorder=0)


def _handle(kind: str, what: str) -> Line2D:
    mark, color = KINDS[kind][2:]
    return Line2D([], [], color=color, marker=mark, lw=1.3, ms=5, label=f"{kind} folds{what}")
