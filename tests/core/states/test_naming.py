"""A subject's states take the pooled fit's names where they are its states, and only there."""

from dataclasses import replace

import numpy as np
import pytest
from core.driven_fits import with_regressors
from core.synthetic_fits import FEATURES, IBL, make_subject, simulate

from glmhmm_core.design.design import Design
from glmhmm_core.engine.parameters import Parameters
from glmhmm_core.fitting.batch import fit_subjects
from glmhmm_core.fitting.population import fit_population
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.states.labels import order_and_label
from glmhmm_core.states.naming import Naming

SIDES = ("left", "right")
TRIALS, _ = simulate(IBL, 12, 90, seed=1)
OPTIONS = {"n_folds": 0, "n_restarts": 1}
POOLED = make_subject(TRIALS, [IBL], **OPTIONS)


def with_weights(*changes):
    """Published weights but for these: (state, column, value)."""
    weights = IBL.emission_weights.copy()
    for state, column, value in changes:
        weights[state, 0, column] = value
    return IBL._replace(emission_weights=weights)


def names_of(params, pooled=POOLED, trials=TRIALS):
    fit = make_subject(trials, [params], **OPTIONS).fits[0]
    return Naming(population=pooled)(fit, SIDES)


def test_weak_states_keep_the_names_of_the_pooled_fit():
    # By themselves no state would be engaged: the stimulus weights are 2.2 and 1.2.
    subject = with_weights((0, 0, 2.2), (0, 1, 0.3))
    assert names_of(subject).labels == ("engaged", "biased left", "biased right")


def test_one_state_unlike_the_pooled_fits_costs_the_others_no_name():
    odd = with_weights((2, 0, -3.0), (2, 1, 0.3), (2, 2, 2.5))
    labels = names_of(odd)
    assert labels.labels == ("engaged", "biased left", "disengaged (own)")
    assert labels.shared == ("engaged", "biased left", None)
    assert labels.ranks == (0, 1, 2)
    assert "Disengaged (own)" in labels.reason
    assert "'biased right'" in labels.reason
    plain = names_of(IBL)
    assert labels.colors[:2] == plain.colors[:2]
    assert labels.colors[2] not in plain.colors


def test_a_strong_bias_of_an_engaged_state_is_said_and_changes_neither_match_nor_color():
    labels = names_of(with_weights((0, 1, -0.97)))
    assert labels.labels[0] == "engaged, biased left"
    assert labels.shared[0] == "engaged"
    assert labels.colors == names_of(IBL).colors


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ([(1, 1, 0.3)], 1),  # "biased left" that prefers right
        ([(0, 0, 0.5)], 0),  # "engaged" that follows the stimulus less than the others
    ],
)
def test_a_state_that_contradicts_a_name_does_not_take_it(changes, state):
    naming = Naming(population=POOLED)
    fit = make_subject(TRIALS, [with_weights(*changes)], **OPTIONS).fits[0]
    # Even if nothing else spoke against it.
    match = replace(naming.match(fit), reference=np.arange(3), margins=np.ones(3))
    match = replace(match, costs={name: np.zeros((3, 3)) for name in match.costs})
    doubts = naming.doubts(fit, match, naming.reference(3), SIDES)
    assert doubts[state] is not None
    assert [doubt for k, doubt in enumerate(doubts) if k != state] == [None, None]


def test_unnamed_states_of_the_pooled_fit_are_one_thing_for_all_that_match_them():
    none = IBL._replace(emission_weights=IBL.emission_weights * [0, 0.4, 1, 1])
    pooled = make_subject(TRIALS, [none], **OPTIONS)
    reference = Naming(population=pooled).reference(3)
    assert [label.split()[0] for label in reference.labels] == ["state", "state", "state"]
    near = none._replace(emission_weights=none.emission_weights * 1.1)
    labels = names_of(near, pooled)
    assert labels.labels == labels.shared == reference.labels
    assert labels.colors == reference.colors


def test_names_follow_the_states_when_they_are_renumbered():
    order = [2, 0, 1]
    turned = Parameters(
        IBL.initial_probs[order],
        IBL.transition_matrix[np.ix_(order, order)],
        IBL.emission_weights[order],
    )
    labels = names_of(turned)
    assert labels.labels == ("biased right", "engaged", "biased left")
    assert labels.order == (1, 2, 0)


def test_without_a_pooled_fit_of_as_many_states_a_subject_is_named_by_itself():
    fit = make_subject(TRIALS, [IBL], **OPTIONS).fits[0]
    glm = make_subject(TRIALS, [Parameters(np.ones(1), np.ones((1, 1)), IBL.emission_weights[:1])])
    assert Naming(population=glm)(fit, SIDES) == order_and_label(fit, SIDES)
    assert Naming()(fit, SIDES) == order_and_label(fit, SIDES)
    other = replace(
        POOLED,
        fits=(
            replace(
                POOLED.fits[0],
                specification=replace(POOLED.fits[0].specification, emission_names=tuple("abcd")),
            ),
        ),
    )
    assert Naming(population=other)(fit, SIDES) == order_and_label(fit, SIDES)


def test_a_model_with_transition_regressors_is_matched_to_the_constant_one():
    fits = with_regressors(make_subject(TRIALS, [IBL], **OPTIONS), ("trace",))
    labels = Naming(population=POOLED)(fits[3], SIDES)
    assert labels.shared == ("engaged", "biased left", "biased right")


#: A cohort in which the second subject truly has a state that the others do not have.
ENGAGED, LEFT, RIGHT = IBL.emission_weights
REPEATS = np.array([[0.0, 0.0, 3.0, 0.0]])
ALTERNATES = np.array([[0.2, 0.4, -3.0, 0.0]])


@pytest.mark.parametrize("other", [REPEATS, ALTERNATES], ids=["repeats", "alternates"])
def test_a_subject_that_truly_has_another_state_does_not_get_the_pooled_name_for_it(other):
    odd = IBL._replace(emission_weights=np.stack([ENGAGED, LEFT, other]))
    designs, truths = {}, {}
    for number, params in enumerate([IBL, odd, IBL, IBL]):
        trials, states = simulate(params, 16, 150, seed=number, subject=f"m{number}")
        designs[f"m{number}"], truths[f"m{number}"] = design_of(trials), states
    settings = FitSettings(n_restarts=2, cv_folds=0)
    pooled = fit_population(designs, [3], settings)
    fits = fit_subjects(designs, [3], FitSettings(n_restarts=2, cv_folds=0), population=pooled)
    naming = Naming(population=pooled)
    for subject, one in fits.items():
        labels = naming(one[3], SIDES)
        right = labels.labels.index("biased right") if "biased right" in labels.labels else None
        if subject == "m1":
            assert right is None, labels
            assert "engaged" in labels.labels
            assert "biased left" in labels.labels
        else:
            assert set(labels.shared) == {"engaged", "biased left", "biased right"}, labels
            decoded = one[3].smoothed_state_probs.argmax(1)
            agree = (decoded == right) == (truths[subject] == 2)
            assert agree.mean() > 0.9


def design_of(trials):
    y = trials["choice"].fill_null(-1).to_numpy().astype(np.int64)
    return Design(
        subject=trials["subject"][0],
        keys=trials.select("session", "trial"),
        X=trials.select(FEATURES).to_numpy(),
        y=y,
        mask=y >= 0,
        feature_names=FEATURES,
        choice_names=SIDES,
        baseline_class_idx=0,
        prior_scales=np.full(4, 3.0),
    )
