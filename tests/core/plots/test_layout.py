"""Nothing is cut off and no text lies on another."""

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from core.driven_fits import with_regressors
from core.plots.cases import (
    LABEL,
    LONG,
    cohort,
    comparisons,
    kinds_of_sessions,
    learned,
    many_states,
    textbook,
    ugly,
)
from core.plots.crowding import problems
from matplotlib.figure import Figure

from glmhmm_core.plots import driven
from glmhmm_core.plots.cohort import cohort_psychometrics, cohort_weights
from glmhmm_core.plots.cohort_states import (
    cohort_heldout_bits,
    cohort_occupancy,
    cohort_transitions,
)
from glmhmm_core.plots.comparison import cohort_comparison_figure, comparison
from glmhmm_core.plots.dynamics import state_dynamics
from glmhmm_core.plots.hierarchy import population_weights
from glmhmm_core.plots.optimization import em_traces
from glmhmm_core.plots.psychometrics import psychometric_by_state
from glmhmm_core.plots.scores import heldout_bits
from glmhmm_core.plots.session_kinds import session_kinds
from glmhmm_core.plots.sessions import session_posteriors
from glmhmm_core.plots.transitions import transition_matrix
from glmhmm_core.plots.validity import (
    cohort_checks,
    parameter_recovery,
    predictive_checks,
    state_statistics,
)
from glmhmm_core.plots.weights import weights_by_state
from glmhmm_core.tables import validity
from glmhmm_core.tables.driven import (
    driven_transition_table,
    staying_table,
    transition_weight_table,
)

OF_SUBJECT = {
    "em_traces": lambda t, _: em_traces(t.restarts),
    "weights": lambda t, k: weights_by_state(t.weights, k),
    "transitions": lambda t, k: transition_matrix(t.transitions, k),
    "sessions": lambda t, k: session_posteriors(t.trials, t.states, k),
    "psychometrics": lambda t, k: psychometric_by_state(t.psychometrics, k, LABEL),
    "heldout_bits": lambda t, _: heldout_bits(t.folds, t.subject),
    "predictive_checks": lambda t, k: predictive_checks(t.checks(k)),
    "parameter_recovery": lambda t, k: parameter_recovery(t.recovery(k)),
    "state_statistics": lambda t, k: state_statistics(t.accuracy(), t.paths(k)),
    "dynamics": lambda t, k: state_dynamics(*t.dynamics, t.dwells(k), k),
}
OF_COHORT = {
    "weights": lambda t, k: cohort_weights(t.weights, k, NAME),
    "transitions": lambda t, k: cohort_transitions(t.transitions, t.states, k, NAME),
    "occupancy": lambda t, k: cohort_occupancy(t.states, k, NAME),
    "psychometrics": lambda t, k: cohort_psychometrics(t.psychometrics, k, NAME, LABEL),
    "heldout_bits": lambda t, _: cohort_heldout_bits(t.scores, NAME),
}


def checks_of_cohort(tables, num_states):
    """Checks over all subjects that have the model."""
    have = [
        i for i, one in enumerate(tables.fits) if num_states in {f.num_states for f in one.fits}
    ]
    checks = [tables.checks(num_states, i) for i in have]
    return cohort_checks(pl.concat(checks), validity.cohort_checks(checks), NAME)


OF_COHORT["checks"] = checks_of_cohort
DRIVEN = {
    "weights": lambda f, k: driven.transition_weights(bracketed(transition_weight_table(f)), k),
    "transitions": lambda f, k: driven.driven_transitions(driven_transition_table(f), k),
    "staying": lambda f, k: driven.staying(staying_table(f), k),
}
SUBJECTS = [(textbook, 3), (ugly, 1), (ugly, 5), (many_states, 8)]
NAME = "Mice of the first cohort, full contrast set"


def uncrowded(figure):
    assert isinstance(figure, Figure)
    assert problems(figure) == []


@pytest.mark.parametrize("draw", OF_SUBJECT.values(), ids=OF_SUBJECT)
@pytest.mark.parametrize(("case", "num_states"), SUBJECTS)
def test_figures_of_a_subject(draw, case, num_states):
    uncrowded(draw(case(), num_states))


def bracketed(weights):
    return weights.with_columns(lower=pl.col("weight") - 0.4, upper=pl.col("weight") + 0.4)


@pytest.mark.parametrize("draw", DRIVEN.values(), ids=DRIVEN)
@pytest.mark.parametrize(("case", "num_states", "size"), [(textbook, 2, 1), (ugly, 5, 9)])
def test_figures_of_driven_transitions(draw, case, num_states, size):
    names = tuple(f"trace_of_{i}_trials" for i in range(size))
    uncrowded(draw(with_regressors(case().fits[0], names, frozen=True), num_states))


@pytest.mark.parametrize(("size", "num_states"), [(1, 2), (3, 5)])
def test_transition_weights_of_a_cohort(size, num_states):
    fits = [with_regressors(one, seed=i) for i, one in enumerate(cohort(size).fits)]
    weights = pl.concat([transition_weight_table(one) for one in fits])
    uncrowded(driven.cohort_transition_weights(weights, num_states, NAME))


@pytest.mark.parametrize("draw", OF_COHORT.values(), ids=OF_COHORT)
@pytest.mark.parametrize(("size", "num_states"), [(1, 1), (3, 3), (37, 5)])
def test_figures_of_a_cohort(draw, size, num_states):
    uncrowded(draw(cohort(size), num_states))


@pytest.mark.parametrize("trouble", [False, True])
@pytest.mark.parametrize("size", [1, 3, 37])
def test_models_side_by_side(size, trouble):
    table = comparisons(size, trouble)
    uncrowded(comparison(table.filter(subject=table["subject"][0]), "a long name " * 9))
    uncrowded(cohort_comparison_figure(table, NAME))


def test_scores_of_one_kind_of_folds_stand_in_the_middle_of_their_row():
    both = comparisons(3, trouble=False)
    one = both.with_columns(prospective_bits_per_trial=pl.lit(None, pl.Float64))
    for table, aside in ((both, 0.16), (one, 0.0)):
        for figure in (
            comparison(table.filter(subject=table["subject"][0]), "a"),
            cohort_comparison_figure(table, NAME),
        ):
            places = np.concatenate([np.asarray(x.get_ydata()) for x in figure.axes[0].lines])
            np.testing.assert_allclose(np.abs(places - places.round()), aside, atol=1e-12)


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "center", "right")])
def test_a_learned_population(classes):
    absent = {"without fits": [LONG, "dora"], "whose fit did not converge": ["emil"]}
    uncrowded(population_weights(learned(classes, 7), 2, NAME, absent))


def test_marks_of_many_transitions_stay_by_their_regressor():
    fits = with_regressors(many_states().fits[0], ("a", "b"))
    figure = driven.transition_weights(bracketed(transition_weight_table(fits)), 8)
    for ax in figure.axes:
        marks = np.concatenate([x.get_xdata() for x in ax.lines if x.get_marker() != "None"])
        assert len(np.unique(marks)) == 14  # none lies on another's, seven by each
        assert np.abs(marks - marks.round()).max() < 0.45


def test_a_long_note_does_not_eat_up_the_panels():
    tables, absent = cohort(3), {f"of reason {i}": ["dora", "emil"] for i in range(12)}
    heights = []
    for given in ({}, absent):
        figure = cohort_weights(tables.weights, 3, NAME, given)
        figure.draw_without_rendering()
        heights.append(figure.axes[0].get_window_extent().height)
    assert heights[1] > 0.8 * heights[0]


@pytest.mark.parametrize(("size", "checked"), [(1, True), (400, True), (40, False)])
def test_sessions_of_kinds(size, checked):
    checks = textbook().checks(3) if checked else None
    uncrowded(session_kinds(kinds_of_sessions(size, LONG), checks))


def test_models_without_scores_say_so():
    table = comparisons(3, trouble=False).with_columns(
        heldout_bits_per_trial=pl.lit(None, pl.Float64)
    )
    uncrowded(comparison(table.filter(subject=table["subject"][0]), "a"))
    uncrowded(cohort_comparison_figure(table, NAME))


@pytest.mark.parametrize("draw", [weights_by_state, lambda w, k: cohort_weights(w, k, NAME)])
def test_many_regressors_of_long_names(draw):
    weights = cohort(3).weights
    last = weights.filter(feature="wsls")
    lags = [
        last.with_columns(
            feature=pl.lit(f"choice_lag_{lag:02d}_after_reward"),
            feature_idx=pl.lit(3 + lag, pl.Int64),
        )
        for lag in range(1, 21)
    ]
    table = pl.concat([weights, *lags])
    if draw is weights_by_state:
        table = table.filter(subject=table["subject"][0])
    uncrowded(draw(table, 3))


def test_crowding_is_found():
    figure = Figure(figsize=(2, 2))
    ax = figure.subplots()
    ax.set_title("much too long a title for a figure of two inches")
    ax.set_xticks([0, 0.01, 1], ["one", "two", "three"])
    found = problems(figure)
    assert any("is cut off at a side" in one for one in found)
    assert "'one' lies on 'two'" in found


def test_names_with_marks_and_other_letters_are_shown_as_they_are():
    tables = textbook()
    weights = tables.weights.with_columns(subject=tables.weights["subject"] + " $x_1$ Ωж")
    figure = weights_by_state(weights, 3)
    uncrowded(figure)
    assert "$x_1$ Ωж" in figure.get_suptitle()


def test_drawing_leaves_matplotlib_as_it_was():
    before = dict(mpl.rcParams)
    em_traces(textbook().restarts)
    cohort_weights(cohort(3).weights, 3, NAME)
    assert dict(mpl.rcParams) == before


def test_pyplot_is_not_needed():
    rooms = "cohort cohort_states export optimization psychometrics scores sessions validity"
    imports = "; ".join(f"import glmhmm_core.plots.{room}" for room in rooms.split())
    code = f"import sys; {imports}; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
