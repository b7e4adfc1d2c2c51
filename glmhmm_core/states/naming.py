"""Names of a subject's states: those of the pooled fit's states that they match.

1. The pooled fit of all subjects is named first, by the rules of ``states/labels.py``.
2. Every state of a subject is matched to one of its states (``states/matching.py``). It takes the
   name if all of this holds for the state itself, whatever becomes of the subject's others:
   the match costs at most ``LARGEST_COST``; the two choose differently on at most ``DIFFERENT`` of
   the trials; no other match is nearly as good, which is to say that the best assignment of all
   states without this pair costs ``MARGIN`` more, or that any other pair with one of the two costs
   ``STANDS_OUT`` more; and the state does not contradict the name. It contradicts "biased left"
   and "engaged left" if it prefers another choice, and "engaged" if its slope is less than half of
   the largest of the subject's.
3. A state that takes no name is named by the subject's own weights, with "(own)" behind: "engaged
   (own)" is of this subject alone. It is never pooled, and its color is a gray.
4. A state that is the pooled fit's "engaged" or "disengaged", and prefers a choice clearly itself,
   is "engaged, biased <choice>"; it is pooled as "engaged".
5. Where no pooled fit has as many states, or it is of another design, a subject's states are named
   by themselves.
"""

from dataclasses import dataclass, field

import numpy as np

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.result import FitResult, SubjectFits
from glmhmm_core.states.colors import alone_colors
from glmhmm_core.states.labels import (
    Roles,
    StateLabels,
    Traits,
    label_reference,
    order_and_label,
    traits_of,
)
from glmhmm_core.states.matching import LARGEST_COST, MARGIN, StateMatch, match_states

#: Share of the trials on which a state's choices may differ from those of the state it is taken
#: for (mean total variation).
DIFFERENT = 0.2
#: Cost by which a pair must beat all other pairs of either state, where the whole assignment is not
#: beyond doubt.
STANDS_OUT = 0.1
#: Behind the name of a state that is of one subject alone.
OWN = " (own)"


@dataclass(frozen=True)
class Naming:
    """Names states, of all tables and figures of a study.

    Attributes
    ----------
    roles
        Which regressor carries the stimulus.
    population
        The pooled fits; None if there are none.
    """

    roles: Roles = field(default_factory=Roles)
    population: SubjectFits | None = None

    def __call__(self, fit: FitResult, choice_names: tuple[str, ...]) -> StateLabels:
        """Name the states of a subject's fit.

        Parameters
        ----------
        fit
            The fitted model, K states.
        choice_names
            C names of the classes, along the stimulus axis.
        """
        match, reference = self.match(fit), self.reference(fit.num_states)
        own = order_and_label(fit, choice_names, self.roles)
        if match is None or reference is None:
            return own
        doubts = self.doubts(fit, match, reference, choice_names)
        return _inherited(own, reference, match, doubts, traits_of(fit, self.roles), choice_names)

    def reference(self, num_states: int) -> StateLabels | None:
        """Names of the pooled fit's states; None if it has no such model."""
        pooled = self.population.find(num_states) if self.population else None
        if pooled is None or self.population is None:
            return None
        return label_reference(pooled, self.population.choice_names, self.roles)

    def match(self, fit: FitResult) -> StateMatch | None:
        """Match a fit's states to the pooled fit's; None where there is nothing to match."""
        pooled = self.population.find(fit.num_states) if self.population else None
        if pooled is None or fit.num_states == 1:
            return None
        try:
            return _match(fit, pooled)
        except InputError:  # the pooled fit is of another design; its next version is of this one
            return None

    def doubts(
        self, fit: FitResult, match: StateMatch, reference: StateLabels, choices: tuple[str, ...]
    ) -> list[str | None]:
        """Reasons against taking a name, worded to follow the own name; None if there are none."""
        traits = traits_of(fit, self.roles)
        doubts: list[str | None] = []
        for k, j in enumerate(match.reference.tolist()):
            name = reference.labels[j]
            cost, share = (match.costs[part][k, j] for part in ("total", "choices"))
            if cost > LARGEST_COST:
                doubts.append(f"is unlike the nearest, '{name}' (cost {cost:.2f})")
            elif share > DIFFERENT:
                doubts.append(f"chooses otherwise than '{name}' on {100 * share:.0f} % of trials")
            elif match.margins[k] < MARGIN and _lead(match.costs["total"], k, j) < STANDS_OUT:
                doubts.append(f"may be '{name}', or another is (by {match.margins[k]:.2f} in cost)")
            else:
                doubts.append(_contradiction(reference, j, traits, k, choices))
        return doubts


def _lead(cost: np.ndarray, k: int, j: int) -> float:
    """Smallest additional cost of another pair with state k, or with the reference's state j."""
    others = np.concatenate([np.delete(cost[k], j), np.delete(cost[:, j], k)])
    return float(others.min() - cost[k, j])


def _contradiction(
    reference: StateLabels, j: int, traits: Traits, k: int, choices: tuple[str, ...]
) -> str | None:
    """Property of state k that contradicts the name of reference state j; None if none does."""
    side, own = reference.side[j], int(traits.preferred[k])
    if side is not None and side != own:
        return f"prefers {choices[own]}, unlike '{reference.labels[j]}'"
    if reference.engaged[j] and traits.slope[k] < traits.slope.max() / 2:
        return (
            f"follows the stimulus less than half as much as another, unlike "
            f"'{reference.labels[j]}'"
        )
    return None


def _inherited(
    own: StateLabels,
    reference: StateLabels,
    match: StateMatch,
    doubts: list[str | None],
    traits: Traits,
    choice_names: tuple[str, ...],
) -> StateLabels:
    """Names of the matched states, at their places in the pooled fit's order."""
    taken = {k: int(j) for k, j in enumerate(match.reference) if doubts[k] is None}
    place = {k: reference.ranks[j] for k, j in taken.items()}
    free = [rank for rank in range(len(doubts)) if rank not in place.values()]
    flat = np.argsort(-traits.slope, kind="stable")
    alone = [int(k) for k in flat if k not in taken]
    place |= dict(zip(alone, free, strict=True))
    grays = dict(zip(alone, alone_colors(len(alone)), strict=True))
    labels = {k: own.labels[k] + OWN for k in alone}
    for k, j in taken.items():
        side = choice_names[traits.preferred[k]]
        bias = f", biased {side}" if reference.plain[j] and traits.biased[k] else ""
        labels[k] = f"{reference.labels[j]}{bias}"
    states = range(len(doubts))
    return StateLabels(
        labels=tuple(labels[k] for k in states),
        shared=tuple(reference.labels[taken[k]] if k in taken else None for k in states),
        order=tuple(sorted(place, key=place.__getitem__)),
        colors=tuple(reference.colors[taken[k]] if k in taken else grays[k] for k in states),
        engaged=tuple(k in taken and reference.engaged[taken[k]] for k in states),
        plain=tuple(k in taken and reference.plain[taken[k]] for k in states),
        side=tuple(reference.side[taken[k]] if k in taken else None for k in states),
        reason=" ".join(f"{labels[k][:1].upper()}{labels[k][1:]} {doubts[k]}." for k in alone),
    )


#: Matches by the content of both fits: many tables and figures are of the same ones.
_KNOWN: dict[tuple[object, ...], StateMatch] = {}
_MOST = 4096


def _match(fit: FitResult, pooled: FitResult) -> StateMatch:
    arrays = [np.asarray(part) for one in (fit, pooled) for part in one.fitted_params[:3]]
    models = [(one.specification.emission_names, one.baseline_class_idx) for one in (fit, pooled)]
    key = (*(part.tobytes() for part in arrays), *models, fit.raw_log_likelihood, len(fit.y))
    if key not in _KNOWN:
        if len(_KNOWN) >= _MOST:
            _KNOWN.clear()
        _KNOWN[key] = match_states(fit, pooled)
    return _KNOWN[key]
