"""States are called what their weights say, however they are numbered and coded."""

from dataclasses import replace

import numpy as np
import pytest
from core.synthetic_fits import FEATURES, IBL, make_fit, permuted, simulate
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.states.labels import BIASED, MARGIN, Roles, order_and_label

SIDES = ("left", "right")
TRIALS, _ = simulate(IBL, 3, 40, seed=3)
BASE = make_fit(TRIALS, IBL)


def fit_with(weights, *, features=FEATURES, baseline=0):
    """A fit of these weights (K, C-1, M) on trials whose stimulus has a spread of one."""
    weights = np.asarray(weights, float)
    K = len(weights)
    params = Parameters(np.full(K, 1 / K), np.full((K, K), 1 / K), weights)
    X = BASE.X.copy()
    X[:, 0] /= X[:, 0].std()
    return replace(
        BASE,
        fitted_params=params,
        num_states=K,
        specification=Specification(weights.shape[1] + 1, features, np.full(4, 2.0)),
        baseline_class_idx=baseline,
        smoothed_state_probs=np.random.default_rng(0).dirichlet(np.ones(K), len(X)),
        X=X,
    )


def two(*states):
    """Weights of two-choice states given as (stimulus, bias)."""
    return [[[stimulus, bias, 0.1, 0.2]] for stimulus, bias in states]


def named(fit, names=SIDES, **options):
    labels = order_and_label(fit, names, **options)
    return list(labels.labels), labels


def test_the_published_three_states_have_their_names_order_and_colors():
    labels = order_and_label(BASE, SIDES)
    assert labels.labels == ("engaged", "biased left", "biased right")
    assert labels.order == (0, 1, 2)
    assert labels.colors == ("#ff7f00", "#4daf4a", "#377eb8")
    assert not labels.ambiguous
    assert labels.reason == ""


@given(st.permutations(range(3)))
def test_names_and_colors_follow_the_states_when_they_are_renumbered(order):
    fit = make_fit(TRIALS.head(40), permuted(IBL, list(order)))
    labels = order_and_label(fit, SIDES)
    original = order_and_label(BASE, SIDES)
    assert labels.labels == tuple(original.labels[i] for i in order)
    assert labels.colors == tuple(original.colors[i] for i in order)
    assert [order[i] for i in labels.order] == list(original.order)
    assert [labels.ranks[i] for i in labels.order] == [0, 1, 2]


@given(
    states=st.lists(
        st.tuples(st.sampled_from([-1.0, 0.2, 1.3, 4.0, 7.0]), st.sampled_from([-2.0, 0.1, 2.0])),
        min_size=2,
        max_size=8,
    ),
    data=st.data(),
)
def test_any_model_gets_distinct_names_that_do_not_depend_on_numbering(states, data):
    weights = np.array(two(*states))
    weights[:, 0, 3] += 1e-6 * np.arange(len(states))  # stimulus weights may tie
    order = data.draw(st.permutations(range(len(states))))
    labels = order_and_label(fit_with(weights), SIDES)
    moved = order_and_label(fit_with(weights[order]), SIDES)
    assert len(set(labels.labels)) == len(set(labels.colors)) == len(states)
    assert sorted(labels.order) == list(range(len(states)))
    assert moved.labels == tuple(labels.labels[i] for i in order)
    assert (moved.ambiguous, moved.reason) == (labels.ambiguous, labels.reason)
    assert labels.ambiguous == bool(labels.reason)


def test_names_do_not_depend_on_the_baseline_class():
    coded_right = fit_with(two((7, 0), (1, -2), (1, 2)))
    coded_left = fit_with(-np.array(two((7, 0), (1, -2), (1, 2))), baseline=1)
    assert order_and_label(coded_right, SIDES) == order_and_label(coded_left, SIDES)


def test_names_do_not_depend_on_the_unit_of_the_stimulus():
    fit = fit_with(two((7, 0), (1, -2), (1, 2)))
    weights = np.array(fit.fitted_params.emission_weights)
    weights[:, :, 0] /= 100
    X = fit.X.copy()
    X[:, 0] *= 100
    percent = replace(fit, X=X, fitted_params=fit.fitted_params._replace(emission_weights=weights))
    assert order_and_label(percent, SIDES) == order_and_label(fit, SIDES)


@pytest.mark.parametrize("gap", [MARGIN - 0.01, MARGIN + 0.01])
def test_engaged_is_clearly_the_most_driven_by_the_stimulus(gap):
    names, labels = named(fit_with(two((0.9 + gap, 0), (0.9, -2), (0.5, 2))))
    if gap > MARGIN:
        assert names == ["engaged", "biased left", "biased right"]
    else:
        assert names == ["state 1", "state 2", "state 3"]
        assert labels.ambiguous
        assert "No single state is engaged" in labels.reason
        assert "1.89 and 0.90" in labels.reason


def test_a_mouse_without_an_engaged_state_is_told_as_such():
    # The weights of one of the mice of the reference cohort: stimulus 1.3 everywhere.
    weights = [[[1.27, 1.27, -1, 0]], [[1.27, -2.21, 0, 0.1]], [[1.04, 1.56, 2.67, 1.1]]]
    names, labels = named(fit_with(weights))
    assert not any("engaged" in name or "biased" in name for name in names)
    assert names[2] == "state 3"  # by falling stimulus weight
    assert labels.ambiguous


def test_states_that_do_not_follow_the_stimulus_are_not_engaged():
    names, labels = named(fit_with(two((0.9, 0), (-2, -2))))
    assert names == ["state 1", "state 2"]
    assert labels.reason.startswith("No state is engaged: the largest stimulus weight is 0.90")


def test_two_engaged_states_of_opposite_preference():
    four = fit_with(two((7.4, -1.2), (7.6, 0.75), (1, -1.6), (1, 1.5)))
    names, labels = named(four)
    assert names == ["engaged left", "engaged right", "biased left", "biased right"]
    assert labels.order == (0, 1, 2, 3)
    assert not labels.ambiguous
    names, labels = named(fit_with(two((7.4, -1.2), (7.6, 0.75), (1, -1.6))))
    assert names == ["engaged left", "engaged right", "biased left"]
    assert labels.ambiguous
    alike = named(fit_with(two((7.4, 1.2), (7.6, 0.75), (1, -1.6), (1, 1))))[0]
    assert alike == ["state 2", "state 1", "state 3", "state 4"]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ((1, -BIASED - 0.01), "biased left"),
        ((1, BIASED + 0.01), "biased right"),
        ((1, BIASED - 0.01), "disengaged"),
        ((3.4, 0.0), "disengaged"),
        ((3.6, 0.0), "state 2"),
        ((3.6, -2.0), "state 2"),
        ((3.4, -2.0), "biased left"),
        ((-2.0, 0.0), "disengaged"),
    ],
)
def test_what_the_other_state_is_called(other, name):
    names, labels = named(fit_with(two((7, 0), other)))
    assert names == ["engaged", name]
    assert labels.ambiguous == name.startswith("state")


def test_names_that_occur_twice_are_numbered_and_marked():
    names, labels = named(fit_with(two((7, 0), (0.5, -2), (1, -1), (1, 2))))
    assert names == ["engaged", "biased left 2", "biased left 1", "biased right"]
    assert labels.reason == "2 states are biased left."
    assert labels.order == (0, 2, 1, 3)


def test_one_state_is_a_glm():
    names, labels = named(fit_with(two((3, 1))))
    assert names == ["GLM"]
    assert not labels.ambiguous


def test_three_choices():
    # Rows: log-odds of center and of right over left.
    weights = [
        [[3, 0, 0, 0], [6, 0, 0, 0]],  # follows the stimulus
        [[0, -2, 0, 0], [0.5, -3, 0, 0]],  # left
        [[0.2, 2, 0, 0], [0.5, 0, 0, 0]],  # center
        [[0.1, 0.5, 0, 0], [0.5, 3, 0, 0]],  # right
    ]
    names, labels = named(fit_with(weights), ("left", "center", "right"))
    assert names == ["engaged", "biased left", "biased center", "biased right"]
    assert labels.order == (0, 1, 2, 3)
    assert not labels.ambiguous
    assert len(set(labels.colors)) == 4
    # The same laws with the center as baseline: subtract its logit.
    logits = np.insert(np.array(weights, float), 0, 0.0, axis=1)
    recoded = np.delete(logits - logits[:, 1:2], 1, axis=1)
    again = order_and_label(fit_with(recoded, baseline=1), ("left", "center", "right"))
    assert again == labels


def test_regressors_of_other_names_are_given_by_their_roles():
    fit = fit_with(two((7, 0), (1, -2), (1, 2)), features=("evidence", "offset", "a", "b"))
    names, labels = named(fit)
    assert sorted(names) == ["state 1", "state 2", "state 3"]
    assert "no regressor named 'stimulus'" in labels.reason
    occupancy = fit.smoothed_state_probs.mean(0)
    assert list(labels.order) == list(np.argsort(-occupancy))
    assert named(fit, roles=Roles("evidence", "offset"))[0] == [
        "engaged",
        "biased left",
        "biased right",
    ]
    assert named(fit, roles=Roles("evidence", "none"))[0] == [
        "engaged",
        "disengaged 1",
        "disengaged 2",
    ]


def test_every_label_of_a_large_model_has_a_color_of_its_own():
    neutral = order_and_label(fit_with(two(*[(7 - 0.1 * i, 0) for i in range(8)])), SIDES)
    assert len(set(neutral.colors)) == 8
    assert not {"#ff7f00", "#4daf4a", "#377eb8"} & set(neutral.colors)
