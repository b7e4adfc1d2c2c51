"""What must fit together in a task across its tables: names, columns, regressors and rules."""

from collections.abc import Iterator

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.task import (
    COMMON_COLUMNS,
    KeepBlocks,
    MaskUnless,
    Regressor,
    SessionBlocks,
    Task,
)
from glmhmm_core.toml_table import PROBLEMS, shortened
from glmhmm_core.trials.schema import CLEANING_SCHEMA, ORDER_SCHEMA, TRIAL_SCHEMA


def check_consistency(task: Task, where: str, inherited: str = "") -> None:
    """Refuse a task whose parts contradict each other.

    Parameters
    ----------
    task
        The task.
    where
        Its file, for the message.
    inherited
        What of it comes from other files, in words.

    Raises
    ------
    InputError
        With all that is found.
    """
    found = list(_misfits(task))
    if found:
        problems, remedies = zip(*found[:PROBLEMS], strict=True)
        more = [f"and {len(found) - PROBLEMS} more"] if len(found) > PROBLEMS else []
        source = [f"(Inherited: {shortened(inherited)}.)"] if inherited else []
        remedy = " ".join([*dict.fromkeys(remedies), *source])
        raise InputError("; ".join([*problems, *more]), where=where, remedy=remedy)


def _misfits(task: Task) -> Iterator[tuple[str, str]]:
    """Yield problem and remedy of everything that does not fit."""
    yield from _names(task)
    yield from _regressors(task)
    yield from _rules(task)
    side = task.feedback_sign_of
    if side is not None and side not in {s.name for s in task.stimuli}:
        yield (
            f"feedback is the sign of {side!r}, which is no stimulus",
            "Name one of the [[stimuli]].",
        )
    if side is not None and task.num_classes > 2:
        yield (
            f"feedback cannot be the sign of a stimulus with {task.num_classes} choices",
            "Give a feedback column.",
        )


def _names(task: Task) -> Iterator[tuple[str, str]]:
    own = [s.name for s in task.stimuli] + [e.name for e in task.extras]
    for name in sorted({n for n in own if own.count(n) > 1}):
        yield f"two columns are called {name!r}", "Give each stimulus, extra and label its name."
    taken = {*TRIAL_SCHEMA, *ORDER_SCHEMA, *CLEANING_SCHEMA, *task.native_columns.values()}
    for name in own:
        if name in taken:
            yield (
                f"a column cannot be called {name!r}, every trial table has that one",
                f"Give it another name, such as 'own_{name}'.",
            )
    for what, features in (
        ("regressors", task.feature_names),
        ("transition regressors", task.transition_names),
    ):
        for name in sorted({n for n in features if features.count(n) > 1}):
            yield f"two {what} are called {name!r}", "Give each of them a 'name'."


def _regressors(task: Task) -> Iterator[tuple[str, str]]:
    for regressor in task.all_regressors:
        yield from _regressor(task, regressor)
    for regressor in task.transition_regressors:
        if regressor.kind == "bias":
            yield (
                "the transitions cannot have a bias as regressor: the chain has its own",
                "Leave it out of [[transition_regressors]].",
            )


def _regressor(task: Task, regressor: Regressor) -> Iterator[tuple[str, str]]:
    numbers = {s.name for s in task.stimuli} | {e.name for e in task.extras if not e.is_text}
    numbers |= set(COMMON_COLUMNS.get(regressor.kind, ()))
    if regressor.column is None and regressor.kind in ("stimulus", "stimulus_trace"):
        yield (
            f"the regressor {regressor.name!r} is of a stimulus, and the task has none",
            "Declare one under [[stimuli]], or leave the regressor out.",
        )
    elif regressor.column is not None and regressor.column not in numbers:
        yield (
            f"the regressor {regressor.name!r} is of {regressor.column!r}, which is no column "
            "of numbers that it can be of",
            f"Name one of these, or declare it in [extras]: {', '.join(sorted(numbers))}.",
        )
    elif regressor.column == "block" and task.block_column is None:
        yield f"the regressor {regressor.name!r} is of the block", "Add columns.block."
    elif regressor.column == "response_time" and task.response_time is None:
        yield (
            f"the regressor {regressor.name!r} is of the response time",
            "Add columns.response_time.",
        )
    if regressor.kind == "wsls" and task.num_classes != 2:
        yield (
            f"wsls is for two choices, not {task.num_classes}",
            "Use the kind previous_choice_outcome: the same for each choice.",
        )
    if regressor.needs_outcome and not task.has_feedback:
        yield (
            f"the regressor {regressor.name!r} needs the outcome of each trial",
            "Give columns.feedback a column name or { sign_of = <a stimulus> }, or leave the "
            "regressor out.",
        )


def _rules(task: Task) -> Iterator[tuple[str, str]]:
    columns = {*TRIAL_SCHEMA, *(s.name for s in task.stimuli), *(e.name for e in task.extras)}
    columns |= set(task.native_columns.values())
    texts = {"subject", "session", *(e.name for e in task.extras if e.is_text)}
    for rule in task.rules:
        if isinstance(rule, SessionBlocks | KeepBlocks) and task.block_column is None:
            yield "a rule about blocks, but no block column", "Add columns.block."
        if isinstance(rule, MaskUnless) and rule.column not in columns:
            yield (
                f"mask_unless is about {rule.column!r}, which is no column of the trial table",
                "Declare it in [extras] (numbers) or [labels] (text).",
            )
        elif isinstance(rule, MaskUnless):
            is_text = rule.column in texts
            fitting = rule.values and all(isinstance(v, str) == is_text for v in rule.values)
            if not (fitting or (not rule.values and not is_text)):
                yield (
                    f"mask_unless compares {rule.column!r}, which holds "
                    f"{'text' if is_text else 'numbers'}, with something else",
                    f"Give {'values in quotes' if is_text else 'numbers'}, or move the column to "
                    f"{'[extras]' if is_text else '[labels]'}.",
                )
