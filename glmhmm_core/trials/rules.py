"""The inclusion rules of a task, one function each: table in, table and report rows out.

A table here is one subject's trials with ``in_chain`` and ``masked``. A rule drops the whole
subject, whole sessions, takes trials out of the chain, or masks choices; it never drops a trial
of a session that stays, because history regressors are computed on whole sessions.
"""

from collections.abc import Sequence

import polars as pl

from glmhmm_core.tasks.task import (
    FewNoChoice,
    KeepBlocks,
    MaskUnless,
    MinSessions,
    Rule,
    SessionBlocks,
)
from glmhmm_core.trials.report import ReportRow

#: Blocks are probabilities written as decimals, at times in single precision.
_SAME_BLOCK = 1e-6

Ruled = tuple[pl.DataFrame, list[ReportRow]]


def apply_rule(trials: pl.DataFrame, rule: Rule) -> Ruled:
    """Apply one rule to one subject's trials."""
    match rule:
        case SessionBlocks(values):
            return _session_blocks(trials, values)
        case MinSessions(count):
            return _min_sessions(trials, count)
        case KeepBlocks(values):
            return _keep_blocks(trials, values)
        case FewNoChoice(fewer_than):
            return _few_no_choice(trials, fewer_than)
        case MaskUnless():
            return _mask_unless(trials, rule)


def drop_sessions(trials: pl.DataFrame, reasons: dict[str, str], rule: str) -> Ruled:
    """Drop whole sessions, each with its reason; counted are the trials still in the chain."""
    lengths = dict(trials.group_by("session").agg(pl.col("in_chain").sum()).iter_rows())
    subject = _subject(trials)
    rows = [
        ReportRow(
            "session", rule, reason, subject, session, n_trials=lengths[session], dropped=True
        )
        for session, reason in reasons.items()
    ]
    return trials.filter(~pl.col("session").is_in(list(reasons))), rows


def drop_subject(trials: pl.DataFrame, reason: str, rule: str) -> Ruled:
    """Drop everything; counted are the trials still in the chain."""
    n_trials = int(trials["in_chain"].sum())
    row = ReportRow("subject", rule, reason, _subject(trials), n_trials=n_trials, dropped=True)
    return trials.clear(), [row]


def mask(trials: pl.DataFrame, where: pl.Expr, reason: str, rule: str) -> Ruled:
    """Mask the choices of the chain trials that an expression marks."""
    chosen = pl.col("in_chain") & ~pl.col("masked") & pl.col("choice").is_not_null()
    marked = trials.with_columns((chosen & where.fill_null(True)).alias("\0marked"))
    rows = _runs(marked, reason, rule)
    masked = (pl.col("masked") | pl.col("\0marked")).alias("masked")
    return marked.with_columns(masked).drop("\0marked"), rows


def _session_blocks(trials: pl.DataFrame, values: Sequence[float]) -> Ruled:
    wanted = sorted(values)
    reasons = {}
    for (session,), part in trials.group_by("session", maintain_order=True):
        found = part["block"].unique().drop_nulls().sort().to_list()
        same = len(found) == len(wanted) and all(
            abs(one - other) < _SAME_BLOCK for one, other in zip(found, wanted, strict=True)
        )
        if not same:
            reasons[session] = f"its blocks are {_list(found)}, not exactly {_list(wanted)}"
    return drop_sessions(trials, reasons, "session_blocks")


def _min_sessions(trials: pl.DataFrame, count: int) -> Ruled:
    found = trials["session"].n_unique()
    if found >= count:
        return trials, []
    return drop_subject(
        trials, f"{found} sessions are left at this rule, fewer than {count}", "min_sessions"
    )


def _keep_blocks(trials: pl.DataFrame, values: Sequence[float]) -> Ruled:
    kept = pl.any_horizontal((pl.col("block") - value).abs() < _SAME_BLOCK for value in values)
    marked = trials.with_columns((pl.col("in_chain") & ~kept.fill_null(False)).alias("\0marked"))
    reason = f"the block is not {_list(values, 'or')}"
    rows = [row._replace(dropped=True) for row in _runs(marked, reason, "keep_blocks")]
    stays = ~pl.col("\0marked")
    return marked.with_columns(pl.col("in_chain", "masked") & stays).drop("\0marked"), rows


def _few_no_choice(trials: pl.DataFrame, fewer_than: int) -> Ruled:
    without = (pl.col("in_chain") & pl.col("choice").is_null()).sum()
    counts = trials.group_by("session", maintain_order=True).agg(without).rows()
    reasons = {
        session: f"{count} trials without a choice, not fewer than {fewer_than}"
        for session, count in counts
        if count >= fewer_than
    }
    return drop_sessions(trials, reasons, "no_choice_fewer_than")


def _mask_unless(trials: pl.DataFrame, rule: MaskUnless) -> Ruled:
    column = pl.col(rule.column)
    if rule.values:
        same_type = column if isinstance(rule.values[0], str) else column.cast(pl.Float64)
        fine, what = same_type.is_in(list(rule.values)), f"not {_list(rule.values, 'or')}"
    else:
        low = float("-inf") if rule.min is None else rule.min
        high = float("inf") if rule.max is None else rule.max
        fine, what = column.is_between(low, high), f"not in [{low:g}, {high:g}]"
    return mask(trials, ~fine, f"{rule.column} is {what} or unknown", "mask_unless")


def _runs(trials: pl.DataFrame, reason: str, rule: str) -> list[ReportRow]:
    """One report row for each run of consecutive marked trials of a session."""
    subject = _subject(trials)
    runs = (
        trials.with_columns(pl.struct("session", "\0marked").rle_id().alias("\0run"))
        .filter("\0marked")
        .group_by("\0run", maintain_order=True)
        .agg(
            pl.col("session").first(),
            pl.col("trial").first().alias("first"),
            pl.col("trial").last().alias("last"),
            pl.len(),
        )
    )
    return [
        ReportRow("trial", rule, reason, subject, session, first, last, count)
        for _, session, first, last, count in runs.iter_rows()
    ]


def _subject(trials: pl.DataFrame) -> str | None:
    return trials["subject"][0] if len(trials) else None


def _list(values: Sequence[object], last: str = "and") -> str:
    """Values as words: a, b and c."""
    words = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if not words:
        return "none"
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), words[-1])))
