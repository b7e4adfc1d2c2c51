"""A home with one tiny study of simulated subjects, and ways to run it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from glmhmm_assets.definitions import build_defs, subject_assets
from glmhmm_assets.defs.cohort import build_cohort
from glmhmm_assets.defs.ingest import build_raw_sessions
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.partitions import known_subjects, range_tags
from glmhmm_assets.study import Study, load_study

TINY = """
title = "Tiny"
task = "two_afc"

[sessions]
path = "sessions/tiny"
format = "csv"
quiet_seconds = 0

[model]
num_states = [1, 2]
n_restarts = 2
cv_folds = 2
tol = 1e-6

[comparison]
models = ["lapse_class", "drifting_weights"]
prospective_folds = 2

[figures]
num_states = 2
example_sessions = 2
"""


def simulate(subject: str, seed: int, sessions: int = 4, trials: int = 60) -> pl.DataFrame:
    """Trials of an animal that follows the stimulus in some stretches and goes right in others."""
    rng = np.random.default_rng(seed)
    n = sessions * trials
    stimulus = rng.choice([-1.0, -0.5, 0.5, 1.0], n)
    engaged = np.repeat(rng.random(n // 20 + 1) < 0.6, 20)[:n]
    right = rng.random(n) < 1 / (1 + np.exp(-np.where(engaged, 4 * stimulus, 2.0)))
    return pl.DataFrame(
        {
            "subject": subject,
            "session": np.repeat([f"s{i:02d}" for i in range(sessions)], trials),
            "stimulus": stimulus,
            "choice": right.astype(int),
            "feedback": np.where(right == (stimulus > 0), 1, 0),
        }
    )


@dataclass
class Home:
    """A ``dagster_home`` with the study "tiny", and what a test does with it."""

    folder: Path
    instance: dg.DagsterInstance
    resources: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The study file."""
        return self.folder / "studies" / "tiny.toml"

    @property
    def study(self) -> Study:
        """The study as its file stands now."""
        return load_study(self.file)

    @property
    def sessions(self) -> Path:
        """Folder of the session files."""
        return self.folder / "sessions" / "tiny"

    def write(self, subject: str, seed: int = 0, **more: int) -> Path:
        """Write one subject's sessions into a file of its own."""
        path = self.sessions / f"{subject}.csv"
        simulate(subject, seed, **more).write_csv(path)
        return path

    def edit(self, old: str, new: str) -> None:
        """Change the study file."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def add(self, *subjects: str) -> None:
        """Make partitions of subjects."""
        self.instance.add_dynamic_partitions("tiny_subjects", subjects)

    def assets(self, *names: str, also: Sequence[str] = ()) -> list[dg.AssetsDefinition]:
        """Assets of the study: those named, or the per-subject ones up to the figures, and more."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            built = [*subject_assets(self.study), *build_cohort(self.study)]
        keys = {asset: {key.path[-1] for key in asset.keys} for asset in built}
        left_out = {"fit_tracking", "cohort_summary", "cohort_figures"}
        costly = {"model_comparison", "predictive_checks"}
        costly |= {"parameter_recovery", "state_paths", "state_accuracy"}
        costly |= {"state_matches", "baseline_fits", "prospective_fits", "comparison"}
        if "model_comparison" not in also:  # which asks for them, though they may not be there
            costly |= {"session_fits", "session_kinds", "session_checks"}
            costly |= {"shrunken_fits", "prospective_transition_fits", "prospective_shrunken_fits"}
        left_out |= costly - set(also)
        return [a for a in built if (keys[a] & set(names) if names else not keys[a] & left_out)]

    def run(
        self, subjects: Sequence[str] = (), assets: Sequence[str] = (), **more: Any
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets over the range of these subjects, or of all."""
        known = known_subjects(self.study, self.instance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.materialize(
                [build_raw_sessions(self.study), *self.assets(also=assets)],
                selection=[dg.AssetKey(["tiny", name]) for name in assets] or None,
                instance=self.instance,
                resources={**build_io_managers(self.folder), **self.resources},
                tags=range_tags(known, subjects or known),
                **more,
            )

    def run_one(self, subject: str) -> dg.ExecuteInProcessResult:
        """Materialize the per-subject assets of one partition, as the UI's button does."""
        return dg.materialize(
            self.assets(),
            instance=self.instance,
            resources=build_io_managers(self.folder),
            partition_key=subject,
        )

    def run_cohort(self) -> dg.ExecuteInProcessResult:
        """Materialize the assets over all subjects."""
        cohort = build_cohort(self.study)
        return dg.materialize(
            [*self.assets(), *cohort],
            selection=cohort,
            instance=self.instance,
            resources=build_io_managers(self.folder),
        )

    def definitions(self) -> dg.Definitions:
        """Give everything that Dagster would load from this home."""
        return build_defs(self.folder)

    def metadata(self, result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict[str, Any]]:
        """Metadata of an asset's materializations in a run, by subject."""
        return {
            str(event.partition): {
                name: value.value for name, value in event.materialization.metadata.items()
            }
            for event in result.get_asset_materialization_events()
            if event.asset_key == dg.AssetKey(["tiny", asset])
        }

    def stored(self, asset: str, subject: str) -> Any:
        """What is stored of an asset for a subject, as its IO manager reads it."""
        managers = build_io_managers(self.folder)
        folder = self.folder / "storage" / "tiny" / asset
        path = next(folder.glob(f"{subject}.[pn]*"))
        formats = {
            "design_tensors": "designs",
            "subject_fits": "fits",
            "transition_fits": "fits",
            "shrunken_fits": "fits",
            "prospective_fits": "fits",
            "prospective_transition_fits": "fits",
            "prospective_shrunken_fits": "fits",
            "baseline_fits": "baselines",
            "session_fits": "baselines",
        }
        return managers[formats.get(asset, "tables")].read(path)

    def stored_cohort(self) -> pl.DataFrame:
        """Give the stored cohort summary."""
        return pl.read_parquet(self.folder / "storage" / "tiny" / "cohort_summary.parquet")


@pytest.fixture
def make_home(tmp_path: Path) -> Iterator[Callable[..., Home]]:
    """Give a function that makes a home with these subjects, by seed of their simulation."""
    with dg.DagsterInstance.ephemeral() as instance:

        def make(**subjects: int) -> Home:
            home = Home(tmp_path / "home", instance)
            home.file.parent.mkdir(parents=True)
            home.file.write_text(TINY)
            home.sessions.mkdir(parents=True)
            for subject, seed in subjects.items():
                home.write(subject, seed)
            return home

        yield make
