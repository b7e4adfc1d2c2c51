"""The rooms that make an asset's code version, or a fingerprint, are those that it imports from."""

import ast
import dis
import inspect
import sys
import types
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import glmhmm_core
from glmhmm_assets import definitions, per_subject, pictures
from glmhmm_assets.study import Study
from glmhmm_core.baselines import subject as baselines
from glmhmm_core.fitting import fingerprint

CORE = Path(glmhmm_core.__file__).parent
#: Modules of values that stages hand on, of ids and words, and of files: nothing is computed there.
VALUES = {
    f"glmhmm_core.{name}"
    for name in (
        *(
            "errors",
            "toml_table",
            "whole_file",
            "wording",
            "trials.ids",
            "trials.schema",
            "tasks.task",
            "design.design",
            "fitting.result",
        ),
    )
}


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of the core that a module of the core imports, in functions too, not for types."""
    tree = ast.parse(file_of(module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(filter(is_module, found))


def file_of(module: str) -> Path:
    path = CORE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def is_module(name: str) -> bool:
    return name.startswith("glmhmm_core.") and file_of(name).exists()


def rooms_of(modules: Iterable[str]) -> set[str]:
    """Rooms of the modules, and of all that they import in turn."""
    seen, todo = set(VALUES), list(filter(is_module, modules))
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imports_of(module)
    return {module.split(".")[1] for module in seen - VALUES}


def imports_when_called(function: types.FunctionType, seen: set) -> Iterator[str]:
    """What a function of the assets imports, and functions of the assets that it names."""
    function = inspect.unwrap(function)
    if function in seen or not function.__module__.startswith("glmhmm_assets"):
        return
    seen.add(function)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    for code in all_codes(function.__code__):
        package = ""
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME":
                package = step.argval
                yield package
            elif step.opname == "IMPORT_FROM":
                yield f"{package}.{step.argval}"
        named = [function.__globals__.get(name) for name in code.co_names]
        methods = [vars(Study).get(name) for name in code.co_names if name[0] != "_"]
        for thing in [*named, *methods, *cells]:
            yield getattr(thing, "__module__", None) or ""
            for called in vars(thing).values() if isinstance(thing, type) else [thing]:
                if isinstance(called, types.FunctionType):
                    yield from imports_when_called(called, seen)


def all_codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from all_codes(inner)


def test_an_asset_s_code_version_is_of_the_rooms_that_it_imports_from(make_home, monkeypatch):
    """Of all of them; and a list of rooms that assets share names no other."""
    home = make_home()
    (home.folder / "driven.toml").write_text(
        'extends = "two_afc"\n[[transition_regressors]]\nkind = "outcome_trace"\nhalf_life = 3\n'
    )
    home.edit('"two_afc"', '"driven.toml"')
    home.edit("[model]", '[model]\ntransition_regressors = ["outcome_trace"]')
    hashed = per_subject.code_version
    for module in list(sys.modules.values()):
        if getattr(module, "code_version", None) is hashed:
            monkeypatch.setattr(module, "code_version", lambda *rooms: " ".join(sorted(rooms)))
    imported: dict[str, set[str]] = {}
    for asset in definitions.study_definitions(home.study).assets:
        if hasattr(asset, "op"):
            (named,) = set(asset.code_versions_by_key.values())
            function = asset.op.compute_fn.decorated_fn
            rooms = rooms_of(imports_when_called(function, set()))
            assert rooms <= set(named.split()), function.__name__
            imported.setdefault(named, set()).update(rooms)
    assert {" ".join(sorted(rooms)) for rooms in imported.values()} == set(imported)


def test_a_changed_label_rule_fits_nothing_anew():
    """The design's code comes with the data, but for what baselines do with choices."""
    fits = [f"glmhmm_core.fitting.{n}" for n in ("batch", "hierarchy", "shrinkage", "prospective")]
    assert rooms_of(fits) == set(fingerprint.SOURCES)
    assert rooms_of(["glmhmm_core.baselines.subject"]) == set(baselines.SOURCES)
    assert "states" not in {*fingerprint.SOURCES, *baselines.SOURCES}


def test_a_picture_is_drawn_anew_when_code_changes_that_draws_it():
    """What the rooms further back make of the data is in the tables that it shows."""
    drawing = [f"glmhmm_core.plots.{file.stem}" for file in (CORE / "plots").glob("[a-z]*.py")]
    used = {module.split(".")[1] for name in drawing for module in imports_of(name)}
    assert used - {"errors", "whole_file", "wording"} == set(pictures.ROOMS)
