"""The study: one TOML file that says where the sessions are, which task, and which models to fit.

What belongs here is the file's grammar, its defaults and its errors; the table of the models has
a file of its own. Nothing here reads sessions
or knows Dagster; the name of a study is the stem of its file and becomes the key prefix of its
assets, the name of its partition set, its sensor, its schedule and its MLflow experiment.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args
from zoneinfo import available_timezones

from fsspec import get_filesystem_class  # type: ignore[import-untyped]
from pydantic import BeforeValidator, Field, field_validator
from upath import UPath

from glmhmm_assets.model_table import ModelTable, NumStates, Text
from glmhmm_core.errors import InputError
from glmhmm_core.fitting.settings import FitSettings
from glmhmm_core.toml_table import TomlTable, check_table, read_toml

if TYPE_CHECKING:
    from glmhmm_core.tasks.task import Task

#: Where studies and everything that running makes live when DAGSTER_HOME does not say.
DEFAULT_HOME = Path(__file__).parents[1] / "dagster_home"

#: Characters that Dagster allows in the name of a sensor or an asset, and as many as leave room
#: for suffixes in the names of files.
NAME_LENGTH = 100
STUDY_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_]{{0,{NAME_LENGTH - 1}}}")

#: Group of the assets that stand for study files that cannot be used.
BROKEN = "broken_studies"


#: Models that a study may hold its GLM-HMMs against.
Baseline = Literal[
    "lapse_class_1",
    "lapse_class",
    "lapse_history",
    "lapse_history_conditioned",
    "drifting_weights",
]


class SessionsTable(TomlTable):
    """``[sessions]``: where the session files are and how they are read.

    Attributes
    ----------
    path
        Folder of the session files, relative to ``dagster_home`` or absolute.
    format
        ``alf`` (ONE folders of the International Brain Laboratory), ``csv`` or ``parquet``.
    quiet_seconds
        A file that changed less than so many seconds ago is taken as still being written.
    """

    path: Text
    format: Literal["alf", "csv", "parquet"]
    quiet_seconds: Annotated[float, Field(ge=0, le=31_536_000)] = 30.0

    @field_validator("path")
    @classmethod
    def _known_address(cls, value: str) -> str:
        if "://" in value:
            try:
                get_filesystem_class(value.partition("://")[0])
                UPath(value)
            except Exception as error:  # each kind of address raises errors of its own
                raise ValueError(f"an address that cannot be opened here ({error})") from error
        return value


def _as_text(value: object) -> object:
    """Take an id that was written without quotes, a number or a date, as text."""
    is_id = isinstance(value, int | float | date) and not isinstance(value, bool)
    return str(value) if is_id else value


#: An id of a subject or a session.
Id = Annotated[Text, BeforeValidator(_as_text)]


class ExcludeTable(TomlTable):
    """``[[exclude]]``: a session (or, without one, a whole subject) left out by hand, and why."""

    subject: Id
    session: Id | None = None
    reason: Text


class SubjectsTable(TomlTable):
    """``[subjects]``: who counts. ``include`` names them; empty means everyone found."""

    include: Annotated[tuple[Id, ...], Field(strict=False)] = ()


class ComparisonTable(TomlTable):
    """``[comparison]``: what the GLM-HMMs have to beat, and how.

    ``models`` are fitted beside them on the same folds; ``prospective_folds`` blocks of the later
    half of the sessions are forecast from those before (``[hierarchy]`` is learned for each too);
    ``session_kinds`` is whether the shown model is also fitted with sessions of two kinds.
    """

    models: Annotated[tuple[Baseline, ...], Field(strict=False)] = get_args(Baseline)
    prospective_folds: Annotated[int, Field(ge=0, le=100)] = 3
    session_kinds: bool = True


class FiguresTable(TomlTable):
    """``[figures]``: what the pictures show.

    ``num_states`` is the model that they show, or the largest fitted below it; and
    ``example_sessions`` is how many sessions the posteriors are drawn for.
    """

    num_states: NumStates = 3
    example_sessions: Annotated[int, Field(ge=1, le=100)] = 4


class ChecksTable(TomlTable):
    """``[checks]``: how the model that the pictures show is put to the test.

    ``simulations`` is how many data sets it makes for the predictive checks, enough for a p-value
    of .01; ``recoveries`` how many of its data sets are fitted again from ``recovery_restarts``
    fresh starts each. 0 means that the check is left out.
    """

    simulations: Annotated[int, Field(ge=0, le=100_000)] = 200
    recoveries: Annotated[int, Field(ge=0, le=1_000)] = 5
    recovery_restarts: Annotated[int, Field(ge=1, le=1_000)] = 8

    @field_validator("simulations")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < 200:
            raise ValueError("too few for a p-value of .01; give 200 or more, or 0 for none")
        return value


class HierarchyTable(TomlTable):
    """``[hierarchy]``: subjects as draws from a population whose mean and spread are learned.

    ``enabled`` is whether that is done at all, and ``num_states`` for which of the models; for
    the one that the figures show when left out. It is learned from all sessions, and for
    each of the ``cv_folds`` of ``[model]`` and the ``prospective_folds`` of ``[comparison]``.
    """

    enabled: bool = True
    num_states: Annotated[tuple[NumStates, ...], Field(max_length=50, strict=False)] = ()


class UncertaintyTable(TomlTable):
    """``[uncertainty]``: where the intervals of the shown model's parameters come from.

    ``method`` is ``curvature`` (the Hessian of the MAP objective), ``bootstrap`` (refits to
    ``resamples`` draws of the sessions) or ``nuts`` (four chains of ``draws`` from the posterior
    within the fit's mode; needs the extra ``nuts``).
    """

    method: Literal["curvature", "bootstrap", "nuts"] = "curvature"
    resamples: Annotated[int, Field(ge=20, le=100_000)] = 200
    draws: Annotated[int, Field(ge=100, le=100_000)] = 1000


class ScheduleTable(TomlTable):
    """``[schedule]``: what happens whether or not a file changed.

    ``refit`` is when all subjects are gone through, ``population`` when the population's fit is
    made anew and all subjects are fitted from it: cron expressions in ``timezone``.
    """

    refit: Text = "0 3 * * *"
    population: Text = "0 5 * * SUN"
    timezone: Text = "UTC"

    @field_validator("refit", "population")
    @classmethod
    def _cron(cls, value: str) -> str:
        # Deferred: Dagster takes seconds to import, and the default is known to be right.
        from dagster._utils.schedules import is_valid_cron_schedule

        if not is_valid_cron_schedule(value):
            raise ValueError("not a cron expression; take one like '0 3 * * *' (3 o'clock)")
        return value

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"no time zone is called {value!r}; take one like 'Europe/Lisbon'")
        return value


class NotifyTable(TomlTable):
    """``[notify]``: a program told of every failed run, as JSON on its standard input.

    ``command`` is the program and its arguments (no shell reads it); it is stopped after
    ``timeout_seconds``.
    """

    command: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0


class StudyFile(TomlTable):
    """All that a study file may say."""

    title: Text
    task: Text
    sessions: SessionsTable
    exclude: Annotated[tuple[ExcludeTable, ...], Field(strict=False)] = ()
    subjects: SubjectsTable = SubjectsTable()
    model: ModelTable = ModelTable()
    comparison: ComparisonTable = ComparisonTable()
    figures: FiguresTable = FiguresTable()
    checks: ChecksTable = ChecksTable()
    hierarchy: HierarchyTable = HierarchyTable()
    uncertainty: UncertaintyTable = UncertaintyTable()
    schedule: ScheduleTable = ScheduleTable()
    notify: NotifyTable | None = None


class Study(StudyFile):
    """A study: what its file says, and where that file and its home are.

    Attributes
    ----------
    file
        The study file; its stem is the study's name.
    home
        Folder (``dagster_home``) that paths in the file start from and results are stored in.
    """

    file: Path
    home: Path

    @property
    def name(self) -> str:
        """Name of the study: the stem of its file."""
        return self.file.stem

    @property
    def sessions_root(self) -> UPath:
        """Folder of the session files."""
        path = self.sessions.path
        return UPath(path) if "://" in path else UPath(self.home / path)

    def who_counts(self, found: Iterable[str]) -> set[str]:
        """Subjects of those found that ``[subjects] include`` names; all if it names none."""
        from glmhmm_core.trials.ids import find_id

        known = list(found)
        wanted = self.subjects.include
        named = {find_id(name, known) for name in wanted}
        return {name for name in known if name in named or not wanted}

    @property
    def storage(self) -> Path:
        """Folder of everything that running this study makes."""
        return self.home / "storage" / self.name

    @property
    def partitions_name(self) -> str:
        """Name of the partition set: one partition per subject."""
        return f"{self.name}_subjects"

    def load_task(self) -> "Task":
        """Read the study's task, by its built-in name or from its TOML file.

        A relative path starts from the study file's folder, or else from ``home``.

        Raises
        ------
        InputError
            If the task cannot be used, or lacks a regressor that the study names.
        """
        from glmhmm_core.tasks.load import load_task

        task = load_task(self.task, self.file.parent, self.home)
        self.model.check_names(task, f"study file {self.file}")
        return task

    def fit_settings(self) -> FitSettings:
        """How every model of this study is fitted that has no transition regressors."""
        return self.model.settings()

    @property
    def hierarchy_states(self) -> tuple[int, ...]:
        """Numbers of states that the hierarchical fit is made for, of those of the models."""
        models = self.model.num_states
        shown = max((k for k in models if k <= self.figures.num_states), default=min(models))
        return tuple(sorted(set(self.hierarchy.num_states))) or (shown,)

    def model_digest(self) -> str:
        """SHA-256 of what the fits of the population depend on, beside the session files."""
        # The hierarchical fit is learned for every prospective fold too.
        folds = self.comparison.prospective_folds if self.hierarchy.enabled else 0
        tables = {"task", "exclude", "subjects", "model", "hierarchy"}
        return self._digest(tables, prospective_folds=folds)

    def settings_digest(self) -> str:
        """SHA-256 of everything but the session files that results depend on.

        Title, schedule and notification are left out: changing them refits nothing.
        """
        shaping = {"task", "exclude", "subjects", "model", "comparison", "figures", "checks"}
        return self._digest(shaping | {"hierarchy", "uncertainty"})

    def _digest(self, tables: set[str], prospective_folds: int = 0) -> str:
        tables_said = self.model_dump(mode="json", include=tables)
        said = [self.sessions.format, self.hierarchy_states, tables_said, prospective_folds]
        text = json.dumps(said, sort_keys=True) + repr(self.load_task())
        return hashlib.sha256(text.encode()).hexdigest()


def dagster_home() -> Path:
    """Folder of instance, studies and results: DAGSTER_HOME, or ``dagster_home`` in the project."""
    return Path(os.environ.get("DAGSTER_HOME") or DEFAULT_HOME).expanduser().absolute()


def load_study(file: Path, home: Path | None = None) -> Study:
    """Read one study file.

    Parameters
    ----------
    file
        The TOML file, usually ``dagster_home/studies/<name>.toml``.
    home
        Where its relative paths start from; the folder above ``studies`` when left out.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML, for an unknown key (with the nearest known
        one), a missing key, or a value that cannot be; all of a file's problems at once.
    """
    where = f"study file {printable(file)}"
    if not STUDY_NAME.fullmatch(file.stem) or file.stem == BROKEN:
        raise InputError(
            f"the name of a study cannot be {printable(file.stem)!r}",
            where=where,
            remedy=f"Name the file with up to {NAME_LENGTH} letters, digits and _, a letter first.",
        )
    document = read_toml(file, where)
    check_table(StudyFile, document, where)
    home = file.parent.parent if home is None else home
    return Study.model_validate({**document, "file": file.absolute(), "home": home.absolute()})


def load_studies(folder: Path) -> tuple[dict[str, Study], dict[str, InputError]]:
    """Read every ``*.toml`` of a folder; a broken one hides no other.

    Returns
    -------
    studies, problems
        The studies by name, and for each file that gave none what is wrong with it, by the
        file's stem.
    """
    studies: dict[str, Study] = {}
    problems: dict[str, InputError] = {}
    for file in sorted(folder.glob("*.toml")):
        with standing_alone(file.stem, file, problems):
            study = load_study(file)
            _refuse_twin(study, studies)
            studies[study.name] = study
    return studies, problems


@contextlib.contextmanager
def standing_alone(name: str, file: Path, problems: dict[str, InputError]) -> Iterator[None]:
    """Put down what goes wrong with one study, whatever it is, and go on with the others."""
    try:
        yield
    except InputError as error:
        problems[name] = error
    except Exception as error:
        problem = InputError(
            f"unexpected {type(error).__name__}: {printable(error)[:500]}",
            where=f"study file {printable(file)}",
            remedy="Look for something unusual in the file, and tell the makers of this program.",
        )
        problem.__cause__ = error
        problems[name] = problem


def printable(value: object) -> str:
    """Text that every page and terminal can show, of names that are not UTF-8 too."""
    return str(value).encode(errors="backslashreplace").decode()


def _refuse_twin(study: Study, others: Mapping[str, Study]) -> None:
    """Refuse names that differ in case alone: some file systems hold them in one folder."""
    for other in others.values():
        if study.name.casefold() == other.name.casefold():
            raise InputError(
                f"its name differs from that of {other.file.name} in case alone",
                where=f"study file {study.file}",
                remedy="Rename one of the two files.",
            )
