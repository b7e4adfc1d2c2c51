"""What a study would keep and drop, as tables for a terminal; nothing is fitted or stored."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from glmhmm_assets.resources.session_files import (
    clean_sessions,
    refused_subjects,
    scan_sessions,
    why_nothing_left,
)
from glmhmm_assets.study import Study
from glmhmm_assets.terminal import shown
from glmhmm_core.errors import InputError

#: Rows of the report that are told for each rule.
SHOWN = 5


@dataclass(frozen=True)
class Check:
    """What a look at a study's files gave.

    Attributes
    ----------
    choices
        Names of the task's choices.
    subjects : DataFrame, one row per subject
        Columns subject, sessions_kept, sessions_dropped, trials, no_choice, chose_last,
        left_out (the reason, null for a subject that is kept).
    report : DataFrame of ``REPORT_SCHEMA``
        Everything dropped or altered, and what looks wrong, each with its reason.
    """

    choices: tuple[str, ...]
    subjects: pl.DataFrame
    report: pl.DataFrame

    @property
    def kept(self) -> list[str]:
        """Subjects of whom something is left."""
        return self.subjects.filter(pl.col("left_out").is_null())["subject"].to_list()

    @property
    def left_out(self) -> dict[str, str]:
        """Reasons of the subjects that are left out."""
        rows = self.subjects.filter(pl.col("left_out").is_not_null())
        return dict(rows.select("subject", "left_out").iter_rows())


def check_study(study: Study, tell: Callable[[str], None]) -> Check:
    """Read and clean every subject of a study.

    Parameters
    ----------
    tell
        Called with each subject's name before it is read.

    Raises
    ------
    InputError
        If the study's folder or its task cannot be used.
    """
    found = scan_sessions(study)
    rows: list[dict[str, object]] = [
        {"subject": subject, "left_out": why} for subject, why in refused_subjects(found).items()
    ]
    reports = [found.report]
    for subject in found.subjects:
        tell(subject)
        try:
            cleaned, report = clean_sessions(study, subject)
        except InputError as error:
            rows.append({"subject": subject, "left_out": str(error)})
            continue
        rows.append(_row(subject, cleaned, report, len(study.load_task().choices)))
        reports.append(report)
    schema = {
        "subject": pl.String,
        "sessions_kept": pl.Int64,
        "sessions_dropped": pl.Int64,
        "trials": pl.Int64,
        "no_choice": pl.Int64,
        "chose_last": pl.Float64,
        "left_out": pl.String,
    }
    return Check(study.load_task().choices, pl.DataFrame(rows, schema), pl.concat(reports))


def _row(
    subject: str, cleaned: pl.DataFrame, report: pl.DataFrame, num_classes: int
) -> dict[str, object]:
    """One subject's line of the table."""
    chain = cleaned.filter(pl.col("in_chain"))
    counted = chain.filter(~pl.col("masked"))["choice"]
    dropped = report.filter("dropped")
    # A session can also be in the report because something in it was altered.
    told = set(dropped.filter(pl.col("level") == "session")["session"])
    return {
        "subject": subject,
        "sessions_kept": chain["session"].n_unique(),
        "sessions_dropped": len(told - set(cleaned["session"])),
        "trials": chain.height,
        "no_choice": chain.height - counted.drop_nulls().len(),
        "chose_last": (counted == num_classes - 1).mean(),
        "left_out": None if chain.height else why_nothing_left(report),
    }


def render(check: Check) -> Group:
    """Draw the subjects, who is left out, what looks wrong and what was dropped, by rule."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("subject", overflow="fold", min_width=8, max_width=40)
    for name in ("sessions kept", "dropped", "trials", "no choice", f"P({check.choices[-1]})"):
        head = Text(shown(name))
        table.add_column(head, justify="right", min_width=6, no_wrap=len(name) < 20)
    table.add_column("")
    for subject, kept, dropped, trials, none, last, why in check.subjects.iter_rows():
        numbers = [_text(kept), _text(dropped), _text(trials), _text(none), _text(last, ".3f")]
        state = Text("left out", "yellow") if why else Text("kept", "green")
        table.add_row(Text(shown(subject)), *numbers, state)
    parts: list[RenderableType] = [table]
    parts += [
        Text(f"{shown(s)} is left out: {shown(why, lines=True)}")
        for s, why in check.left_out.items()
    ]
    if not check.kept:
        parts.append(Text("No subject can be used.", style="red"))
    for title, part in (
        ("Please look at (nothing was dropped or changed):", check.report.filter("warning")),
        ("Dropped or altered:", check.report.filter(~pl.col("warning"))),
    ):
        if part.height:
            parts += [Text(f"\n{title}"), *_by_rule(part, len(check.kept))]
    return Group(*parts)


def _by_rule(report: pl.DataFrame, num_kept: int) -> list[RenderableType]:
    """Draw rows by rule; one example where a warning concerns every one of several subjects."""
    rules = (
        report.group_by("level", "rule", maintain_order=True)
        .agg(
            pl.col("subject").drop_nulls().n_unique().alias("subjects"),
            pl.len().alias("times"),
            pl.col("n_trials").sum().alias("trials"),
            (pl.col("dropped") & pl.col("n_trials").is_null()).any().alias("more"),
            pl.col("warning").first(),
            pl.struct("subject", "session", "reason").head(SHOWN).alias("rows"),
        )
        .sort("level", "times", descending=[False, True])
    )
    parts: list[RenderableType] = []
    for level, rule, subjects, times, trials, more, warning, rows in rules.iter_rows():
        counted = f"{trials or ''}{' and ' if trials else ''}unknown" if more else trials
        parts.append(
            Text(f"  {rule} ({level}), times: {times}, subjects: {subjects}, trials: {counted}")
        )
        examples = 1 if warning and 1 < num_kept <= subjects else SHOWN
        told = [": ".join(filter(None, row.values())) for row in rows[:examples]]
        if times > examples:
            told.append(f"and {times - examples} more: --report FILE writes them all")
        parts += [Padding(Text(shown(line), style="dim"), (0, 0, 0, 6)) for line in told]
    return parts


def _text(value: object, spec: str = "") -> str:
    return "" if value is None else format(value, spec)
