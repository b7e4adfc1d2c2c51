"""Shared by all tests: JAX's strict flags, and where the real data for tests lie."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_X64"] = "true"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"

# A machine that is busy with other work is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Tests start many processes that compile the same programs.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

DATA = Path(os.environ.get("GLMHMM_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what waits and takes long, so that no worker is waited for at the end."""
    longest = ("e2e", "assets")

    def place(item: pytest.Item) -> int:
        folder, *_ = item.path.relative_to(TESTS).parts
        return longest.index(folder) if folder in longest else len(longest)

    items.sort(key=place)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set GLMHMM_TEST_DATA)")
    return DATA
