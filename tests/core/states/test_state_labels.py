"""States are called what their weights say, however they are numbered and coded."""

from dataclasses import replace

import numpy as np
import pytest
from core.synthetic_fits import FEATURES, IBL, make_fit, permuted, simulate
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.specification import Specification
from glmhmm_core.states.labels import CLEAR, Roles, label_reference, order_and_label

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
    return [[[stimulus, bias, 0, 0]] for stimulus, bias in states]


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


@pytest.mark.parametrize(
    ("states", "names"),
    [
        # Weak stimulus weights, nearly alike: what the stimulus decides is engaged all the same.
        (((1.6, 0), (1.3, -2), (0.5, 2)), ["engaged", "biased left", "biased right"]),
        (((CLEAR - 0.01, 0), (0.2, -2)), ["state 2", "biased left"]),
        (((CLEAR + 0.01, 0), (0.2, -2)), ["engaged", "biased left"]),
        # One standard deviation against the preference decides, or does not.
        (((1.3, 1.2), (0.1, 0)), ["engaged right", "disengaged"]),
        (((1.2, 1.3), (0.1, 0)), ["biased right", "state 2"]),
        # Less than half of the largest slope.
        (((7, 0), (3.4, 0)), ["engaged", "disengaged"]),
        (((7, 0), (3.4, -2)), ["engaged", "biased left"]),
        (((7, 0), (3.6, -2)), ["engaged", "engaged left"]),
        (((7, 0), (-2, 0)), ["engaged", "disengaged"]),
        # 70 % at stimulus 0.
        (((7, -0.97), (1, 0)), ["engaged left", "disengaged"]),
        (((7, CLEAR - 0.01), (1, CLEAR + 0.01)), ["engaged", "biased right"]),
        (((7, 0), (1, CLEAR - 0.01)), ["engaged", "disengaged"]),
    ],
)
def test_names_by_slope_and_preference(states, names):
    assert named(fit_with(two(*states)))[0] == names


@pytest.mark.parametrize(
    ("states", "names"),
    [
        # Preferences of different choices that add up to 70 to 30.
        (((7, -0.5), (6, 0.5), (1, -2)), ["engaged left", "engaged right", "biased left"]),
        (((7, -0.3), (6, 0.3), (1, -2)), ["engaged 1", "engaged 2", "biased left"]),
        (((7, 0.5), (6, 0.6), (1, -2)), ["engaged 1", "engaged 2", "biased left"]),
        (((6, 1.3), (7, 1.2), (1, -2)), ["engaged right 2", "engaged right 1", "biased left"]),
        (((7, 0), (0.5, -2), (1, -1)), ["engaged", "biased left 2", "biased left 1"]),
        # "engaged left" is taken already.
        (
            ((7, -2), (6, -0.5), (6.5, 0.5)),
            ["engaged left", "engaged 2", "engaged 1"],
        ),
    ],
)
def test_states_of_one_kind_are_told_apart_by_side_or_number(states, names):
    assert named(fit_with(two(*states)))[0] == names


def test_numbered_states_are_of_this_model_alone_unless_others_are_matched_to_it():
    fit = fit_with(two((7, 0), (0.5, -2), (1, -1), (1, 2)))
    labels = order_and_label(fit, SIDES)
    assert labels.shared == ("engaged", None, None, "biased right")
    assert labels.reason == "2 states are biased left."
    assert labels.order == (0, 2, 1, 3)
    red, green, blue = ([int(color[i : i + 2], 16) for color in labels.colors] for i in (1, 3, 5))
    gray = [r == g == b for r, g, b in zip(red, green, blue, strict=True)]
    assert gray == [False, True, True, False]
    reference = label_reference(fit, SIDES)
    assert reference.shared == reference.labels == labels.labels
    assert len(set(reference.colors)) == 4


def test_states_that_do_not_follow_the_stimulus_are_not_engaged():
    names, labels = named(fit_with(two((0.5, 0), (-2, -2))))
    assert names == ["state 2", "biased left"]
    assert labels.reason.startswith("No state is engaged: the largest slope is 0.50")


def test_two_engaged_states_of_opposite_preference():
    names, labels = named(fit_with(two((7.4, -1.2), (7.6, 0.9), (1, -1.6), (1, 1.5))))
    assert names == ["engaged left", "engaged right", "biased left", "biased right"]
    assert labels.order == (0, 1, 2, 3)
    assert not labels.ambiguous


def test_a_preference_counts_what_the_other_regressors_are_like():
    # History that is mostly to the right, and counts as much as a bias of 1.2 on the average.
    fit = fit_with([[[7, 0, 2, 0]], [[0, -2, 0, 0]]])
    X = fit.X.copy()
    X[:, 2] = 0.6
    assert named(replace(fit, X=X))[0] == ["engaged right", "biased left"]
    X[:, 2] = 0.0
    assert named(replace(fit, X=X))[0] == ["engaged", "biased left"]


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


def test_three_choices_two_of_which_share_what_is_left():
    # 54 % of the center, 23 % of each other, at stimulus 0: 7 to 3 against the mean of the others.
    level = np.log(7 / 3)
    weights = [[[3, 0, 0, 0], [6, 0, 0, 0]], [[0, level + 0.01, 0, 0], [0, 0, 0, 0]]]
    assert named(fit_with(weights), ("left", "center", "right"))[0] == ["engaged", "biased center"]
    weights[1][0][1] = level - 0.01
    assert named(fit_with(weights), ("left", "center", "right"))[0] == ["engaged", "disengaged"]


def test_four_choices():
    names = ("a", "b", "c", "d")
    weights = np.zeros((5, 3, 4))
    weights[0, :, 0] = [2, 4, 6]
    for k in range(1, 4):
        weights[k, k - 1, 1] = 3
    weights[4, :, 1] = -3
    labels = named(fit_with(weights), names)[0]
    assert labels == ["engaged", "biased b", "biased c", "biased d", "biased a"]


def test_regressors_of_other_names_are_given_by_their_roles():
    fit = fit_with(two((7, 0), (1, -2), (1, 2)), features=("evidence", "offset", "a", "b"))
    assert named(fit, roles=Roles("evidence"))[0] == ["engaged", "biased left", "biased right"]


def test_without_a_stimulus_only_biases_are_named():
    fit = fit_with(two((0.1, 0), (0, -2), (0, 0.2)), features=("outcome", "bias", "a", "b"))
    names, labels = named(fit)
    assert names[1] == "biased left"
    assert sorted([names[0], names[2]]) == ["state 2", "state 3"]
    assert "no regressor named 'stimulus'" in labels.reason
    occupancy = fit.smoothed_state_probs.mean(0)
    first, second = (labels.labels.index(f"state {n}") for n in (2, 3))
    assert occupancy[first] > occupancy[second]
    assert labels.shared == (None, "biased left", None)


def test_every_label_of_a_large_model_has_a_color_of_its_own():
    fit = fit_with(two(*[(0.1 * i, 0) for i in range(8)]))
    for labels in (order_and_label(fit, SIDES), label_reference(fit, SIDES)):
        assert labels.labels == tuple(f"state {8 - i}" for i in range(8))
        assert len(set(labels.colors)) == 8
        assert not {"#ff7f00", "#4daf4a", "#377eb8"} & set(labels.colors)
