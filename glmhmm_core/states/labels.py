"""Names of hidden states by rules on what they do, never by their index.

The rules (K states, C choices). They look at each state's choice probabilities with the stimulus
regressor at 0 and at one standard deviation, so that its units do not matter; the other regressors
are at their means. A choice is *preferred* if it is the most probable one at stimulus 0; its
*preference* is its log-odds there against the mean of the other choices. The *slope* is the
log-odds of the last choice against the first per standard deviation of the stimulus. ``CLEAR`` is
the log-odds of 7 to 3: 70 % of two choices.

1. One state is "GLM".
2. A state is *engaged* if its slope is at least ``CLEAR``, at least half of the largest slope, and
   larger than its preference: a stimulus of one standard deviation decides the choice, whichever
   side it is on. It is "engaged <choice>" if its preference is at least ``CLEAR``, else "engaged".
3. Any other state is "biased <choice>" if its preference is at least ``CLEAR``.
4. The rest is "disengaged" where another state is engaged, and "state <n>" otherwise, n being the
   place in the display order: without an engaged state, or without a stimulus regressor,
   "disengaged" would mean nothing.
5. Several "engaged" states are told apart by the choices that they prefer, if these differ and the
   preferences add up to ``CLEAR``. Names that still occur twice are numbered by falling slope.

These rules name the states of the pooled fit. A subject's states take the names of those that they
match (``states/naming.py``).
"""

import math
from dataclasses import dataclass

import numpy as np

from glmhmm_core.fitting.result import FitResult
from glmhmm_core.states.colors import alone_colors, state_colors

#: Log-odds from which a preference is a bias, and a slope follows the stimulus: 70 % of two.
CLEAR = math.log(7 / 3)
#: The rules in short, for the foot of figures.
RULES = (
    "Engaged: a stimulus of one SD decides the choice. Biased: odds of 7 to 3 for one choice at "
    "stimulus 0 (docs/states.md)."
)


@dataclass(frozen=True)
class Roles:
    """Name of the regressor that carries the stimulus, for one choice or another."""

    stimulus: str = "stimulus"


@dataclass(frozen=True)
class StateLabels:
    """Names of one model's states.

    Attributes
    ----------
    labels, colors : K strings
        Name and "#rrggbb" of each state, by state index.
    shared : K strings or None
        Name under which the state is pooled over subjects; None where it is of this subject alone.
    order : K integers
        State indices in display order.
    engaged, plain, side : K booleans, K booleans, K integers or None
        Whether the name says "engaged"; whether it says that or "disengaged" and names no choice;
        and the choice that it names.
    reason
        What is doubtful about the names, as sentences; empty if nothing is.
    """

    labels: tuple[str, ...]
    shared: tuple[str | None, ...]
    order: tuple[int, ...]
    colors: tuple[str, ...]
    engaged: tuple[bool, ...]
    plain: tuple[bool, ...]
    side: tuple[int | None, ...]
    reason: str

    @property
    def ambiguous(self) -> bool:
        """True if a name is doubtful, or a state has none that other subjects share."""
        return bool(self.reason)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Place of each state in the display order, by state index."""
        return tuple(int(rank) for rank in np.argsort(self.order))


@dataclass(frozen=True)
class Traits:
    """Properties of the states that the rules use.

    Attributes
    ----------
    slope : float64 (K,)
        Log-odds of the last choice against the first per standard deviation of the stimulus; 0
        without a stimulus regressor.
    preferred : int (K,)
        The most probable choice at stimulus 0.
    preference : float64 (K,)
        Its log-odds against the mean of the others.
    has_stimulus
        Whether the model has the stimulus regressor.
    """

    slope: np.ndarray
    preferred: np.ndarray
    preference: np.ndarray
    has_stimulus: bool

    @property
    def engaged(self) -> np.ndarray:
        """True for states in which the stimulus decides the choice, bool (K,)."""
        enough = (self.slope >= CLEAR) & (self.slope >= self.slope.max() / 2)
        follows: np.ndarray = enough & (self.slope > self.preference)
        return follows

    @property
    def biased(self) -> np.ndarray:
        """True for states that clearly prefer a choice, bool (K,)."""
        clear: np.ndarray = self.preference >= CLEAR
        return clear


def traits_of(fit: FitResult, roles: Roles) -> Traits:
    """Compute the properties of a fit's states that the rules use."""
    weights = np.asarray(fit.fitted_params.emission_weights)
    # Logits of all C classes, so that nothing depends on which of them is the baseline.
    logits = np.insert(weights, fit.baseline_class_idx, 0.0, axis=1)
    at = fit.X.mean(0)
    slope, known = np.zeros(len(weights)), roles.stimulus in fit.emission_names
    if known:
        column = fit.emission_names.index(roles.stimulus)
        at[column] = 0.0
        slope = (logits[:, -1, column] - logits[:, 0, column]) * fit.X[:, column].std()
    level = logits @ at
    top = level.max(1)
    others = (level.sum(1) - top) / (level.shape[1] - 1)
    return Traits(slope, level.argmax(1), top - others, known)


def order_and_label(
    fit: FitResult, choice_names: tuple[str, ...], roles: Roles | None = None
) -> StateLabels:
    """Name and order the states of a fit by themselves, by the rules at the head of this file.

    A state that the rules describe, with a name of its own, is shared with other subjects; one
    that is numbered is not.

    Parameters
    ----------
    fit
        The fitted model, K states.
    choice_names
        C names of the classes, along the stimulus axis: the last is the one that a larger
        stimulus calls for.
    roles
        Which regressor carries the stimulus; "stimulus" if not given.
    """
    return _labeled(fit, choice_names, roles or Roles(), everything=False)


def label_reference(
    fit: FitResult, choice_names: tuple[str, ...], roles: Roles | None = None
) -> StateLabels:
    """Names of the states of a fit that others are matched to: all of them are shared."""
    return _labeled(fit, choice_names, roles or Roles(), everything=True)


#: Kind of a state ("engaged", "biased", "disengaged" or None), and the choice in its name.
_Kind = tuple[str | None, int | None]


def _labeled(
    fit: FitResult, choice_names: tuple[str, ...], roles: Roles, *, everything: bool
) -> StateLabels:
    if fit.num_states == 1:
        glm = ("GLM",)
        color, no = state_colors(glm, choice_names), (False,)
        return StateLabels(glm, glm, (0,), color, no, no, (None,), "")
    traits = traits_of(fit, roles)
    kinds = _kinds(traits)
    order = _display_order(kinds, traits, fit)
    told = [_why_none_engaged(traits, roles)]
    labels = [""] * len(kinds)
    shared: list[str | None] = [None] * len(kinds)
    for k in order:
        kind, side = kinds[k]
        alike = [other for other in order if kinds[other] == kinds[k]]
        name = kind if side is None else f"{kind} {choice_names[side]}"
        number = alike.index(k) + 1
        if name is None:
            name = f"state {order.index(k) + 1}"
        elif len(alike) > 1:
            if number == 1:
                told.append(f"{len(alike)} states are {name}.")
            name = f"{name} {number}"
        labels[k] = name
        if everything or not (kind is None or len(alike) > 1):
            shared[k] = name
    known = [labels[k] for k in order if shared[k]]
    rest = [labels[k] for k in order if not shared[k]]
    colors = (*state_colors(known, choice_names), *alone_colors(len(rest)))
    palette = dict(zip([*known, *rest], colors, strict=True))
    return StateLabels(
        labels=tuple(labels),
        shared=tuple(shared),
        order=order,
        colors=tuple(palette[label] for label in labels),
        engaged=tuple(kind == "engaged" for kind, _ in kinds),
        plain=tuple(kind is not None and side is None for kind, side in kinds),
        side=tuple(side for _, side in kinds),
        reason=" ".join(filter(None, told)),
    )


def _kinds(traits: Traits) -> list[_Kind]:
    """Kind of each state by the rules."""
    engaged, biased = traits.engaged, traits.biased
    sides = traits.preferred.tolist()
    kinds: list[_Kind] = []
    for k, side in enumerate(sides):
        if engaged[k]:
            kinds.append(("engaged", side if biased[k] else None))
        elif biased[k]:
            kinds.append(("biased", side))
        else:
            kinds.append(("disengaged" if engaged.any() else None, None))
    plain = [k for k, kind in enumerate(kinds) if kind == ("engaged", None)]
    split: list[_Kind] = [("engaged", sides[k]) for k in plain]
    weakest = np.sort(traits.preference[plain])[:2].sum()
    if len(plain) > 1 and len({*split} - {*kinds}) == len(plain) and weakest >= CLEAR:
        for k, kind in zip(plain, split, strict=True):
            kinds[k] = kind
    return kinds


def _why_none_engaged(traits: Traits, roles: Roles) -> str:
    if not traits.has_stimulus:
        return f"The model has no regressor named '{roles.stimulus}' to tell engaged states by."
    if traits.engaged.any():
        return ""
    top = int(np.lexsort((traits.preference, -traits.slope))[0])
    if traits.slope[top] < CLEAR:
        return (
            f"No state is engaged: the largest slope is {traits.slope[top]:.2f} log-odds per SD "
            "of the stimulus."
        )
    return (
        f"No state is engaged: the one that follows the stimulus most has a slope of "
        f"{traits.slope[top]:.2f} log-odds per SD and a preference of "
        f"{traits.preference[top]:.2f}."
    )


def _display_order(kinds: list[_Kind], traits: Traits, fit: FitResult) -> tuple[int, ...]:
    """State indices: engaged, biased, the others; by choice, then by falling slope.

    Without a stimulus by falling occupancy. The last keys are the weights themselves, so that
    ties fall the same way however the states are numbered.
    """
    groups = [("engaged", "biased").index(kind) if kind in ("engaged", "biased") else 2
              for kind, _ in kinds]  # fmt: skip
    sides = [-1 if side is None else side for _, side in kinds]
    falling = traits.slope if traits.has_stimulus else fit.smoothed_state_probs.mean(0)
    flat = np.asarray(fit.fitted_params.emission_weights).reshape(len(kinds), -1)
    return tuple(int(k) for k in np.lexsort((*flat.T[::-1], -falling, sides, groups)))
