"""What each state weighs: emission weights of one subject."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from glmhmm_core.plots import style
from glmhmm_core.states.labels import RULES


@style.styled
def weights_by_state(weights: pl.DataFrame, num_states: int) -> Figure:
    """Weights against features, one line per state; a row of panels per class.

    Parameters
    ----------
    weights
        ``weight_table`` of one subject, perhaps ``with_intervals``: bars are 95 %.
    num_states
        Which model.
    """
    table = style.of_model(weights, num_states)
    states = style.states_of(table)
    features = style.features_of(table)
    classes = table.select("class_idx", "class_name").unique().sort("class_idx").rows()
    baseline = table["baseline_class_name"][0]
    width = min(max(style.WIDTH * 0.8, 2.6 + 0.42 * len(features)), style.WIDEST)
    names = 1.4 if len(features) > style.MANY_FEATURES else 0.0
    figure = style.new_figure(0.9 + names + 2.5 * len(classes), width)
    axes = figure.subplots(len(classes), 1, squeeze=False, sharex=True)[:, 0]
    place = np.arange(len(features))
    for ax, (class_idx, class_name) in zip(axes, classes, strict=True):
        ax.axhline(0, color=style.FAINT, lw=0.8, zorder=0)
        for position, (rank, label, color) in enumerate(states):
            values = table.filter(state_rank=rank, class_idx=class_idx)
            heights = [values.filter(feature=f)["weight"].item() for f in features]
            shift = 0.05 * (position - (len(states) - 1) / 2)
            if "lower" in values.columns:
                known = values.drop_nulls("lower")
                at = [features.index(f) + shift for f in known["feature"]]
                ax.vlines(at, known["lower"], known["upper"], color=color, lw=1.4, zorder=1)
            ax.plot(
                place + shift,
                heights,
                color=color,
                marker=style.marker(rank),
                label=label,
                mec="white",
                mew=0.6,
                ms=6.5,
            )
        ax.set_ylabel(
            f"Weight: log-odds of\n{style.plain(class_name)} over {style.plain(baseline)}"
        )
    style.name_features(axes[-1], features, upright=False)
    doubt = table["label_reason"][0]
    notes = [RULES] if num_states > 1 else []
    notes += [doubt] if doubt else []
    if "lower" in table.columns and table["lower"].null_count() < len(table):
        notes.append("Bars are 95 % intervals.")
    style.head(
        figure,
        table["subject"][0],
        f"weights by state, {style.models(num_states)}",
        " ".join(notes),
    )
    style.side_legend(figure, style.state_handles(states))
    return figure
