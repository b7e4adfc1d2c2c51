"""Stages: every asset of a study is in one, and what it depends on is there or in one before."""

import dagster as dg
import pytest

from glmhmm_assets.definitions import study_definitions
from glmhmm_assets.stages import STAGES


@pytest.fixture
def assets(make_home) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Assets of a study that asks for everything, as they are before Dagster resolves inputs."""
    home = make_home()
    (home.folder / "driven.toml").write_text(
        'extends = "two_afc"\n[[transition_regressors]]\nkind = "outcome_trace"\nhalf_life = 3\n'
    )
    home.edit('"two_afc"', '"driven.toml"')
    home.edit("[model]", '[model]\ntransition_regressors = ["outcome_trace"]')
    return list(study_definitions(home.study).assets)


def specs_of(assets) -> list[dg.AssetSpec]:
    return [s for one in assets for s in ([one] if isinstance(one, dg.AssetSpec) else one.specs)]


def test_every_asset_is_in_the_group_of_the_stage_that_lists_it(assets):
    groups: dict[str, list[str]] = {}
    for spec in specs_of(assets):
        groups.setdefault(spec.group_name, []).append(spec.key.path[-1])
    listed = {f"tiny_{stage}": sorted(names) for stage, names in STAGES.items()}
    assert {group: sorted(names) for group, names in groups.items()} == listed


def test_what_one_step_makes_is_in_one_stage(assets):
    """Dagster materializes such assets together or not at all."""
    for one in assets:
        assert len({spec.group_name for spec in specs_of([one])}) == 1, one.keys


def test_no_asset_looks_for_its_inputs_in_its_own_group(assets):
    keys = {spec.key for spec in specs_of(assets)}
    for spec in specs_of(assets):
        assert {dep.asset_key for dep in spec.deps} <= keys, spec.key


def test_the_lineage_of_the_stages_runs_one_way(assets):
    place = {name: place for place, names in enumerate(STAGES.values()) for name in names}
    for spec in specs_of(assets):
        name = spec.key.path[-1]
        for dep in spec.deps:
            assert place[dep.asset_key.path[-1]] <= place[name], (name, dep.asset_key)
