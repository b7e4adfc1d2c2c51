"""The code location: every study of ``dagster_home/studies`` as its assets and its automation.

What belongs here is the assembly alone. A study file that cannot be used becomes an asset that
says why, and hides no other study.
"""

import hashlib
import logging
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from glmhmm_assets.automation import (
    build_cohort_sensor,
    build_nightly_schedule,
    build_population_schedule,
    build_session_sensor,
)
from glmhmm_assets.defs.cohort import build_cohort
from glmhmm_assets.defs.comparison import (
    build_cohort_comparison,
    build_comparison,
    build_state_choice,
)
from glmhmm_assets.defs.driven import build_driven, build_driven_cohort
from glmhmm_assets.defs.features import build_design_tensors
from glmhmm_assets.defs.figures import build_figures
from glmhmm_assets.defs.fits import build_subject_fits
from glmhmm_assets.defs.hierarchy import (
    build_hierarchical_fit,
    build_shrinkage,
    build_shrunken_fits,
)
from glmhmm_assets.defs.ingest import build_cleaned_sessions, build_raw_sessions
from glmhmm_assets.defs.population import build_population_fit
from glmhmm_assets.defs.rivals import build_rivals
from glmhmm_assets.defs.session_kinds import build_session_fits
from glmhmm_assets.defs.tables import build_tables
from glmhmm_assets.defs.tracking import build_cohort_tracking, build_fit_tracking
from glmhmm_assets.defs.validity import build_cohort_checks, build_validity
from glmhmm_assets.io_managers import build_io_managers
from glmhmm_assets.notification import build_failure_sensor
from glmhmm_assets.resources.tracker import MlflowTracker
from glmhmm_assets.stages import in_stages
from glmhmm_assets.study import (
    BROKEN,
    Study,
    dagster_home,
    load_studies,
    printable,
    standing_alone,
)

_log = logging.getLogger("glmhmm")


def subject_assets(study: Study) -> list[dg.AssetsDefinition]:
    """Build the assets of a study that are partitioned by subject: what one run makes together."""
    return [
        build_cleaned_sessions(study),
        build_design_tensors(study),
        build_subject_fits(study),
        *build_shrunken_fits(study),
        *build_tables(study),
        *build_figures(study),
        *build_driven(study),
        *build_rivals(study),
        *build_comparison(study),
        *build_validity(study),
        *build_session_fits(study),
        build_fit_tracking(study),
    ]


def study_definitions(study: Study) -> dg.Definitions:
    """Build everything of one study.

    Raises
    ------
    InputError
        If its task or its schedule cannot be used.
    """
    study.load_task()
    with warnings.catch_warnings():  # the argument for batches of partitions is still called beta
        warnings.simplefilter("ignore", dg.BetaWarning)
        files = in_stages(study, [build_raw_sessions(study)])
        per_subject = in_stages(study, subject_assets(study))
        population = in_stages(study, [build_population_fit(study), *build_hierarchical_fit(study)])
        cohort = in_stages(
            study,
            [
                *build_cohort(study),
                *build_shrinkage(study),
                build_state_choice(study),
                *build_cohort_checks(study),
                *build_driven_cohort(study),
                build_cohort_comparison(study),
                build_cohort_tracking(study),
            ],
        )
        return dg.Definitions(
            assets=[*files, *population, *per_subject, *cohort],
            sensors=[
                build_session_sensor(study, per_subject, population),
                build_cohort_sensor(study, cohort),
                build_failure_sensor(study),
            ],
            schedules=[
                build_nightly_schedule(study, per_subject),
                build_population_schedule(study, population, per_subject),
            ],
        )


def broken_study(name: str, problem: str) -> dg.Definitions:
    """Show a study file that cannot be used as an asset, where people of the UI look."""
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                key=dg.AssetKey([BROKEN, _asset_name(name)]),
                group_name=BROKEN,
                kinds={"toml"},
                description=f"**Not usable:** {problem} Then reload the definitions.",
            )
        ]
    )


def _asset_name(name: str) -> str:
    """Make a name that Dagster takes; of two names no two become the same."""
    if re.fullmatch(r"[A-Za-z0-9_]{1,100}", name):
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', name)[:100]}_{digest}"


def build_defs(
    home: Path | None = None, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Build the definitions of all studies.

    Parameters
    ----------
    home
        Folder with ``studies`` in it; the one of the environment when left out.
    resources
        Resources to use in place of the ordinary ones, by their keys.
    """
    home = (home or dagster_home()).absolute()
    studies, problems = load_studies(home / "studies")
    parts = []
    for study in studies.values():
        with standing_alone(study.name, study.file, problems):
            parts.append(study_definitions(study))
    for name, problem in problems.items():
        _log.warning("study %s is left out: %s", printable(name), problem)
        parts.append(broken_study(name, str(problem)))
    shared = dg.Definitions(
        resources={"tracker": MlflowTracker(), **build_io_managers(home), **(resources or {})},
        # One process: the subjects of a run are one batch, and JAX starts once.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(*parts, shared)


@dg.definitions
def defs() -> dg.Definitions:
    """Give Dagster the definitions of the home that the environment names."""
    return build_defs()
