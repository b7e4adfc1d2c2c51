"""Study files: what they may say, and that every mistake is told with its place and remedy."""

import os
import re
from pathlib import Path

import pytest

from glmhmm_assets.study import Study, dagster_home, load_studies, load_study
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.settings import FitSettings, FrozenWeight

LEAST = """
title = "T"
task = "two_afc"
[sessions]
path = "sessions/a"
format = "csv"
"""


@pytest.fixture
def write(tmp_path):
    """Write a study file below ``home/studies``."""

    def write(text: str = LEAST, name: str = "a.toml") -> Path:
        path = tmp_path / "home" / "studies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_least_file_has_defaults_for_all_else(write, tmp_path):
    study = load_study(write())
    assert study.name == "a"
    assert study.home == tmp_path / "home"
    assert study.model.num_states == (1, 2, 3, 4, 5)
    assert study.model.cv_folds == 5
    assert study.notify is None
    defaults = FitSettings(emission_prior_scale=None, cv_folds=5)
    assert study.fit_settings() == defaults
    assert str(study.sessions_root) == str(tmp_path / "home" / "sessions" / "a")
    assert study.load_task().choices == ("left", "right")


def test_the_demo_studies_are_whole():
    studies, problems = load_studies(Path(__file__).parents[2] / "dagster_home" / "studies")
    assert not problems
    assert {"mice", "rat"} <= set(studies)
    for study in studies.values():
        study.load_task()


def test_the_commented_study_file_says_the_defaults(write):
    text = (Path(__file__).parents[2] / "dagster_home/studies/mice.toml").read_text()
    mice = load_study(write(text))
    least = load_study(write(LEAST))
    # The demo does less here and there, and says so.
    less = {
        "model": {"num_states": (1, 2, 3, 4, 5)},
        "comparison": {
            "models": least.comparison.models,
            "prospective_folds": 3,
            "session_kinds": True,
        },
        "checks": {"simulations": 200, "recoveries": 5},
    }
    assert "# 1 to 5 when left out" in text
    for default in ("default 3;", "default true;", "default 200;", "default 5;"):
        assert default in text
    assert all(f'"{model}"' in text for model in least.comparison.models)
    tables = ("subjects", "model", "figures", "comparison", "checks", "hierarchy", "schedule")
    for table in tables:
        said = getattr(mice, table).model_copy(update=less.get(table))
        assert said == getattr(least, table)
    assert mice.sessions.quiet_seconds == least.sessions.quiet_seconds


def test_every_key_in_the_commented_study_file_is_real(write):
    text = (Path(__file__).parents[2] / "dagster_home/studies/mice.toml").read_text()
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("title"))
    setting = re.compile(r"# ((\[\[?[\w.]+\]\]?)|(\w+ = .*))$")
    awake = [m[1] if (m := setting.match(line)) else line for line in lines[start:]]
    study = load_study(write("\n".join(awake)))
    assert study.exclude[0].session is not None
    assert study.notify is not None
    assert study.model.emission_prior_scale == 2.0
    assert study.model.frozen[0].weight() == FrozenWeight(2, "stimulus")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST + "formt = 1\n", "unknown key 'formt' in [sessions]. Did you mean 'format'?"),
        (LEAST + "zebra = 1\n", "Known there: path, format, quiet_seconds."),
        ("tasks = 1\n" + LEAST, "unknown key 'tasks' in the top level. Did you mean 'task'?"),
        (LEAST.replace('title = "T"', ""), "no 'title' in the top level"),
        (LEAST.replace('"csv"', '"xls"'), "sessions.format = 'xls'"),
        (LEAST + "[sessions.deep]\nx = 1\n", "unknown key 'deep' in [sessions]"),
        (LEAST + "[model]\ncv_folds = 1\n", "one fold holds out everything"),
        (LEAST + "[model]\nnum_states = []\n", "model.num_states = []"),
        (LEAST + "[model]\nnum_states = [0]\n", "model.num_states = 0"),
        (LEAST + "[model]\nnum_states = [1.5]\n", "model.num_states = 1.5"),
        (LEAST + "[model]\nnum_states = 3\n", "model.num_states = 3"),
        (LEAST + '[model]\nn_restarts = "20"\n', "model.n_restarts = '20'"),
        (LEAST + "[model]\nemission_prior_scale = 0\n", "model.emission_prior_scale = 0"),
        (LEAST + "[model]\nemission_prior_scale = [1.0, -1]\n", "model.emission_prior_scale = -1"),
        (LEAST + "[model]\ntol = nan\n", "model.tol = nan"),
        (LEAST + "[checks]\nsimulations = 20\n", "too few for a p-value of .01"),
        (LEAST + "[[model.frozen]]\nstate = 0\n", "give 'regressor' or 'transition_regressor'"),
        (LEAST + '[[model.frozen]]\nstate = 5\nregressor = "x"\n', "of 5 states"),
        (
            LEAST + '[model]\nnum_states = [1]\ntransition_regressors = ["x"]\n',
            "models of 2 states or more",
        ),
        (LEAST + "[model]\ntransition_concentration = 0.5\n", "transition_concentration = 0.5"),
        (LEAST + '[schedule]\ntimezone = "Mars"\n', "no time zone is called 'Mars'"),
        (LEAST + '[schedule]\nrefit = "at night"\n', "schedule.refit = 'at night'"),
        (LEAST + "[notify]\ncommand = []\n", "notify.command = []"),
        (LEAST + '[notify]\ncommand = "mail"\n', "notify.command = 'mail'"),
        (LEAST + '[[exclude]]\nsubject = "a"\n', "no 'reason' in [exclude]"),
        (LEAST + "x = [\n", "not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_file_place_and_remedy(write, text, said):
    path = write(text)
    with pytest.raises(InputError) as told:
        load_study(path)
    assert said in str(told.value)
    assert str(path) in str(told.value)
    assert told.value.remedy.endswith((".", "?"))


def test_all_mistakes_of_a_file_are_told_at_once(write):
    text = LEAST.replace('"csv"', '"xls"') + "[model]\nseed = -1\nrestarts = 3\n"
    with pytest.raises(InputError) as told:
        load_study(write(text))
    for said in ("sessions.format", "model.seed", "'restarts'", "'n_restarts'"):
        assert said in str(told.value)


def test_a_byte_order_mark_is_no_mistake(write):
    assert load_study(write("\ufeff" + LEAST)).title == "T"


def test_bytes_that_are_no_text_are_told(write):
    path = write()
    path.write_bytes(b"title = '\xff'")
    with pytest.raises(InputError, match="cannot be read"):
        load_study(path)


@pytest.mark.parametrize("name", ["a b.toml", "1a.toml", "a-b.toml", "ä.toml", "_a.toml"])
def test_a_name_that_dagster_would_refuse_is_told(write, name):
    with pytest.raises(InputError, match="name of a study cannot be"):
        load_study(write(name=name))


def test_a_broken_file_hides_no_other(write):
    write(name="good.toml")
    write("x =", name="bad.toml")
    write(LEAST + "y = 1", name="odd.toml")
    folder = write(name="also_good.toml").parent
    (folder / "tasks").mkdir()
    (folder / "tasks" / "t.toml").write_text("not a study")
    studies, problems = load_studies(folder)
    assert list(studies) == ["also_good", "good"]
    assert list(problems) == ["bad", "odd"]


def test_names_that_differ_in_case_alone_are_refused(write):
    write(name="mice.toml")
    folder = write(name="Mice.toml").parent
    studies, problems = load_studies(folder)
    assert list(studies) == ["Mice"]
    assert "in case alone" in str(problems["mice"])


@pytest.mark.parametrize("path", ["foo://x", "htp://lab/mice"])
def test_an_address_of_an_unknown_kind_is_told(write, path):
    with pytest.raises(InputError, match=r"sessions.path = '.*an address that cannot be opened"):
        load_study(write(LEAST.replace("sessions/a", path)))


@pytest.mark.parametrize(
    "line",
    [
        "[model]\nnum_states = [51]",
        "[model]\nn_restarts = 1001",
        "[model]\ncv_folds = 101",
        "[model]\nstickiness = inf",
        "[model]\ntol = inf",
        "[figures]\nnum_states = 51",
        "[checks]\nsimulations = 100001",
        "[checks]\nrecoveries = 1001",
        "[comparison]\nprospective_folds = 101",
        "[hierarchy]\nnum_states = [51]",
        "[uncertainty]\nresamples = 100001",
        '[notify]\ncommand = ["true"]\ntimeout_seconds = inf',
    ],
)
def test_numbers_that_would_take_all_memory_or_time_are_refused(write, line):
    with pytest.raises(InputError, match=r"less than|valid") as told:
        load_study(write(f"{LEAST}{line}\n"))
    assert line.split("\n")[-1].split(" =")[0] in str(told.value)


def test_a_name_of_300_characters_is_refused(write):
    path = write().with_name(f"{'x' * 101}.toml")
    path.write_text(LEAST)
    with pytest.raises(InputError, match="up to 100 letters"):
        load_study(path)


def test_files_of_every_odd_kind_hide_no_study(write):
    folder = write(name="good.toml").parent
    os.mkfifo(folder / "pipe.toml")
    (folder / "folder.toml").mkdir()
    (folder / "nowhere.toml").symlink_to("absent.toml")
    (folder / "circle.toml").symlink_to("circle.toml")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe")
    with Path(os.fsdecode(os.fsencode(folder) + b"/n\xe4me.toml")).open("w") as file:
        file.write(LEAST)
    studies, problems = load_studies(folder)
    assert list(studies) == ["good"]
    assert len(problems) == 6
    for problem in problems.values():
        str(problem).encode()


def test_a_task_lies_beside_the_study_or_below_the_home(write):
    own = 'extends = "two_afc"\ntitle = "own"\n'
    write(own, name="tasks/own.toml")
    for path in ("tasks/own.toml", "studies/tasks/own.toml"):
        assert load_study(write(LEAST.replace("two_afc", path))).load_task().title == "own"


def test_a_folder_that_is_missing_has_no_studies(tmp_path):
    assert load_studies(tmp_path / "nowhere") == ({}, {})


@pytest.mark.parametrize(
    ("old", "new", "matters"),
    [
        ('"T"', '"Another title"', False),
        ('"csv"', '"csv"\nquiet_seconds = 1', False),
        ('"csv"', '"csv"\n[schedule]\nrefit = "0 4 * * *"', False),
        ('"csv"', '"csv"\n[notify]\ncommand = ["true"]', False),
        ('"csv"', '"csv" # a remark', False),
        ('"csv"', '"csv"\n[model]\nseed = 1', True),
        ('"csv"', '"csv"\n[model]\nnum_states = [2]', True),
        ('"csv"', '"csv"\n[[exclude]]\nsubject = "a"\nreason = "r"', True),
        ('"csv"', '"csv"\n[figures]\nnum_states = 2', True),
        ('"two_afc"', '"ibl_2afc"', True),
    ],
)
def test_settings_digest_moves_with_what_shapes_results(write, old, new, matters):
    before = load_study(write()).settings_digest()
    after = load_study(write(LEAST.replace(old, new))).settings_digest()
    assert (before != after) == matters


def test_settings_digest_moves_with_the_task_file(write):
    study = load_study(write(LEAST.replace('"two_afc"', '"studies/tasks/t.toml"')))
    task = write('extends = "two_afc"\n', name="tasks/t.toml")
    before = study.settings_digest()
    task.write_text('extends = "two_afc"\n# a remark\n')
    assert study.settings_digest() == before
    task.write_text('extends = "two_afc"\n[choices]\nbaseline = "right"\n')
    assert study.settings_digest() != before


def test_paths_may_be_absolute_or_remote(write):
    def root(path: str) -> str:
        return str(load_study(write(LEAST.replace("sessions/a", path))).sessions_root)

    assert root("/data/mice") == "/data/mice"
    assert root("memory://lab/mice") == "memory://lab/mice"


def test_a_study_cannot_be_changed(write):
    study = load_study(write())
    with pytest.raises(ValueError, match="frozen"):
        study.title = "x"
    with pytest.raises(ValueError, match="frozen"):
        study.model.seed = 2


def test_the_file_cannot_say_where_it_is(write):
    with pytest.raises(InputError, match="unknown key 'home'"):
        load_study(write('home = "/"\n' + LEAST))


def test_home_is_the_environments_or_the_projects(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert dagster_home() == tmp_path
    monkeypatch.delenv("DAGSTER_HOME")
    assert (dagster_home() / "dagster.yaml").exists()


def test_study_is_a_plain_value(write):
    assert load_study(write()) == load_study(write())
    assert isinstance(load_study(write()), Study)


DRIVEN_TASK = """
extends = "two_afc"
title = "Driven"

[[transition_regressors]]
kind = "choice_lags"
name = "lags"
count = 2

[[transition_regressors]]
kind = "outcome_trace"
half_life = 2
prior_scale = 0.5
"""
DRIVEN = """
transition_regressors = ["outcome_trace", "lags"]

[[model.frozen]]
state = 1
regressor = "stimulus"

[[model.frozen]]
state = 0
transition_regressor = "lags_2"
value = -0.5
"""


def driven(write, more=DRIVEN):
    text = LEAST.replace('"two_afc"', '"studies/tasks/driven.toml"') + "[model]\n" + more
    path = write(text)
    (path.parent / "tasks").mkdir(exist_ok=True)
    (path.parent / "tasks" / "driven.toml").write_text(DRIVEN_TASK)
    return load_study(path)


def test_names_of_transition_regressors_become_columns_of_the_design(write):
    study = driven(write)
    plain, own = study.fit_settings(), study.model.transition_settings(study.load_task())
    assert own.transition_regressors == ("outcome_trace", "lags_1", "lags_2")
    assert plain.transition_regressors == ()
    stimulus = FrozenWeight(1, "stimulus")
    assert plain.frozen == (stimulus,)
    assert own.frozen == (stimulus, FrozenWeight(0, "lags_2", -0.5, of_transition=True))
    assert own.transition_prior_scale is None  # each has its own from the task
    same = ("seed", "cv_folds", "emission_prior_scale", "transition_concentration", "tol")
    assert all(getattr(own, name) == getattr(plain, name) for name in same)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["outcome_trace", "lags"]', '["outcome_trace", "lag"]', "names 'lag'"),
        ('regressor = "stimulus"', 'regressor = "lags_1"', "stimulus, bias, previous_choice, wsls"),
        ('"lags_2"', '"lags"', "outcome_trace, lags_1, lags_2"),
        ('["outcome_trace", "lags"]', '["outcome_trace"]', "names 'lags_2'"),
    ],
)
def test_regressors_that_the_task_does_not_have_are_refused_by_name(write, old, new, said):
    assert old in DRIVEN
    with pytest.raises(InputError, match=re.escape(said)) as told:
        driven(write, DRIVEN.replace(old, new)).load_task()
    assert "study file" in str(told.value)
