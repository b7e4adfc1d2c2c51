"""Tasks from TOML: a built-in one by name, or a file of one's own that may extend another.

What belongs here is how files are found, joined and turned into values. The keys of each table
are in ``tasks/tables.py``, what must fit together across tables in ``tasks/consistency.py``.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmhmm_core.errors import InputError
from glmhmm_core.tasks.consistency import check_consistency
from glmhmm_core.tasks.tables import (
    ChoicesTable,
    RegressorTable,
    RuleTable,
    StimulusTable,
    TaskFile,
)
from glmhmm_core.tasks.task import (
    PRIOR_SCALE,
    PRIOR_SCALES,
    Direction,
    Extra,
    FewNoChoice,
    KeepBlocks,
    MaskUnless,
    MinSessions,
    Regressor,
    ResponseTime,
    Rule,
    SessionBlocks,
    Stimulus,
    Task,
)
from glmhmm_core.toml_table import check_table, read_toml, shortened

BUILT_IN = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.toml"))}

#: Files that may extend each other, and columns that a task's regressors may make.
MAX_EXTENDED, MAX_COLUMNS = 10, 2_000

#: Tables of which a file that extends another gives only the keys that differ.
_JOINED = ("columns", "choices", "feedback", "extras", "labels")


def load_task(name_or_path: str | Path, *folders: Path) -> Task:
    """Read a task.

    Parameters
    ----------
    name_or_path
        Name of a built-in task (``ibl_2afc``, ``two_afc``), or path of a TOML file.
    folders
        Where a relative path is looked for, in this order; the working directory where none is
        given. What a task extends is looked for beside its own file first, and then there.

    Raises
    ------
    InputError
        The file is missing or is no TOML, a key is unknown (the nearest valid one is named), or
        a value makes no sense.

    Examples
    --------
    >>> load_task("ibl_2afc").feature_names
    ('stimulus', 'bias', 'previous_choice', 'wsls')
    """
    folders = folders or (Path(),)
    file = _find(str(name_or_path), folders, where=f"task {name_or_path}")
    layers = _layers(file, folders)
    document, inherited = _joined(layers)
    where = f"task file {file}"
    check_table(TaskFile, document, where, inherited)
    table = TaskFile.model_validate(document)
    _check_width(table, where)
    task = _to_task(table, file)
    check_consistency(task, where, _heirlooms(inherited))
    return task


def _find(name: str, folders: Sequence[Path], where: str) -> Path:
    """Find a task's file: built in, or the first of that path that is there."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if name.endswith(".toml"):
        places = list(dict.fromkeys(folder / name for folder in folders))
        found = next((place for place in places if os.path.lexists(place)), None)
        if found is not None:
            return found
        others = [file.name for place in places for file in place.parent.glob("*.toml")]
        near = difflib.get_close_matches(Path(name).name, others, n=1)
        raise InputError(
            f"no such file: {' and '.join(map(str, places))}",
            where=where,
            remedy=f"Did you mean '{Path(name).with_name(near[0])}'?" if near else "Correct it.",
        )
    near = difflib.get_close_matches(name, BUILT_IN, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Built in are {', '.join(BUILT_IN)}."
    raise InputError(
        "no built-in task of that name",
        where=where,
        remedy=f"{hint} A file of your own ends in .toml.",
    )


def _layers(file: Path, folders: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Read a file and those that it extends, itself first."""
    layers: list[tuple[Path, dict[str, Any]]] = []
    above: list[Path] = []
    while True:
        where = f"task file {file}"
        document = read_toml(file, where)
        above.append(file.resolve())
        base = document.pop("extends", None)
        layers.append((file, document))
        if base is None:
            return layers
        if not isinstance(base, str):
            raise InputError(
                f"extends = {shortened(repr(base))} is no name",
                where=where,
                remedy='Write extends = "two_afc".',
            )
        file = _find(base, (file.parent, *folders), f"extends in {where}")
        if file.resolve() in above:
            raise InputError(
                f"it extends itself, by way of {file.name}",
                where=where,
                remedy="Remove one 'extends'.",
            )
        if len(above) == MAX_EXTENDED:
            raise InputError(
                f"a chain of more than {MAX_EXTENDED} files that extend each other",
                where=where,
                remedy="Join some of them.",
            )


def _joined(
    layers: Sequence[tuple[Path, dict[str, Any]]],
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Fill a file in with what it extends; tell which keys it inherits, and from whom."""
    joined: dict[str, Any] = {}
    origin: dict[tuple[str, ...], Path] = {}
    for file, document in reversed(layers):
        for key, value in document.items():
            before = joined.get(key)
            if key in _JOINED and isinstance(value, dict) and isinstance(before, dict | None):
                joined[key] = {**(before or {}), **value}
                origin |= {(key, inner): file for inner in value}
            else:
                joined[key] = value
                origin = {k: f for k, f in origin.items() if k[0] != key} | {(key,): file}
    own = layers[0][0]
    built_in = {file: name for name, file in BUILT_IN.items()}
    said = {key: built_in.get(file, str(file)) for key, file in origin.items() if file != own}
    return joined, said


def _heirlooms(inherited: Mapping[tuple[str, ...], str]) -> str:
    """Say which tables a file inherits, in whole or in part, and from whom."""
    sources: dict[str, list[str]] = {}
    for key, source in inherited.items():
        sources.setdefault(source, []).append(".".join(key))
    return "; ".join(f"{', '.join(keys)} from {source}" for source, keys in sources.items())


def _check_width(file: TaskFile, where: str) -> None:
    """Refuse a design of more columns than memory can hold for any number of trials."""
    regressors = (*file.regressors, *file.transition_regressors)
    most = sum(table.count or 1 for table in regressors) * (len(file.choices.names) - 1)
    if most > MAX_COLUMNS:
        raise InputError(
            f"the regressors make up to {most:,} columns, of at most {MAX_COLUMNS:,}",
            where=where,
            remedy="Give fewer regressors, or smaller counts.",
        )


def _to_task(file: TaskFile, path: Path) -> Task:
    columns, choices = file.columns, file.choices
    feedback, time = columns.feedback, columns.response_time
    main_stimulus = file.stimuli[0].name if file.stimuli else None
    return Task(
        name=path.stem,
        title=file.title,
        choices=choices.names,
        baseline_class_idx=choices.names.index(choices.baseline or choices.names[0]),
        subject_column=columns.subject,
        session_columns=columns.session,
        choice_column=columns.choice,
        choice_codes=tuple(choices.codes[name] for name in choices.names),
        no_choice_codes=choices.none,
        feedback_column=feedback.column if feedback else None,
        rewarded_codes=file.feedback.rewarded,
        unrewarded_codes=file.feedback.unrewarded,
        feedback_sign_of=feedback.sign_of if feedback else None,
        response_time=ResponseTime(time.column, time.start or (), time.end or ()) if time else None,
        block_column=columns.block,
        stimuli=tuple(_to_stimulus(table, choices) for table in file.stimuli),
        extras=(
            *(Extra(name, source) for name, source in file.extras.items()),
            *(Extra(name, source, is_text=True) for name, source in file.labels.items()),
        ),
        rules=tuple(_to_rule(table) for table in file.rules),
        regressors=tuple(
            _to_regressor(table, main_stimulus, PRIOR_SCALES.get(table.kind, PRIOR_SCALE))
            for table in file.regressors
        ),
        transition_regressors=tuple(
            _to_regressor(table, main_stimulus, PRIOR_SCALE) for table in file.transition_regressors
        ),
        trial_columns=columns.trial or (),
        date_column=columns.date.column if columns.date else None,
        date_format=columns.date.format if columns.date else None,
        session_order_column=columns.session_order,
        source=str(path),
    )


def _to_stimulus(table: StimulusTable, choices: ChoicesTable) -> Stimulus:
    direction = None
    if table.sign_of is not None:
        direction = Direction(
            table.sign_of.column,
            table.sign_of.negative or choices.codes[choices.names[0]],
            table.sign_of.positive or choices.codes[choices.names[-1]],
        )
    return Stimulus(
        name=table.name,
        label=table.label or table.name.replace("_", " "),
        plus=table.column or table.plus or table.minus or "",
        minus=table.minus if table.plus else None,
        turned=bool(table.minus and not table.plus),
        direction=direction,
        center=table.center,
        missing=table.missing,
        range=table.range,
    )


def _to_regressor(
    table: RegressorTable, main_stimulus: str | None, prior_scale: float
) -> Regressor:
    of_stimulus = table.kind in ("stimulus", "stimulus_trace")
    return Regressor(
        kind=table.kind,
        name=table.name or (table.column if table.kind == "column" else None) or table.kind,
        prior_scale=table.prior_scale or prior_scale,
        column=table.column or (main_stimulus if of_stimulus else None),
        scale=1.0 if table.scale is None else table.scale,
        decay=table.decay,
        count=table.count or 1,
        trials=table.trials or 1.0,
        outcome=table.outcome or "any",
    )


def _to_rule(table: RuleTable) -> Rule:
    if table.session_blocks is not None:
        return SessionBlocks(table.session_blocks)
    if table.min_sessions is not None:
        return MinSessions(table.min_sessions)
    if table.keep_blocks is not None:
        return KeepBlocks(table.keep_blocks)
    if table.no_choice_fewer_than is not None:
        return FewNoChoice(table.no_choice_fewer_than)
    assert table.mask_unless is not None  # the grammar asks for one rule
    mask = table.mask_unless
    return MaskUnless(mask.column, mask.min, mask.max, mask.values)
