"""What each hidden state is called, by rules on its weights and never by its index.

The rules, in order (K states, C choices):

1. One state is "GLM".
2. A state's *stimulus weight* is the log-odds of the last against the first choice per standard
   deviation of the stimulus regressor, so that its units do not matter.
3. The state with the largest stimulus weight is "engaged" if that weight is at least ``MARGIN``
   and exceeds the next by at least ``MARGIN`` (Ashwood et al. 2022 take the largest without a
   margin). Two states that share the top, ``MARGIN`` clear of the rest and with opposite
   preferences ``MARGIN`` apart, are "engaged left" and "engaged right": the field's picture from
   four states on, and marked ambiguous below that.
4. Any other state whose stimulus weight is at least half of the engaged one's fits no
   description and is "state <n>". Below that it is "biased <choice>" if its bias weights prefer
   one choice by at least ``BIASED`` log-odds over the mean of the others, else "disengaged".
5. If no state is engaged, none of the names would mean what it does in other subjects: all are
   "state <n>", and the reason is given.

Names that would occur twice are numbered. Numbered and nameless states are marked ambiguous.
"""

from dataclasses import dataclass

import numpy as np

from glmhmm_core.fitting.result import FitResult
from glmhmm_core.states.colors import state_colors

#: Log-odds per standard deviation of the stimulus that tell one state's stimulus weight from
#: another's (science of the reference: an engaged margin below 1 is not to be trusted).
MARGIN = 1.0
#: Log-odds without a stimulus from which a state is called biased: 62 % of choices of two.
BIASED = 0.5
#: States from which on two engaged ones are the field's usual picture.
STATES_OF_TWO_ENGAGED = 4


@dataclass(frozen=True)
class Roles:
    """Names of the regressors that the rules look at.

    ``stimulus`` carries the stimulus that calls for one choice or another, ``bias`` is the
    constant. Without the first no state is named; without the second none is called biased.
    """

    stimulus: str = "stimulus"
    bias: str = "bias"


@dataclass(frozen=True)
class StateLabels:
    """Names of one model's states.

    Attributes
    ----------
    labels, colors : K strings
        Name and "#rrggbb" of each state, by state index.
    order : K integers
        State indices in display order: engaged, then biased by choice, then the others by
        falling stimulus weight.
    ambiguous
        Whether the states fit the picture of named states badly; then not to be pooled over
        subjects without a look.
    reason
        Why, as sentences; empty unless ``ambiguous``.
    """

    labels: tuple[str, ...]
    order: tuple[int, ...]
    colors: tuple[str, ...]
    ambiguous: bool
    reason: str

    @property
    def ranks(self) -> tuple[int, ...]:
        """Place of each state in the display order, by state index."""
        return tuple(int(rank) for rank in np.argsort(self.order))


@dataclass(frozen=True)
class _Traits:
    """What the rules look at, by state: stimulus weight, preferred class and its log-odds."""

    stimulus: np.ndarray
    preferred: np.ndarray
    preference: np.ndarray


def order_and_label(
    fit: FitResult, choice_names: tuple[str, ...], roles: Roles | None = None
) -> StateLabels:
    """Name and order the states of a fit by the rules at the head of this file.

    Parameters
    ----------
    fit
        The fitted model, K states.
    choice_names
        C names of the classes, along the stimulus axis: the last is the one that a larger
        stimulus calls for.
    roles
        Which regressors the rules look at; "stimulus" and "bias" if not given.
    """
    roles = roles or Roles()
    num_states = fit.num_states
    if num_states == 1:
        return StateLabels(("GLM",), (0,), state_colors(("GLM",), choice_names), False, "")
    weights = np.asarray(fit.fitted_params.emission_weights)
    if roles.stimulus not in fit.emission_names:
        occupancy = fit.smoothed_state_probs.mean(0)
        reason = f"The model has no regressor named '{roles.stimulus}' to tell states by."
        return _neutral(_display_order(np.zeros(num_states), -occupancy, weights), reason)

    traits = _traits(fit, weights, roles)
    engaged, reason = _engaged(traits)
    if not engaged:
        order = _display_order(np.zeros(num_states), -traits.stimulus, weights)
        return _neutral(order, reason)
    names = _names(traits, engaged, choice_names)
    groups = np.array([_group(name, choice_names) for name in names])
    order = _display_order(groups, -traits.stimulus, weights)
    labels, doubts = _distinct(names, order)
    reasons = " ".join(filter(None, [reason, *doubts]))
    return _finish(labels, order, choice_names, reasons)


def _traits(fit: FitResult, weights: np.ndarray, roles: Roles) -> _Traits:
    # Logits of all C classes, so that nothing depends on which of them is the baseline.
    logits = np.insert(weights, fit.baseline_class_idx, 0.0, axis=1)
    column = fit.emission_names.index(roles.stimulus)
    slope = (logits[:, -1, column] - logits[:, 0, column]) * fit.X[:, column].std()
    if roles.bias not in fit.emission_names:
        nothing = np.zeros(len(slope))
        return _Traits(slope, nothing.astype(np.int64), nothing)
    level = logits[:, :, fit.emission_names.index(roles.bias)]
    preferred = level.argmax(1)
    top = level.max(1)
    others = (level.sum(1) - top) / (level.shape[1] - 1)
    return _Traits(slope, preferred, top - others)


def _engaged(traits: _Traits) -> tuple[tuple[int, ...], str]:
    """States that are engaged, and what is doubtful about that."""
    ranked = np.argsort(-traits.stimulus, kind="stable")
    weight = traits.stimulus[ranked]
    first, second = (int(state) for state in ranked[:2])
    unit = "log-odds per SD of the stimulus"
    if weight[0] < MARGIN:
        return (), f"No state is engaged: the largest stimulus weight is {weight[0]:.2f} {unit}."
    if weight[0] - weight[1] >= MARGIN:
        return (first,), ""
    alike = f"stimulus weights of {weight[0]:.2f} and {weight[1]:.2f} {unit}"
    clear_of_rest = len(weight) == 2 or weight[1] - weight[2] >= MARGIN
    apart = (
        traits.preferred[first] != traits.preferred[second]
        and traits.preference[first] + traits.preference[second] >= MARGIN
    )
    if weight[1] < MARGIN or not (clear_of_rest and apart):
        return (), f"No single state is engaged: the two that lead have {alike}."
    if len(weight) >= STATES_OF_TWO_ENGAGED:
        return (first, second), ""
    return (first, second), f"Two states are engaged, with {alike}."


def _names(
    traits: _Traits, engaged: tuple[int, ...], choice_names: tuple[str, ...]
) -> list[str | None]:
    """Name of each state by the rules, not yet distinct; None where no rule applies."""
    names: list[str | None] = []
    floor = traits.stimulus[list(engaged)].min() / 2
    for state, slope in enumerate(traits.stimulus):
        side = choice_names[traits.preferred[state]]
        if state in engaged:
            names.append("engaged" if len(engaged) == 1 else f"engaged {side}")
        elif slope >= floor:
            names.append(None)
        else:
            names.append(f"biased {side}" if traits.preference[state] >= BIASED else "disengaged")
    return names


def _group(name: str | None, choice_names: tuple[str, ...]) -> int:
    """Place of a name's group in the display order."""
    named = [
        "engaged",
        *(f"engaged {choice}" for choice in choice_names),
        *(f"biased {choice}" for choice in choice_names),
    ]
    return named.index(name) if name in named else len(named)


def _display_order(groups: np.ndarray, falling: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """State indices by group, then by ``falling``, then by the weights themselves.

    The last keys make ties fall the same way however the states are numbered.
    """
    flat = weights.reshape(len(weights), -1)
    return np.lexsort((*flat.T[::-1], falling, groups))


def _distinct(names: list[str | None], order: np.ndarray) -> tuple[list[str], list[str]]:
    """Labels by state, made distinct by numbers, and what is doubtful about them."""
    labels = ["" for _ in names]
    doubts = []
    for place, state in enumerate(order):
        name = names[state]
        if name is None:
            labels[state] = f"state {place + 1}"
            doubts.append(f"State {place + 1} fits no description.")
            continue
        alike = [other for other in order if names[other] == name]
        number = alike.index(state) + 1
        labels[state] = name if len(alike) == 1 else f"{name} {number}"
        if number == 2:
            doubts.append(f"{len(alike)} states are {name}.")
    return labels, doubts


def _neutral(order: np.ndarray, reason: str) -> StateLabels:
    labels = [""] * len(order)
    for place, state in enumerate(order):
        labels[state] = f"state {place + 1}"
    return _finish(labels, order, ("", ""), reason)


def _finish(
    labels: list[str], order: np.ndarray, choice_names: tuple[str, ...], reason: str
) -> StateLabels:
    shown = [labels[state] for state in order]
    color = dict(zip(shown, state_colors(shown, choice_names), strict=True))
    return StateLabels(
        labels=tuple(labels),
        order=tuple(int(state) for state in order),
        colors=tuple(color[label] for label in labels),
        ambiguous=bool(reason),
        reason=reason,
    )
