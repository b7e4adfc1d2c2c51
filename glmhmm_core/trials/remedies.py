"""Keys of a task file that turn a sign or swap codes, worded for warnings.

Each function gives a sentence. What stands after a table's name in it is TOML: keys that stand
below that table, separated by ``;``.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from glmhmm_core.tasks import task as tasks
from glmhmm_core.tasks.task import Code, Stimulus, Task


def written(codes: tuple[Code, ...]) -> str:
    """Codes as TOML: one alone, several as a list."""
    each = [_text(code) if isinstance(code, str) else f"{code:g}" for code in codes]
    return each[0] if len(each) == 1 else f"[{', '.join(each)}]"


def turn(task: Task, surely: bool) -> str:
    """Turn the sign of the main stimulus; or the codes of the choices, or of the outcomes."""
    sentence = f"{_where(task)} {_turned_stimulus(task.stimuli[0])}; or, if "
    swaps = [f"the sides of the choices are swapped, {_swapped_choices(task)}"]
    if not surely and task.feedback_column is not None:
        swaps.append(f"if outcomes are, {_swapped_outcomes(task)}")
    return sentence + "; or, ".join(swaps)


def turn_with_outcomes(task: Task, outcomes_agree: bool) -> str:
    """Turn the sign of the main stimulus, and with it the outcomes that agree with it."""
    if not outcomes_agree or task.feedback_column is None:
        return turn(task, surely=True)
    return (
        "Fewer than half of the choices are rewarded, so that the outcome would be turned with "
        f"it: {_where(task)} {_turned_stimulus(task.stimuli[0])}, and {_swapped_outcomes(task)}"
    )


def swap_outcomes(task: Task) -> str:
    """Swap the codes of the outcome."""
    return f"{_where(task)} {_swapped_outcomes(task)}"


def compare_codes(task: Task) -> str:
    """Compare the codes of the choices with the data."""
    codes = _choices(task.choice_codes, task)
    return f"Compare the codes in the files with those of the task, [choices] {codes}"


def take_none_as_choice(task: Task, present: int) -> str:
    """Take the code of no choice for the one of two choices that never occurs."""
    there, none = task.choice_codes[present], task.no_choice_codes
    if len(there) > 1 or len(none) != 1:
        return compare_codes(task)
    pair = [none, there] if present else [there, none]
    if not any(isinstance(code, str) for code in (*there, *none)):
        pair.sort()  # as sides are mostly coded
    return (
        f"If {written(none)} is a choice too, {_where(task, begins=False)} [choices] "
        f"{_choices(pair, task)}; none = {written(task.choice_codes[1 - present])}. "
        "An empty value always says that no choice was made"
    )


def center(task: Task) -> str:
    """Give a stimulus of one sign its sides."""
    name = repr(task.stimuli[0].name)
    return (
        "Positive is evidence for the second choice, negative for the first: in [[stimuli]] of "
        f"{name} give the value without evidence (center = ...), or, where a strength and its "
        "direction are two columns, the column of the direction (sign_of = ...)"
    )


def _where(task: Task, begins: bool = True) -> str:
    """The file that a remedy is to be written into."""
    start = "In" if begins else "in"
    if Path(task.source).parent == Path(tasks.__file__).parent:
        return f'{start} a task file of your own (extends = "{task.name}") write'
    return f"{start} the task file write"


def _turned_stimulus(stimulus: Stimulus) -> str:
    """The whole table of a stimulus with its sign turned."""
    keys = {"name": stimulus.name}
    if stimulus.label != stimulus.name.replace("_", " "):
        keys["label"] = stimulus.label
    side = stimulus.direction
    if side is not None:
        keys |= {"column": stimulus.plus}
    elif stimulus.minus is None:
        keys |= {"column" if stimulus.turned else "minus": stimulus.plus}
    else:
        keys |= {"plus": stimulus.minus, "minus": stimulus.plus}
    lines = [f"{key} = {_text(text)}" for key, text in keys.items()]
    if side is not None:
        codes = f"negative = {written(side.positive)}, positive = {written(side.negative)}"
        lines.append(f"sign_of = {{ column = {_text(side.column)}, {codes} }}")
    if stimulus.center:
        lines.append(f"center = {-stimulus.center if stimulus.minus else stimulus.center:g}")
    if stimulus.missing is not None:
        lines.append(f"missing = {stimulus.missing:g}")
    if stimulus.range is not None:
        low, high = stimulus.range
        lines.append(f"range = [{-high:g}, {-low:g}]")
    return f"[[stimuli]] {'; '.join(lines)}"


def _swapped_choices(task: Task) -> str:
    return f"[choices] {_choices(task.choice_codes[::-1], task)}"


def _choices(codes: Sequence[tuple[Code, ...]], task: Task) -> str:
    pairs = (
        f"{_text(name)} = {written(own)}" for name, own in zip(task.choices, codes, strict=True)
    )
    return f"codes = {{ {', '.join(pairs)} }}"


def _swapped_outcomes(task: Task) -> str:
    return (
        f"[feedback] rewarded = {written(task.unrewarded_codes)}; "
        f"unrewarded = {written(task.rewarded_codes)}"
    )


def _text(text: str) -> str:
    """Text in quotes as TOML has it, which takes JSON's."""
    return json.dumps(text, ensure_ascii=False)
