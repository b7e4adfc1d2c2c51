"""What holds for the repository as a whole: which room may import which, and its habits."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("glmhmm_core/**/*.py"), *ROOT.glob("glmhmm_assets/**/*.py")])

#: Rooms of the core in the order in which values flow; a room may import those before it. Those
#: on one line serve each other.
ORDER = (
    {"errors", "toml_table", "whole_file", "wording"},
    {"trials", "tasks"},
    {"design"},
    {"engine"},
    {"model", "simulation", "fitting"},
    {"baselines"},
    {"states"},
    {"comparison"},
    {"tables"},
    {"plots"},
)


def imports(file: Path, at_load: bool = False) -> set[str]:
    """Modules that a file imports, or only those imported when it is loaded."""
    found = set()
    nodes = [ast.parse(file.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        if at_load and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
    return found


def room(module: str) -> int:
    """Place of a module of the core in the order."""
    name = module.split(".")[1]
    return next(place for place, rooms in enumerate(ORDER) if name in rooms)


@pytest.mark.parametrize("file", [f for f in SOURCES if f.parts[-3] == "glmhmm_core"], ids=str)
def test_the_core_imports_only_what_comes_before(file):
    here = room(f"glmhmm_core.{file.parent.name}")
    for module in imports(file):
        top = module.split(".")[0]
        assert top not in ("dagster", "mlflow", "glmhmm_assets", "click", "rich"), module
        if top == "glmhmm_core" and "." in module:
            assert room(module) <= here, module


@pytest.mark.parametrize("file", sorted((ROOT / "glmhmm_core" / "engine").glob("*.py")), ids=str)
def test_the_engine_needs_jax_and_numpy_alone(file):
    for module in imports(file):
        if module.split(".")[0] == "glmhmm_core":
            assert module.startswith("glmhmm_core.engine"), module
        else:
            assert module.split(".")[0] not in ("polars", "scipy", "dynamax", "optax"), module


@pytest.mark.parametrize("file", [f for f in SOURCES if "glmhmm_assets" in f.parts], ids=str)
def test_the_graph_loads_without_heavy_packages(file):
    heavy = {"jax", "mlflow", "matplotlib", "dynamax", "scipy", "optax"}
    assert not {module.split(".")[0] for module in imports(file, at_load=True)} & heavy


def unpickles(file: Path) -> bool:
    """Whether a file imports what reads pickles, or allows NumPy to; however that is spelled."""
    pickling = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
    allowed = [
        one.value
        for node in ast.walk(ast.parse(file.read_text()))
        for one in getattr(node, "keywords", ())
        if one.arg == "allow_pickle"
    ]
    allows = any(not isinstance(v, ast.Constant) or v.value is not False for v in allowed)
    return allows or bool({module.split(".")[0] for module in imports(file)} & pickling)


def test_one_file_alone_unpickles(tmp_path):
    assert [file.name for file in SOURCES if unpickles(file)] == ["demo_rat.py"]
    ways = (
        "from pickle import loads",
        "np.load(f, allow_pickle = True)",
        "load(f, allow_pickle=p)",
    )
    for way in ways:
        (tmp_path / "way.py").write_text(way)
        assert unpickles(tmp_path / "way.py"), way


def test_no_pandas_of_our_own():
    assert [f for f in SOURCES if "pandas" in {m.split(".")[0] for m in imports(f)}] == []


def test_the_pinned_versions_name_no_index_and_cover_every_dependency():
    text = (ROOT / "requirements.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.match(r"[a-z0-9][a-z0-9._-]*==\S+( ; .*)?$", line) for line in lines)
    pinned = [line.split("==")[0].replace("_", "-") for line in lines]
    assert pinned.count("jax") == 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    needed = [Requirement(one) for part in wanted for one in part]
    versions = [line.split(";")[0].strip().split("==") for line in lines]
    for one in needed:
        name = one.name.lower().replace("_", "-")
        assert name in pinned
        found = [version for other, version in versions if other.replace("_", "-") == name]
        assert all(one.specifier.contains(version, prereleases=True) for version in found), one


def test_the_readme_names_commands_that_exist():
    from glmhmm_assets.cli import main

    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"glmhmm ([a-z]+)\b", readme)) <= set(main.commands)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"[`\n]make (\w+)", readme)) <= targets
    for path in re.findall(r'(?:src="|\]\()(docs/[^")]+)', readme):
        assert (ROOT / path).exists()


def test_the_guards_name_tests_that_exist():
    there = "\n".join(file.read_text() for file in ROOT.glob("tests/**/test_*.py"))
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guards.md").read_text())
    assert len(named) > 60
    assert [name for name in named if f"def {name}(" not in there] == []
