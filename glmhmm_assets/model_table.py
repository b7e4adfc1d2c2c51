"""The table ``[model]`` of a study file, and the settings of fits that it means."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from glmhmm_core.errors import InputError
from glmhmm_core.fitting.settings import FitSettings, FrozenWeight
from glmhmm_core.toml_table import TomlTable

if TYPE_CHECKING:
    from glmhmm_core.tasks.task import Task

PositiveFloat = Annotated[float, Field(gt=0)]
#: More states or folds than any study can tell apart would take the memory of all studies.
NumStates = Annotated[int, Field(ge=1, le=50)]
Text = Annotated[str, Field(min_length=1)]
OneOrSeveral = Annotated[
    Annotated[PositiveFloat, Tag("one")]
    | Annotated[tuple[PositiveFloat, ...], Field(min_length=1, strict=False), Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]

#: Own starting points of a model with transition regressors, beside the fit with a constant chain.
TRANSITION_RESTARTS = 4


class FrozenTable(TomlTable):
    """``[[model.frozen]]``: a weight that is not fitted but held at ``value``.

    ``state`` counts from 0 and is the user's to choose: states get their names after the fit, and
    a frozen weight is what tells its state from the others, the same in the population and in
    every subject. It holds in all models of more than one state that have it. ``regressor`` is a
    column of the design, ``transition_regressor`` one of those that transitions depend on.
    """

    state: Annotated[int, Field(ge=0)]
    regressor: Text | None = None
    transition_regressor: Text | None = None
    value: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    @model_validator(mode="after")
    def _one(self) -> "FrozenTable":
        if (self.regressor is None) == (self.transition_regressor is None):
            raise ValueError("give 'regressor' or 'transition_regressor'")
        return self

    def weight(self) -> FrozenWeight:
        """The weight as fits know it."""
        name = self.regressor or self.transition_regressor or ""
        return FrozenWeight(self.state, name, self.value, self.transition_regressor is not None)


class ModelTable(TomlTable):
    """``[model]``: the models fitted to every subject.

    ``emission_prior_scale`` is one number for every weight or one per regressor; left out, each
    regressor has the scale that its task gives it, and so for ``transition_prior_scale``.
    ``transition_regressors`` names those of the task that transitions depend on in a second fit
    of every model of several states (GLM-HMM-T). The rest is as in ``FitSettings``.
    """

    num_states: Annotated[
        tuple[NumStates, ...], Field(min_length=1, max_length=50, strict=False)
    ] = (1, 2, 3, 4, 5)
    emission_prior_scale: OneOrSeveral | None = None
    transition_regressors: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    transition_prior_scale: OneOrSeveral | None = None
    frozen: Annotated[tuple[FrozenTable, ...], Field(strict=False)] = ()
    transition_concentration: Annotated[float, Field(ge=1, lt=math.inf)] = (
        FitSettings.transition_concentration
    )
    stickiness: Annotated[float, Field(ge=0, lt=math.inf)] = FitSettings.stickiness
    n_restarts: Annotated[int, Field(ge=1, le=1_000)] = FitSettings.n_restarts
    max_iters: Annotated[int, Field(ge=1, le=1_000_000)] = FitSettings.max_iters
    tol: Annotated[float, Field(gt=0, lt=math.inf)] = FitSettings.tol
    seed: Annotated[int, Field(ge=0, lt=2**31)] = FitSettings.seed
    cv_folds: Annotated[int, Field(ge=0, le=100)] = 5

    @field_validator("num_states")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @field_validator("cv_folds")
    @classmethod
    def _no_single_fold(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one fold holds out everything; give 0 for none, or 2 or more")
        return value

    @model_validator(mode="after")
    def _states_enough(self) -> "ModelTable":
        most = self.num_states[-1]
        if self.transition_regressors and most == 1:
            raise ValueError("transition_regressors are for models of 2 states or more")
        for weight in self.frozen:
            if weight.state >= most or most == 1:
                raise ValueError(f"a weight of state {weight.state} is frozen, of {most} states")
        return self

    def check_names(self, task: "Task", where: str) -> None:
        """Refuse names of regressors that the task does not have.

        Raises
        ------
        InputError
        """
        there = [regressor.name for regressor in task.transition_regressors]
        for name in self.transition_regressors:
            _check("transition_regressors", name, there, where)
        for weight in self.frozen:
            if weight.regressor is not None:
                _check("frozen", weight.regressor, task.feature_names, where)
            if weight.transition_regressor is not None:
                _check("frozen", weight.transition_regressor, self._columns(task), where)

    def settings(self) -> FitSettings:
        """How every model with a constant chain is fitted."""
        own = {"num_states", "transition_regressors", "transition_prior_scale", "frozen"}
        return FitSettings(
            **self.model_dump(exclude=own),
            frozen=tuple(table.weight() for table in self.frozen if table.regressor),
        )

    def transition_settings(self, task: "Task") -> FitSettings:
        """How every model with transition regressors is fitted."""
        return replace(
            self.settings(),
            n_restarts=min(self.n_restarts, TRANSITION_RESTARTS),
            transition_prior_scale=self.transition_prior_scale,
            transition_regressors=self._columns(task),
            frozen=tuple(table.weight() for table in self.frozen),
        )

    def _columns(self, task: "Task") -> tuple[str, ...]:
        """Columns of the transition regressors, in the order in which they are named."""
        named = {regressor.name: regressor for regressor in task.transition_regressors}
        return tuple(c for n in self.transition_regressors for c in task.columns_of(named[n]))


def _check(key: str, name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise InputError(
            f"model.{key} names {name!r}, which is no such regressor",
            where=where,
            remedy=f"There are {', '.join(known) or 'none'}; the task has its own in "
            "[[regressors]] and [[transition_regressors]].",
        )
