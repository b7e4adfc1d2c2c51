"""What a figure shows is what its tables say, whatever the order of their rows."""

import numpy as np
import polars as pl
import pytest
from core.driven_fits import with_regressors
from core.plots.cases import (
    LABEL,
    LONG,
    cohort,
    kinds_of_sessions,
    many_states,
    textbook,
    ugly,
)
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from glmhmm_core.plots.cohort import cohort_psychometrics, cohort_weights, mean_points
from glmhmm_core.plots.cohort_states import (
    cohort_heldout_bits,
    cohort_occupancy,
    cohort_transitions,
)
from glmhmm_core.plots.driven import cohort_transition_weights
from glmhmm_core.plots.optimization import em_traces
from glmhmm_core.plots.psychometrics import psychometric_by_state
from glmhmm_core.plots.scores import heldout_bits
from glmhmm_core.plots.session_kinds import RESTLESS, session_kinds
from glmhmm_core.plots.sessions import example_sessions, session_posteriors
from glmhmm_core.plots.style import ALARM, told_apart
from glmhmm_core.plots.transitions import transition_matrix
from glmhmm_core.plots.validity import cohort_checks, parameter_recovery, predictive_checks
from glmhmm_core.plots.weights import weights_by_state
from glmhmm_core.states.labels import RULES
from glmhmm_core.tables import validity
from glmhmm_core.tables.driven import transition_weight_table
from glmhmm_core.tables.parameters import with_intervals
from glmhmm_core.tables.scores import fold_means

THREE = ["engaged", "biased left", "biased right"]


def mixed(table):
    return table.sample(fraction=1.0, shuffle=True, seed=1)


def drawn(figure: Figure):
    """Every line, text and bar of a figure, as plain values."""
    return [
        (
            sorted(
                (to_hex(line.get_color()), np.round(line.get_xydata(), 12).tolist())
                for line in ax.lines
            ),
            sorted(text.get_text() for text in ax.texts),
            sorted(np.round(patch.get_bbox().bounds, 12).tolist() for patch in ax.patches),
            sorted(sorted(np.round(c.get_offsets(), 12).tolist()) for c in ax.collections),
            ax.get_title(loc="left"),
            [label.get_text() for label in ax.get_xticklabels()],
        )
        for ax in figure.axes
    ]


def said(figure: Figure) -> str:
    """What stands below a figure's panels."""
    notes = [legend.get_title().get_text() for legend in figure.legends]
    return " ".join([*notes, figure.get_supxlabel()]).replace("\n", " ")


def line_of(ax, color, markers=False):
    """The one line of that color, with or without points."""
    found = [
        line
        for line in ax.lines
        if to_hex(line.get_color()) == color and (line.get_marker() not in ("None", "")) == markers
    ]
    assert len(found) == 1
    return found[0]


def test_weights():
    table = textbook().weights.filter(num_states=3)
    figure = weights_by_state(textbook().weights, 3)
    (ax,) = figure.axes
    names = [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()]
    assert names == ["stimulus", "bias", "previous choice", "wsls"]
    for label in THREE:
        rows = table.filter(state_label=label)
        line = line_of(ax, rows["state_color"][0], markers=True)
        np.testing.assert_array_equal(line.get_ydata(), rows["weight"])
        assert np.abs(line.get_xdata() - np.arange(4)).max() < 0.25
    assert [text.get_text() for text in figure.legends[0].get_texts()] == THREE
    assert figure.get_suptitle() == "CSHL_008: weights by state, 3 states"
    assert ax.get_ylabel() == "Weight: log-odds of\nright over left"


def test_weights_have_the_intervals_that_are_known():
    table = textbook().weights.filter(num_states=3)
    errors = table.with_columns(
        parameter=pl.lit("weight"),
        estimate=pl.col("weight"),
        lower=pl.col("weight") - pl.col("state_idx") - 0.5,
        upper=pl.when(pl.col("feature") == "wsls").then(None).otherwise(pl.col("weight") + 1),
    ).with_columns(lower=pl.when(pl.col("upper").is_not_null()).then("lower"))
    known = with_intervals(textbook().weights, errors)
    assert known.drop("lower", "upper").equals(textbook().weights)
    figure = weights_by_state(known, 3)
    drawn = {
        to_hex(bars.get_color()[0]): np.array([s[:, 1] for s in bars.get_segments()])
        for bars in figure.axes[0].collections
    }
    for state in table["state_color"].unique():
        rows = errors.filter(pl.col("feature") != "wsls", state_color=state)
        ends = rows.select("lower", "upper").to_numpy()
        np.testing.assert_array_equal(drawn[to_hex(state)], ends)
    assert "Bars are 95 % intervals." in figure.get_supxlabel()
    # Those of another fit are not drawn.
    other = with_intervals(textbook().weights, errors.with_columns(pl.col("estimate") + 0.1))
    assert other["lower"].null_count() == len(other)
    assert with_intervals(textbook().weights, None)["upper"].null_count() == len(other)


def test_weights_of_three_choices_have_a_panel_per_class():
    table = ugly().weights.filter(num_states=5)
    figure = weights_by_state(ugly().weights, 5)
    for ax, name in zip(figure.axes, ("center", "right"), strict=True):
        assert name in ax.get_ylabel()
        for (color,), rows in table.filter(class_name=name).group_by("state_color"):
            np.testing.assert_array_equal(
                line_of(ax, color, markers=True).get_ydata(), rows["weight"]
            )
    assert figure.get_suptitle().startswith(LONG[:10])


def test_ambiguous_labels_are_told_on_the_figure():
    figure = weights_by_state(many_states().weights, 8)
    doubt = many_states().weights.filter(num_states=8)["label_reason"][0]
    assert doubt
    assert doubt in figure.get_supxlabel()
    assert weights_by_state(textbook().weights, 3).get_supxlabel() == RULES
    assert weights_by_state(textbook().weights, 1).get_supxlabel() == ""


def figure_note(ax):
    return ax.figure.get_supxlabel()


def test_transition_matrix():
    table = textbook().transitions.filter(num_states=3)
    start, matrix, bars = transition_matrix(textbook().transitions, 3).axes
    shown = matrix.images[0].get_array()
    for i, source in enumerate(THREE):
        for j, target in enumerate(THREE):
            row = table.filter(source_label=source, target_label=target)
            assert shown[i, j] == row["probability"].item()
    texts = [text.get_text() for text in matrix.texts]
    assert texts == [f"{p:.3f}"[1:] for p in np.asarray(shown).ravel()]
    assert [label.get_text() for label in matrix.get_yticklabels()] == THREE
    first = table.filter(pl.col("source_idx").is_null())
    np.testing.assert_array_equal(start.images[0].get_array()[0], first["probability"])
    assert figure_note(bars) == "Dwell: 1 / (1 − P(stay)), as if sessions had no end."
    short = textbook().transitions.with_columns(session_trials=pl.lit(30.0))
    bars_of_short = transition_matrix(short, 3).axes[2]
    assert [text.get_text()[-1] == "*" for text in bars_of_short.texts] == [True, False, False]
    assert "*: longer than sessions (30 trials, median)" in figure_note(bars_of_short)
    dwell = table.filter(source_label=pl.col("target_label"))["source_dwell"]
    np.testing.assert_array_equal([bar.get_width() for bar in bars.patches], dwell)
    colors = table.filter(source_label=pl.col("target_label"))["source_color"].to_list()
    assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == colors


def test_em_traces():
    restarts = textbook().restarts
    figure = em_traces(restarts)
    panels = [ax for ax in figure.axes if ax.axison]
    assert len(panels) == 5
    for k, ax in enumerate(panels, start=1):
        own = restarts.filter(num_states=k)
        traces = [
            line for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) > 2
        ]
        assert len(traces) == own["restart"].n_unique()
        floor = 10 ** np.floor(np.log10(restarts["same_optimum"].min()) - 2)
        for line, (_, trace) in zip(
            traces, own.group_by("restart", maintain_order=True), strict=True
        ):
            np.testing.assert_array_equal(line.get_xdata(), trace["iteration"])
            np.testing.assert_array_equal(line.get_ydata(), np.maximum(trace["below_best"], floor))
        by_restart = own.group_by("restart").first()
        reached = by_restart["reached_best"].sum()
        assert ax.get_title(loc="left").endswith(f": {reached} of {by_restart.height}")
        crosses = [line for line in ax.lines if line.get_marker() == "X"]
        assert len(crosses) == (~by_restart["converged"]).sum()
        assert ax.get_ylim()[0] < floor
        assert ax.get_yscale() == "log"


def test_few_restarts_at_the_best_raise_an_alarm():
    restarts = textbook().restarts.filter(num_states=3)
    lucky = restarts.with_columns(reached_best=pl.col("restart") == 0)
    (calm,), (alarmed,) = em_traces(restarts).axes, em_traces(lucky).axes
    assert calm._left_title.get_color() != alarmed._left_title.get_color()


def test_session_posteriors():
    tables = textbook()
    trials = tables.trials.filter(num_states=3)
    sessions = example_sessions(trials, 3)
    axes = session_posteriors(tables.trials, tables.states, 3, sessions).axes
    states = tables.states.filter(num_states=3)
    for session, choices, posteriors in zip(sessions, axes[::2], axes[1::2], strict=True):
        rows = trials.filter(session=session)
        assert session in choices.get_title(loc="left")
        for k, color in states.select("state_idx", "state_color").rows():
            line = line_of(posteriors, color)
            np.testing.assert_array_equal(line.get_xdata(), rows["trial"])
            np.testing.assert_array_equal(line.get_ydata(), rows[f"p_state_{k}"])
        ticks = {
            to_hex(lines.get_color()[0]): {
                (int(path[0, 0]), round(path[:, 1].mean())) for path in lines.get_segments()
            }
            for lines in choices.collections
        }
        made = rows.drop_nulls("choice")
        assert set().union(*ticks.values()) == set(made.select("trial", "choice").rows())
        wrong = made.filter(~pl.col("correct")).select("trial", "choice").rows()
        assert ticks["#d7191c"] == set(wrong)
        missing = [x for line in choices.lines for x in line.get_xdata()]
        assert missing == rows.filter(pl.col("choice").is_null())["trial"].to_list()


def test_masked_choices_are_shown_as_not_counted():
    tables = textbook()
    session = example_sessions(tables.trials, 1)
    masked = tables.trials.with_columns(masked=pl.col("trial") < 5)
    choices, _ = session_posteriors(masked, tables.states, 3, session).axes
    missing = [x for line in choices.lines for x in line.get_xdata()]
    assert set(range(5)) <= set(missing)
    ticked = {int(p[0, 0]) for lines in choices.collections for p in lines.get_segments()}
    assert not ticked & set(range(5))


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, ["s4"]), (2, ["s0", "s7"]), (3, ["s0", "s4", "s7"]), (20, 8)]
)
def test_example_sessions_are_spread_over_all(count, chosen):
    trials = pl.DataFrame({"session": [f"s{i}" for i in range(8) for _ in range(3)]})
    found = example_sessions(trials, count)
    assert found == chosen if isinstance(chosen, list) else len(found) == chosen


def test_psychometrics():
    table = textbook().psychometrics.filter(num_states=3, class_name="right")
    panels = psychometric_by_state(textbook().psychometrics, 3, LABEL).axes
    titles = [ax.get_title(loc="left") for ax in panels]
    assert titles == ["all trials", *THREE]
    for ax, title in zip(panels, titles, strict=True):
        rows = table.filter(state_label=title).sort("stimulus")
        data, model = rows.filter(kind="data"), rows.filter(kind="model")
        color = rows["state_color"][0]
        np.testing.assert_array_equal(
            line_of(ax, color).get_xydata(), model.select("stimulus", "probability").to_numpy()
        )
        points = np.vstack([line.get_xydata() for line in ax.lines if line.get_marker() == "o"])
        points = points[points[:, 0].argsort()]
        np.testing.assert_array_equal(points, data.select("stimulus", "probability").to_numpy())
        spans = np.array(ax.collections[0].get_segments())
        np.testing.assert_array_equal(spans[:, :, 1], data.select("lower", "upper").to_numpy())
        fair = rows.filter(kind="data_by_others")
        (crosses,) = (line.get_xydata() for line in ax.lines if line.get_marker() == "x")
        np.testing.assert_array_equal(crosses, fair.select("stimulus", "probability").to_numpy())
    below = panels[0].figure.get_supxlabel().splitlines()
    assert below[0] == "Signed contrast (right − left)"
    assert "their own" in below[1]


def test_points_of_hardly_any_trials_are_hollow():
    table = textbook().psychometrics
    thin = table.with_columns(
        effective_trials=pl.when(pl.col("stimulus") == 1).then(2.0).otherwise("effective_trials")
    )
    ax = psychometric_by_state(thin, 3, LABEL).axes[1]
    hollow = [p for p in ax.lines if p.get_marker() == "o" and p.get_markerfacecolor() == "white"]
    assert [list(p.get_xdata()) for p in hollow] == [[1.0]]


def test_heldout_bits():
    folds = textbook().folds
    for ax, value, error in zip(
        heldout_bits(folds, "CSHL_008").axes,
        ("heldout_bits_per_trial", "heldout_gain"),
        ("heldout_bits_se", "heldout_gain_se"),
        strict=True,
    ):
        means = fold_means(folds)
        (bars,) = ax.containers
        np.testing.assert_array_equal(bars.lines[0].get_ydata(), means[value])
        spans = np.array(bars.lines[2][0].get_segments())[:, :, 1]
        np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, means[error])
        single = [line for line in ax.lines if len(line.get_xdata()) == 5][:5]
        shown = sorted(line.get_ydata().tolist() for line in single)
        truth = [
            fold.sort("num_states")[value].to_list() for _, fold in folds.group_by("fold_index")
        ]
        assert shown == sorted(truth)
    assert heldout_bits(many_states().folds, "KS005").axes[0].texts[0].get_text() == (
        "No sessions were held out."
    )


def test_cohort_weights_are_each_subject_s_and_their_mean():
    tables = cohort(12)
    figure = cohort_weights(tables.weights, 3, "Mice")
    table = tables.weights.filter(num_states=3)
    for ax in figure.axes:
        label, count = ax.get_title(loc="left").split("\n")
        rows = table.filter(state_match=label)
        assert count == f"{rows['subject'].n_unique()} of 12"
        thick = line_of(ax, "#222222", markers=True)
        features = ["stimulus", "bias", "previous_choice", "wsls"]
        truth = [rows.filter(feature=f)["weight"].mean() for f in features]
        np.testing.assert_allclose(thick.get_ydata(), truth)
        thin = [
            tuple(line.get_ydata())
            for line in ax.lines
            if to_hex(line.get_color()) == rows["state_color"][0]
        ]
        each = [tuple(one["weight"]) for _, one in rows.group_by("subject", maintain_order=True)]
        assert sorted(thin) == sorted(each)


def test_subjects_without_a_named_state_are_counted_on_the_figure():
    tables = cohort(12)
    odd = tables.states.filter(num_states=3, labels_ambiguous=True)["subject"].unique().sort()
    assert len(odd) > 0
    note = cohort_weights(tables.weights, 3, "Mice").legends[0].get_title().get_text()
    note = note.replace("\n", " ")
    assert "of one subject alone, which match no state of the others" in note
    assert odd[0] in note


def test_a_cohort_of_one_shows_all_states_named_or_not():
    figure = cohort_weights(many_states().weights, 8, "Rats")
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.axison]
    assert len(titles) == 8
    assert {title.split("\n")[1] for title in titles} == {"1 of 1"}


def test_cohort_psychometrics_show_means_over_subjects():
    tables = cohort(12)
    table = tables.psychometrics.filter(num_states=3, class_name="right", state_label="engaged")
    figure = cohort_psychometrics(tables.psychometrics, 3, "Mice", LABEL)
    ax = next(ax for ax in figure.axes if ax.get_title(loc="left").startswith("engaged"))
    points = ax.containers[0].lines[0].get_xydata()
    for x, y in points:
        at = table.filter(kind="data").filter((pl.col("stimulus") - x).abs() < 1e-6)
        assert y == pytest.approx(at["probability"].mean())
    assert len(points) == 9


def test_stimuli_that_differ_between_subjects_are_averaged_bin_by_bin():
    rng = np.random.default_rng(0)
    data = pl.DataFrame(
        {
            "subject": np.repeat(["a", "b", "c"], 9).tolist(),
            "bin": np.tile(np.arange(9), 3),
            "stimulus": rng.normal(size=27),
            "probability": rng.random(27),
        }
    )
    points = mean_points(data)
    truth = data["probability"].to_numpy().reshape(3, 9).mean(0)
    np.testing.assert_allclose(points.sort("bin")["probability_mean"], truth)


def test_cohort_transitions_show_medians_and_the_mean_of_like_subjects():
    tables = cohort(12)
    states = tables.states.filter(num_states=3)
    figure = cohort_transitions(tables.transitions, tables.states, 3, "Mice")
    dwell, matrix = figure.axes[0], figure.axes[1]
    labels = [t.get_text().replace("\n", " ") for t in dwell.get_xticklabels()]
    clouds = [c for c in dwell.collections if len(c.get_offsets()) > 1]
    for label, points in zip(labels, clouds, strict=True):
        own = states.filter(state_match=label)["expected_dwell"]
        assert sorted(points.get_offsets()[:, 1]) == pytest.approx(sorted(own))
    bars = [line.get_ydata()[0] for line in dwell.lines if line.get_marker() == "_"]
    truth = [states.filter(state_match=label)["expected_dwell"].median() for label in labels]
    assert bars == pytest.approx(truth)
    shown = [t.get_text().replace("\n", " ") for t in matrix.get_xticklabels()]
    inner = tables.transitions.filter(num_states=3).drop_nulls("source_idx")
    named = inner.group_by("subject").agg(pl.col("target_match").unique().sort())
    like = named.filter(pl.col("target_match") == sorted(shown))["subject"]
    assert matrix.get_title(loc="left") == f"Mean of {len(like)} subjects"
    for i, source in enumerate(shown):
        for j, target in enumerate(shown):
            p = inner.filter(
                pl.col("subject").is_in(like.to_list()),
                pl.col("source_match") == source,
                pl.col("target_match") == target,
            )["probability"]
            assert matrix.images[0].get_array()[i, j] == pytest.approx(p.mean())


def test_cohort_occupancy_stacks_every_subject_to_one():
    tables = cohort(12)
    states = tables.states.filter(num_states=3)
    bars = cohort_occupancy(tables.states, 3, "Mice").axes[0]
    order = [label.get_text() for label in bars.get_xticklabels()]
    assert sorted(order) == sorted(states["subject"].unique())
    heights = np.zeros(len(order))
    for bar in bars.patches:
        heights[round(bar.get_x() + bar.get_width() / 2)] += bar.get_height()
    np.testing.assert_allclose(heights, 1)
    first = {
        round(bar.get_x() + 0.45): bar.get_height()
        for bar in bars.patches
        if to_hex(bar.get_facecolor()) == "#ff7f00"
    }
    engaged = states.filter(state_label="engaged")
    for subject, soft in engaged.select("subject", "occupancy_soft").rows():
        assert first[order.index(subject)] == soft
    shown = [first[i] for i in sorted(first)]
    assert shown == sorted(shown, reverse=True)


def test_cohort_gain_is_averaged_over_subjects_with_all_models():
    tables = cohort(12)
    ax = cohort_heldout_bits(tables.scores, "Mice").axes[0]
    complete = tables.scores.filter(pl.col("num_states") == 5)["subject"].to_list()
    assert len(complete) < 12
    truth = (
        tables.scores.filter(pl.col("subject").is_in(complete))
        .group_by("num_states")
        .agg(pl.col("heldout_gain").mean())
        .sort("num_states")
    )
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), truth["heldout_gain"])
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert f"of {len(complete)} subjects with all models" in legend[1]


def test_fits_that_did_not_converge_have_no_part_in_the_gain():
    tables, lost = cohort(12), pl.col("subject") == "CSHL_001"
    of_two = tables.scores.with_columns(
        converged=pl.col("converged") & ~(lost & (pl.col("num_states") == 2))
    )
    of_a_fold = tables.scores.with_columns(folds_converged=pl.col("folds_converged") - lost)
    others = cohort_heldout_bits(tables.scores.filter(~lost), "Mice")
    for scores in (of_two, of_a_fold):
        figure = cohort_heldout_bits(scores, "Mice")
        means = [f.axes[0].containers[0].lines[0].get_ydata() for f in (figure, others)]
        np.testing.assert_array_equal(*means)
        assert "of 1 subject (CSHL_001)" in said(figure)


ABSENT = {"without fits": ["dora"], "whose fit did not converge": ["eve", "finn"]}


@pytest.mark.parametrize(
    "draw",
    [
        lambda t, who: cohort_weights(t.weights, 3, "x", who),
        lambda t, who: cohort_transitions(t.transitions, t.states, 3, "x", who),
        lambda t, who: cohort_occupancy(t.states, 3, "x", who),
        lambda t, who: cohort_psychometrics(t.psychometrics, 3, "x", LABEL, who),
        lambda t, who: cohort_heldout_bits(t.scores, "x", who),
        lambda t, who: cohort_checks(t.checks(3), validity.cohort_checks([t.checks(3)]), "x", who),
        lambda t, who: cohort_transition_weights(
            transition_weight_table(with_regressors(t.fits[0])), 3, "x", who
        ),
    ],
)
def test_who_is_left_out_is_counted_and_named(draw):
    whole = "Left out: 1 subject without fits (dora), 2 subjects whose fit did not converge (eve, "
    assert f"{whole}finn)." in said(draw(cohort(3), ABSENT))
    assert "Left out" not in said(draw(cohort(3), None))


@pytest.mark.parametrize(
    "draw",
    [
        lambda t, m: weights_by_state(m(t.weights), 3),
        lambda t, m: transition_matrix(m(t.transitions), 3),
        lambda t, m: em_traces(m(t.restarts)),
        lambda t, m: session_posteriors(m(t.trials), m(t.states), 3, example_sessions(t.trials, 2)),
        lambda t, m: psychometric_by_state(m(t.psychometrics), 3, LABEL),
        lambda t, m: heldout_bits(m(t.folds), "x"),
    ],
)
def test_the_order_of_rows_is_of_no_consequence(draw):
    assert drawn(draw(textbook(), mixed)) == drawn(draw(textbook(), lambda table: table))


@pytest.mark.parametrize(
    "draw",
    [
        lambda t, m: cohort_weights(m(t.weights), 3, "x"),
        lambda t, m: cohort_transitions(m(t.transitions), m(t.states), 3, "x"),
        lambda t, m: cohort_occupancy(m(t.states), 3, "x"),
        lambda t, m: cohort_psychometrics(m(t.psychometrics), 3, "x", LABEL),
        lambda t, m: cohort_heldout_bits(m(t.scores), "x"),
    ],
)
def test_the_order_of_subjects_is_of_no_consequence(draw):
    assert drawn(draw(cohort(12), mixed)) == drawn(draw(cohort(12), lambda table: table))


def test_a_model_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"no model of 7 states in the table, only \[1, 2"):
        weights_by_state(textbook().weights, 7)


def test_checks_that_fail_are_marked():
    table = textbook().checks(3)
    axes = predictive_checks(table).axes
    order = ("share_switching", "switches_per_session", "switches_variance")
    for ax, name in zip(axes, order, strict=False):
        row = table.filter(statistic=name).row(0, named=True)
        (point,) = (line for line in ax.lines if line.get_marker() == "o")
        assert point.get_xdata()[0] == row["data"]
        assert (to_hex(point.get_color()) == ALARM) == row["fails"]
        assert sum(patch.get_height() for patch in ax.patches) == 200
    lags = table.filter(statistic="choice_autocorrelation")
    points = [line for line in axes[5].lines if line.get_marker() == "o"]
    assert [line.get_ydata()[0] for line in points] == lags["data"].to_list()
    assert [to_hex(line.get_color()) == ALARM for line in points] == lags["fails"].to_list()


def test_restless_sessions_are_those_of_the_last_kind_with_their_switches():
    table = kinds_of_sessions(12)
    above, below, share, _ = session_kinds(table, textbook().checks(3)).axes
    assert [bar.get_height() for bar in above.patches] == table["p_kind_1"].to_list()
    (restless,) = (line for line in below.lines if to_hex(line.get_color()) == RESTLESS)
    expected = table.with_row_index("place", 1).filter(pl.col("p_kind_1") > 0.5)
    assert 0 < expected.height < 12
    np.testing.assert_array_equal(
        restless.get_xydata(), expected.select("place", "num_switches").to_numpy()
    )
    data = (
        textbook().checks(3).row(by_predicate=pl.col("statistic") == "share_switching", named=True)
    )
    assert share.lines[0].get_xdata()[0] == data["data"]


def test_what_a_cohort_s_checks_say_stands_beside_the_points():
    tables = cohort(3)
    checks = [tables.checks(3, i) for i in range(3)]
    summary = validity.cohort_checks(checks)
    for ax in cohort_checks(pl.concat(checks), summary, "Mice").axes:
        assert not ax.texts
        assert "0 of 3 below,\np = 0.25" in ax.get_xlabel()


def test_states_that_are_never_entered_are_marked_in_the_checks():
    figure = predictive_checks(textbook().checks(3))
    runs, rises = figure.axes[3:5]
    crosses = [line.get_xdata()[0] for line in runs.lines if line.get_marker() == "x"]
    assert crosses == [2]  # biased right has no run
    names = [label.get_text() for label in runs.get_xticklabels()]
    assert names == [*THREE, "one choice"]
    assert [label.get_text() for label in rises.get_xticklabels()] == THREE
    table = textbook().checks(3).filter(statistic="occupancy_rise")
    shown = [line.get_ydata()[0] for line in rises.lines if line.get_marker() == "o"]
    assert shown == table["data"].to_list()
    assert "never in it" in figure.legends[0].get_texts()[-1].get_text()


def test_refits_that_cannot_be_trusted_are_told_of():
    recovered = textbook().recovery(3)
    for trouble in (True, False):
        table = (
            recovered if trouble else recovered.filter(pl.col("converged") & ~pl.col("ambiguous"))
        )
        labels = [text.get_text() for text in parameter_recovery(table).legends[0].get_texts()]
        assert ("not converged, or other states" in labels) == trouble


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["CSHL_001", "b"], ["CSHL_001", "b"]),
        ([f"a_long_laboratory_{i:02d}_2019_07_18" for i in (1, 2)], ["…01…", "…02…"]),
        ([f"{'x' * 30}{i}{'y' * 30}" for i in (1, 2)], ["xxxxx…yyyyy#1", "xxxxx…yyyyy#2"]),
        (
            ["zed", *(f"mouse_{i:03d}_of_lab_a_left_hemi" for i in range(4))],
            ["zed", "…000…", "…001…", "…002…", "…003…"],
        ),
        (  # a name that is what another would be shown as
            ["xxxxx…yyyyy#1", *(f"{'x' * 30}{i}{'y' * 30}" for i in (1, 2))],
            ["xxxxx…yyyyy#1", "xxxxx…yyyyy#2", "xxxxx…yyyyy#3"],
        ),
        ([f"long_name_of_mouse_{c}" for c in ("one", "two")], ["long_n…se_one", "long_n…se_two"]),
        (["one"], ["one"]),
    ],
)
def test_names_are_cut_so_that_they_still_differ(names, shown):
    assert told_apart(names, 13) == shown
    assert told_apart([*names, names[0]], 13) == [*shown, shown[0]]


@given(
    st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["", "mouse_of_a_", "mouse" * 7]),
            st.text("ab_#1…", max_size=9),
            st.sampled_from(["", "_left_hemisphere", "x" * 35]),
        ),
        unique=True,
        max_size=12,
    ),
    st.integers(4, 28),
)
def test_however_they_are_cut_names_differ_and_fit(names, limit):
    cut = told_apart(names, limit)
    assert len(set(cut)) == len(names)
    assert all(len(text) <= limit for text in cut)
    assert told_apart(names, max(map(len, names), default=1)) == names


def test_long_names_of_a_cohort_differ_below_its_bars():
    states = cohort(3).states.with_columns(
        subject="a_laboratory_far_away_" + pl.col("subject") + "_2019_07_18"
    )
    bars = cohort_occupancy(states, 3, "Mice").axes[0]
    names = {label.get_text() for label in bars.get_xticklabels()}
    assert names == {"…000…", "…001…", "…002…"}
