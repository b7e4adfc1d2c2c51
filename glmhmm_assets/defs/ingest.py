"""From session files to cleaned trials: the study's files as an asset, and what is kept of them."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from glmhmm_assets.defs.checks import check_cleaning, check_plausible, cleaning_check_specs
from glmhmm_assets.io_managers import KeepStored
from glmhmm_assets.partitions import subjects_of
from glmhmm_assets.per_subject import attempt, show, subject_asset
from glmhmm_assets.resources.session_files import (
    clean_sessions,
    is_being_written,
    scan_sessions,
    why_nothing_left,
)
from glmhmm_assets.study import Study

if TYPE_CHECKING:
    import polars as pl

    from glmhmm_core.fitting.result import Excluded
    from glmhmm_core.trials.scan import SubjectFiles

_CLEANED = """Trials of the sessions that count, as recorded, one table per subject.

History regressors need every trial of a session, so none is deleted: `in_chain` says which trials
models are fitted to, `masked` which of those have their choice treated as not made. A subject of
whom nothing is left has the reason in its table's place, and so in everything downstream. Every
exclusion is a row of `cleaning_report`.

A subject whose files are gone, or are being written just now, keeps its stored table.
"""
_REPORT = """Everything that reading and cleaning dropped or altered, one row each with its reason.

A row is a file, a session, a subject, or a run of consecutive trials. A row with `warning` says
that nothing was dropped or changed, but that something looks wrong, and what to do about it.
"""


def build_raw_sessions(study: Study) -> dg.AssetSpec:
    """Build the asset that stands for the session files themselves."""
    return dg.AssetSpec(
        key=dg.AssetKey([study.name, "raw_sessions"]),
        description=(
            f"Session files of **{study.title}** below `{study.sessions_root}`, as they are on "
            "disk. The sensor records a materialization for a subject whenever its content "
            "changed, with the content's hash as data version."
        ),
        partitions_def=subjects_of(study),
        kinds={study.sessions.format},
    )


def build_cleaned_sessions(study: Study) -> dg.AssetsDefinition:
    """Build the asset of cleaned trials and the report that goes with it."""
    common = subject_asset(study, kinds={"polars", "parquet"}, rooms=("trials", "tasks"))
    out = {"key_prefix": study.name} | {k: common[k] for k in ("kinds", "code_version")}

    @dg.multi_asset(
        name=f"{study.name}__cleaned_sessions",
        outs={
            "cleaned_sessions": dg.AssetOut(
                **out, io_manager_key="tables", description=_CLEANED, dagster_type=dg.Any
            ),
            "cleaning_report": dg.AssetOut(
                **out, io_manager_key="tables", description=_REPORT, dagster_type=dg.Any
            ),
        },
        deps=[dg.AssetKey([study.name, "raw_sessions"])],
        check_specs=cleaning_check_specs(study),
        partitions_def=common["partitions_def"],
        backfill_policy=common["backfill_policy"],
    )
    def cleaned_sessions(context: dg.AssetExecutionContext) -> Iterator[Any]:
        found = scan_sessions(study)
        tables, reports = {}, {}
        for subject in context.partition_keys:
            files = found.subjects.get(subject)
            table, report = _clean_one(context, study, subject, files)
            kept = _why_kept(study, files)
            show(context, subject, {"kept": kept} if kept else _facts(table, report))
            tables[subject] = KeepStored(table) if kept else table
            reports[subject] = KeepStored(report) if kept else report
        yield dg.Output(tables, "cleaned_sessions")
        yield dg.Output(reports, "cleaning_report")
        yield from check_cleaning(study, tables, found.report)
        yield from check_plausible(study, [found.report, *reports.values()])

    return cleaned_sessions


def _clean_one(
    context: dg.AssetExecutionContext, study: Study, subject: str, files: "SubjectFiles | None"
) -> "tuple[pl.DataFrame | Excluded, pl.DataFrame]":
    """Clean one subject; without a usable trial, the reason stands in the table's place."""
    from glmhmm_core.fitting.result import Excluded

    outcome = (
        Excluded(subject, "there are no session files of it")
        if files is None
        else attempt(context, subject, lambda s: clean_sessions(study, s))
    )
    if isinstance(outcome, Excluded):
        return outcome, _report_of(outcome)
    table, report = outcome
    return Excluded(subject, why_nothing_left(report)) if table.is_empty() else table, report


def _why_kept(study: Study, files: "SubjectFiles | None") -> str | None:
    """Say why a subject's stored trials stay as they are, if they do."""
    if files is None:
        return "no session files any more, or not included: what is stored stays"
    if is_being_written(study, files, time.time()):
        return "its files are being written just now: what is stored stays"
    return None


def _facts(table: "pl.DataFrame | Excluded", report: "pl.DataFrame") -> dict[str, Any]:
    """Gather what the UI shows of one subject's cleaned trials."""
    from glmhmm_core.fitting.result import Excluded

    if isinstance(table, Excluded):
        return {"excluded": table.reason, **_rows(report)}
    chain = table.filter("in_chain")
    return {
        "sessions": chain["session"].n_unique(),
        "trials": chain.height,
        "without_choice": chain["choice"].null_count(),
        "masked": int(chain["masked"].sum()),
        **_rows(report),
    }


def _rows(report: "pl.DataFrame") -> dict[str, int]:
    return {"report_rows": report.height, "warnings": int(report["warning"].sum())}


def _report_of(excluded: "Excluded") -> "pl.DataFrame":
    """Give the report of a subject that could not be read at all."""
    from glmhmm_core.trials.report import ReportRow, report_frame

    row = ReportRow("subject", "unusable", excluded.reason, excluded.subject, dropped=True)
    return report_frame([row])
