"""The code location: every study is there, a broken one hides none, and loading is light."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from glmhmm_assets import definitions
from glmhmm_assets.definitions import build_defs

PER_SUBJECT = {
    "cleaned_sessions",
    "cleaning_report",
    "design_tensors",
    "subject_fits",
    "trial_table",
    "weight_table",
    "em_traces",
    "weights",
    "transition_matrix",
    "session_posteriors",
    "state_dynamics",
    "psychometrics",
    "heldout_bits",
    "baseline_fits",
    "prospective_fits",
    "prospective_shrunken_fits",
    "model_comparison",
    "comparison",
    "parameter_errors",
    "predictive_checks",
    "parameter_recovery",
    "state_paths",
    "state_accuracy",
    "shrunken_fits",
    "state_matches",
    "session_fits",
    "session_kinds",
    "session_checks",
    "fit_tracking",
}
COHORT = {
    "cohort_summary",
    "cohort_figures",
    "state_choice",
    "cohort_checks",
    "cohort_comparison",
    "cohort_tracking",
    "shrinkage",
}


@pytest.fixture
def defs(make_home) -> dg.Definitions:
    """Two studies, and two files that are none."""
    home = make_home()
    text = home.file.read_text()
    studies = home.file.parent
    (studies / "second.toml").write_text(text.replace('"Tiny"', '"Second"'))
    (studies / "bro-ken.toml").write_text("x = [")
    (studies / "bro ken.toml").write_text(text)
    (studies / "address.toml").write_text(text.replace('path = "', 'path = "foo://'))
    (studies / "no_task.toml").write_text(text.replace('"two_afc"', '"three_afc"'))
    (studies / "no_cron.toml").write_text(text + '[schedule]\nrefit = "at night"\n')
    return build_defs(home.folder)


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_studies_lie_side_by_side_under_their_names(defs):
    dg.Definitions.validate_loadable(defs)
    for study in ("tiny", "second"):
        names = {key.split("/")[1] for key in specs(defs) if key.startswith(f"{study}/")}
        assert (
            names == {"raw_sessions", "population_fit", "hierarchical_fit"} | PER_SUBJECT | COHORT
        )


def test_a_study_has_only_the_analyses_that_it_asks_for(make_home):
    home = make_home()
    none = "[checks]\nsimulations = 0\nrecoveries = 0\n\n[hierarchy]\nenabled = false\n\n"
    home.edit("[figures]", none + "[figures]")
    home.edit("prospective_folds = 2", "prospective_folds = 2\nsession_kinds = false")
    defs = build_defs(home.folder)
    dg.Definitions.validate_loadable(defs)
    optional = {"predictive_checks", "cohort_checks", "parameter_recovery"}
    optional |= {"session_fits", "session_kinds", "session_checks"}
    optional |= {"hierarchical_fit", "shrunken_fits", "prospective_shrunken_fits", "shrinkage"}
    names = {key.split("/")[1] for key in specs(defs)}
    assert names == {"raw_sessions", "population_fit"} | (PER_SUBJECT | COHORT) - optional


def test_a_broken_study_is_shown_with_its_problem_and_hides_none(defs):
    shown = {k: s.description for k, s in specs(defs).items() if k.startswith("broken_studies/")}
    assert len(shown) == 5
    odd = [told for key, told in shown.items() if key.startswith("broken_studies/bro_ken_")]
    assert len(odd) == 2
    assert all("name of a study cannot be" in told for told in odd)
    assert "three_afc" in shown["broken_studies/no_task"]
    assert "at night" in shown["broken_studies/no_cron"]
    assert "sessions.path = 'foo://" in shown["broken_studies/address"]


def test_a_launch_cannot_say_where_anything_is_read_or_written(defs):
    """Whoever may launch runs chooses who is promoted, and no place, program or address."""
    job = defs.get_repository_def().get_implicit_global_asset_job_def()
    config = job.run_config_schema.config_type.fields
    keys = set()
    for node in config["ops"].config_type.fields.values():
        assert not {"inputs", "outputs"} & set(node.config_type.fields)
        own = node.config_type.fields.get("config")
        keys |= set(getattr(own.config_type, "fields", ())) if own else set()
    assert keys == {"promote"}
    for resource in config["resources"].config_type.fields.values():
        assert not hasattr(resource.config_type.fields["config"].config_type, "fields")


def test_a_study_that_fails_in_a_way_nobody_foresaw_hides_none(make_home, monkeypatch):
    home = make_home()
    home.file.with_name("odd.toml").write_text(home.file.read_text())
    build = definitions.build_failure_sensor

    def fail_for_one(study):
        if study.name == "odd":
            raise KeyError("nobody foresaw this")
        return build(study)

    monkeypatch.setattr(definitions, "build_failure_sensor", fail_for_one)
    shown = specs(build_defs(home.folder))
    assert "tiny/subject_fits" in shown
    assert "unexpected KeyError: 'nobody foresaw this'" in shown["broken_studies/odd"].description


def test_all_subject_assets_share_partitions_and_policy(defs):
    """What puts a whole chain over many subjects into one run."""
    graph = defs.resolve_asset_graph()
    for study in ("tiny", "second"):
        for name in PER_SUBJECT:
            node = graph.get(dg.AssetKey([study, name]))
            assert node.partitions_def.name == f"{study}_subjects"
            assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_every_asset_says_what_it_is_and_has_a_version(defs):
    for key, spec in specs(defs).items():
        assert len(spec.description or "") > 20, key
        if not key.endswith("/raw_sessions") and not key.startswith("broken"):
            assert spec.code_version, key
            assert spec.kinds, key


def test_every_check_warns_and_says_what_it_means(defs):
    checks = defs.resolve_asset_graph().asset_check_keys
    assert {c.name for c in checks if c.asset_key.path[0] == "tiny"} == {
        "files_usable",
        "choices_in_range",
        "stimuli_in_range",
        "data_plausible",
        "subjects_fitted",
        "objective_never_decreasing",
        "converged",
        "restarts_agree",
        "optimum_unambiguous",
        "states_occupied",
        "data_suffice",
        "refits_promoted",
        "predictions_hold",
        "parameters_determined",
    }


def test_automation_is_on_when_the_instance_starts(defs):
    repository = defs.get_repository_def()
    assert {s.name for s in repository.sensor_defs if s.name.startswith("tiny")} == {
        "tiny_session_files",
        "tiny_cohort",
        "tiny_failures",
    }
    for sensor in repository.sensor_defs:
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING, sensor.name
    for schedule in repository.schedule_defs:
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING, schedule.name
    assert {s.name for s in repository.schedule_defs} == {
        f"{study}_{what}" for study in ("tiny", "second") for what in ("nightly", "population")
    }


def test_resources_can_be_replaced(make_home):
    home = make_home()
    other = dg.ResourceDefinition.hardcoded_resource("other")
    assert build_defs(home.folder, {"tracker": other}).resources["tracker"] is other


def test_a_home_without_studies_loads(tmp_path):
    dg.Definitions.validate_loadable(build_defs(tmp_path))


def test_loading_imports_nothing_heavy():
    """The code location is loaded for every run and every reload."""
    code = (
        "import warnings; warnings.simplefilter('ignore'); import sys, json; "
        "import dagster as dg; from glmhmm_assets.definitions import defs; "
        "dg.Definitions.validate_loadable(defs()); "
        "print(json.dumps([m for m in ('jax', 'mlflow', 'matplotlib', 'dynamax', 'scipy') "
        "if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_nightly_schedule_covers_everyone(make_home):
    from glmhmm_assets.automation import build_nightly_schedule
    from glmhmm_assets.partitions import STUDY_TAG

    home = make_home()
    schedule = build_nightly_schedule(home.study, home.assets())
    assert schedule.cron_schedule == "0 3 * * *"
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(instance=instance)
        assert isinstance(schedule(context), dg.SkipReason)
        instance.add_dynamic_partitions("tiny_subjects", ["b", "a", "c"])
        request = schedule(context)
    assert request.tags == {
        "dagster/asset_partition_range_start": "b",
        "dagster/asset_partition_range_end": "c",
        STUDY_TAG: "tiny",
    }


def test_no_value_is_left_to_the_io_manager_that_pickles(defs):
    """That is Dagster's own, of assets that name none: it may be theirs that hand nothing on."""
    left = {
        key.path[-1]: one.op.output_dict[one.get_output_name_for_asset_key(key)].dagster_type
        for one in defs.assets or ()
        if isinstance(one, dg.AssetsDefinition)
        for key in one.keys
        if one.is_executable and one.get_io_manager_key_for_asset_key(key) == "io_manager"
    }
    assert {name for name, kind in left.items() if kind.display_name != "Nothing"} == set()
    assert left  # pictures and runs of MLflow
